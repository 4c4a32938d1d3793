"""Notebook 01: raw files to stars.h5. Continuum, cross-match, quality cuts; on one machine or a Dask cluster."""
