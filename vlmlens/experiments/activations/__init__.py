"""Activations on disk: written sample by sample, read back when they are asked for."""
