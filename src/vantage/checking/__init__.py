"""Whether data will train with a model, told before any time on a GPU."""
