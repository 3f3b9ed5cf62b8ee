"""One GPU, tried in one command: ``python -m vlmlens.gpu``. What it finds is kept as JSON.

Laws first (does everything hold there?), then what things cost, in plain forward passes.
"""
