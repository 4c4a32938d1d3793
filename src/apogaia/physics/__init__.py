"""Formulae and published numbers: luminosity and distance, places in the Galaxy, published zero points."""
