"""Notebook 06: the censored network, its training and predictions, their calibration, SDSS's products."""
