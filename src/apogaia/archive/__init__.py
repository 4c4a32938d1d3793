"""Fetch a real survey: tables, spectra and Gaia's sources, into the raw folder that the reduction reads."""
