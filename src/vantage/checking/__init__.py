"""Check before a run, without a GPU, whether a model can train on a data set."""
