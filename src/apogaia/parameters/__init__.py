"""Notebook 06: the censored network, its training and predictions, its error calibration, SDSS's products."""
