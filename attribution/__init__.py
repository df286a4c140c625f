"""The attribution kernel: pure functions from frames to frames, without I/O, clock, randomness or environment.

``attribute`` is its face for a notebook or a test; the engines call the same functions underneath.
"""

from attribution.batch import Attribution, attribute

__all__ = ["Attribution", "attribute"]
