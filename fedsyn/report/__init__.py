"""The report of a run: figures, tables, honest notes and one self-contained page."""
