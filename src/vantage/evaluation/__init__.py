"""Evaluation of models on benchmarks and held-out data."""
