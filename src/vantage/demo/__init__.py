"""The embedded default: arithmetic on handwritten digits, and a model small enough to teach."""
