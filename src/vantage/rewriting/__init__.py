"""Other wordings of the questions of a data set, made once, before training."""
