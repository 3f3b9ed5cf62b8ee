"""Who holds a model, whose turn it is, and what is put on it for a while and taken off again."""
