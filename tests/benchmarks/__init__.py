"""Benchmarks: ratios to what others do. Never collected by the test command; see docs."""
