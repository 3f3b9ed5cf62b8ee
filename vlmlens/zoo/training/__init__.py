"""How the bundled models were trained; nothing here is imported when a model is opened."""
