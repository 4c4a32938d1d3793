"""Formulae and published numbers: luminosity and distance, positions in the Galaxy, published zero points."""
