"""Hook points on modules and inside attention: where activations are seen and edited.

``hook_points.py`` says which points a model has, and why it lacks the others; ``attention.py``
reads the mask that says which keys a query may see.
"""
