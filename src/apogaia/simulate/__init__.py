"""Simulate a survey: a Galaxy observed by APOGEE and Gaia, in the real file formats, with known truth."""
