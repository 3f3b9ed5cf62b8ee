"""One forward pass under interventions: what is edited, what is saved, where it ends."""
