"""Notebook 08: is an injected zero point recovered? Trials that simulate, recover and compare."""
