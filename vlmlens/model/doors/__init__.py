"""What users call, in torch's and TransformerLens's words, and what they hand over, checked."""
