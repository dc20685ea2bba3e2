"""The report of a run: one HTML page, its figures, and its numbers as JSON."""
