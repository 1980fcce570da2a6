"""From a row of a data set to the prompts that a model answers."""
