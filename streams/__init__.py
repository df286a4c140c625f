"""The shell around the kernel: each file one outside thing, and on top the wiring and the command line."""

__version__ = "1.0.0"
