"""The parts of the benchmark. Each has `cases(tiny)`, which yields names and functions."""
