"""Training engines: `trl` on one machine or under accelerate, `verl` on a Ray cluster."""
