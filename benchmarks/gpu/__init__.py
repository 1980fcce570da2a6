"""What one GPU does: a package of parts, each measured in a process of its own."""
