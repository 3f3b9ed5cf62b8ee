"""What a model offers, and which invariants hold on it: measured on the model itself."""
