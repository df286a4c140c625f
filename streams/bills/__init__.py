"""Reads bills: FOCUS exports and any other export whose columns a cost file names, whole or not at all."""
