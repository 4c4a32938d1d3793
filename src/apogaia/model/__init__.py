"""Notebook 02: the network and its likelihood, training, the model file, the training domain, predictions."""
