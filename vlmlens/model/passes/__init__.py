"""One forward pass under interventions: what is edited, what is saved, where it ends.

What would touch nothing is refused here: a point that the pass did not reach (``edits.py``), an
edit of attention that cuts nothing (``visibility.py``).
"""
