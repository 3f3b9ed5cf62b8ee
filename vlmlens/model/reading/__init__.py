"""What a pass holds, read: the residual stream, norms, unembedding, what is not finite."""
