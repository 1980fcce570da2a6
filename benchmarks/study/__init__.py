"""The learning study: what is trained, how it is run, measured and shown."""
