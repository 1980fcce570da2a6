"""Engines that carry a plan out."""
