"""Notebook 04: distances and the catalogue."""
