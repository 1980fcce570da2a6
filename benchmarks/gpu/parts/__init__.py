"""The parts of the measurement. Each has `cases(tiny)`: names, and functions that measure."""
