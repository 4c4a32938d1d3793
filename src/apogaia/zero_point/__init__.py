"""Notebook 03: the parallax zero point: its posterior, its surface, the refit, Gaia tables of any length."""
