"""What is measured of pairs, a clean sample and its counterpart, piece by piece."""
