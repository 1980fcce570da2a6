"""Turn data set rows into the prompts that a model answers."""
