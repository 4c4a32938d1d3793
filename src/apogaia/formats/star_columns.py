"""Columns of stars.h5."""

from __future__ import annotations

__all__ = ["OFFSET_INPUTS"]

OFFSET_INPUTS = ("g_mag", "bp_rp", "teff")  # what a zero point may depend on: G, BP-RP [mag] and Teff [K]
