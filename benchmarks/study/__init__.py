"""The learning study: its arms and tasks, how they are trained, measured and shown."""
