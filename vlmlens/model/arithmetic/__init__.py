"""What a module computes, written out: attention by its steps, a norm, a projection by heads."""
