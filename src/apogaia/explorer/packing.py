"""Columns, texts and spectra as short texts that the page's script unpacks (`unpack.js`).

All are compressed (zlib) and written in base64. Of numbers all first bytes come first, then all second ones and so on,
little-endian: bytes that are alike stand together and compress better.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable

import numpy as np

__all__ = ["FLUX_STEP", "NO_PIXEL", "SENSITIVITY_STEPS", "pack_floats", "pack_integers", "pack_spectrum", "pack_texts"]

KEPT_BITS = 15  # of a float's 23: a relative error of at most 1.6e-5, as precise as the page shows a number
FLUX_STEP = 1e-3  # of the normalised flux: the noise of a spectrum of SNR 1000
SENSITIVITY_STEPS = 1000  # from zero to the largest sensitivity of the star
NO_PIXEL = -32768  # stands for NaN in a spectrum


def pack_floats(values: np.ndarray, *, exact: bool = False) -> str:
    """Pack (n,) numbers as 32-bit floats, rounded to 1.6e-5 of their size unless `exact`; infinity becomes NaN."""
    rounded = np.where(np.isfinite(values), values, np.nan).astype("<f4")
    if not exact:
        dropped = 23 - KEPT_BITS
        bits = rounded.view("<u4")
        known = np.isfinite(rounded)
        bits[known] = (bits[known] + np.uint32(1 << (dropped - 1))) & np.uint32(0xFFFFFFFF << dropped & 0xFFFFFFFF)
    return _packed(rounded)


def pack_integers(values: np.ndarray) -> str:
    """Pack (n,) whole numbers as 32-bit integers."""
    return _packed(np.asarray(values).astype("<i4"))


def pack_texts(texts: Iterable[str]) -> str:
    """Pack texts; line breaks inside become blanks."""
    lines = "\n".join(" ".join(str(text).splitlines()) for text in texts)
    return _text(lines.encode())


def pack_spectrum(flux: np.ndarray, sensitivity: np.ndarray | None) -> tuple[str, float]:
    """Pack a normalised spectrum (pixels,) and the sensitivity at its pixels, if known, as 16-bit integers.

    Returns
    -------
    packed, step
        `step` is what one step of the packed sensitivity means, in its unit; 0 if there is none.
    """
    parts = [_steps(flux, FLUX_STEP)]
    step = 0.0
    if sensitivity is not None:
        largest = float(np.nanmax(np.abs(sensitivity), initial=0.0))
        step = largest / SENSITIVITY_STEPS or 1.0
        parts.append(_steps(sensitivity, step))
    return _packed(np.concatenate(parts)), step


def _steps(values: np.ndarray, step: float) -> np.ndarray:
    known = np.isfinite(values)
    steps = np.full(np.shape(values), NO_PIXEL, "<i2")
    steps[known] = np.clip(np.rint(np.asarray(values)[known] / step), NO_PIXEL + 1, -NO_PIXEL - 1)
    return steps


def _packed(values: np.ndarray) -> str:
    planes = np.ascontiguousarray(values).view(np.uint8).reshape(len(values), values.dtype.itemsize).T
    return _text(planes.tobytes())


def _text(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content, 6)).decode()
