"""What opening a model takes: processors, whole weights, and the layout of LLaVA's own code."""
