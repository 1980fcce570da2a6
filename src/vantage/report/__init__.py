"""Pages, tables and figures of recorded runs."""
