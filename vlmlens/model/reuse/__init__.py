"""What passes share: the tower, a prefix, and all that lies outside the causal cone of an edit."""
