"""Rewrite the questions of a data set once, before training."""
