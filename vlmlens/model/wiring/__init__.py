"""Hook points on modules and inside attention: where activations are seen and edited."""
