"""Notebooks 02 and 03: the parallax zero point: the refit, the posterior and its surface, Gaia tables of any length."""
