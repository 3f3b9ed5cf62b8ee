"""Faults done on purpose, one at a time: which tests notice."""
