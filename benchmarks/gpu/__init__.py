"""Benchmarks on one GPU, in parts that each run in a separate process."""
