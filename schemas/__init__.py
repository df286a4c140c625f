"""Contracts: the names, types and units that every other part agrees on.

This is the lowest floor of the house: it imports nothing of the project.
"""
