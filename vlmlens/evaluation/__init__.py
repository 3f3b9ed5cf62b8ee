"""Benchmarks: models side by side on published sets, item by item."""
