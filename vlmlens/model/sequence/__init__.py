"""Samples or raw tensors in; tensors, and what every position is, out."""
