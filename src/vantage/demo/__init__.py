"""The built-in demo: handwritten-digit arithmetic with a model small enough to train on a CPU."""
