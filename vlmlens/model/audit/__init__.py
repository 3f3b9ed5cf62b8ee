"""What a model offers, and which invariants hold on it: measured on the model itself.

Whether an edit of a point moves the logits is measured in ``measure.py``; which points a model has
at all is said by its family, and read in ``vlmlens.model.wiring.hook_points``.
"""
