"""A run's generative model as a diffusers pipeline, and its synthetic images as a data set: for others to use without
fedsyn."""

from fedsyn.export.run import ExportError, export, open_run

__all__ = ["ExportError", "export", "open_run"]
