"""What can be added to a LLaVA before it is retrained, one addition a file."""
