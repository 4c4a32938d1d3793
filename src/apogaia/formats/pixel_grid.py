"""APOGEE's pixel grid: wavelengths, detectors, bit masks, continuum pixels and element windows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import resources

import numpy as np

from apogaia.arguments.plain import any_unit, bit_mask
from apogaia.arguments.takes import takes

__all__ = [
    "DETECTORS",
    "LOG10_WAVELENGTH_START",
    "LOG10_WAVELENGTH_STEP",
    "N_PIXELS",
    "N_PIXELS_APSTAR",
    "bitmask_boolean",
    "continuum_pixels",
    "detector_slices",
    "element_window",
    "gap_delete",
    "wavelength_solution",
]

_PIXELS = json.loads((resources.files("apogaia.formats") / "apogee_pixels.json").read_text(encoding="utf-8"))

LOG10_WAVELENGTH_START = 4.179  # log10 of the first pixel's vacuum wavelength in Angstrom (apStar data model)
LOG10_WAVELENGTH_STEP = 6e-6

N_PIXELS_APSTAR = 8575
DETECTORS: dict[str, slice] = {name: slice(*edges) for name, edges in _PIXELS["chips_8575"].items()}
N_PIXELS = sum(detector.stop - detector.start for detector in DETECTORS.values())


def wavelength_solution() -> np.ndarray:
    """Vacuum wavelengths of the apStar grid, (8575,) Angstrom; `gap_delete` trims them to the detectors."""
    return 10.0 ** (LOG10_WAVELENGTH_START + LOG10_WAVELENGTH_STEP * np.arange(N_PIXELS_APSTAR))


@takes(array=any_unit)
def gap_delete(array: np.ndarray) -> np.ndarray:
    """Drop the pixels outside the three detectors: (..., 8575) -> (..., 7514)."""
    array = np.asarray(array)
    if array.shape[-1] != N_PIXELS_APSTAR:
        raise ValueError(f"the last axis must have {N_PIXELS_APSTAR} pixels, not {array.shape[-1]}")
    return np.concatenate([array[..., detector] for detector in DETECTORS.values()], axis=-1)


def detector_slices() -> dict[str, slice]:
    """Return the detectors in the numbering of the 7514 pixels that `gap_delete` leaves."""
    widths = [detector.stop - detector.start for detector in DETECTORS.values()]
    edges = np.concatenate([[0], np.cumsum(widths)]).tolist()
    return {name: slice(*edges[i : i + 2]) for i, name in enumerate(DETECTORS)}


@takes(mask=bit_mask)
def bitmask_boolean(mask: np.ndarray, bits: Sequence[int]) -> np.ndarray:
    """Whether any of `bits` is set in APOGEE_PIXMASK, an integer array; boolean, of the same shape."""
    mask = np.asarray(mask)
    value = sum(1 << bit for bit in set(bits))
    if value > np.iinfo(mask.dtype).max:
        mask = mask.astype(np.int64)
    return (mask & mask.dtype.type(value)) != 0


def _from_runs(runs: Sequence[Sequence[int]]) -> np.ndarray:
    chosen = np.zeros(N_PIXELS, dtype=bool)
    for start, stop in runs:
        chosen[start:stop] = True
    return chosen


def continuum_pixels(name: str) -> np.ndarray:
    """Return the continuum pixels of data release "dr13", "dr14", "dr16" or "dr17", boolean (7514,)."""
    if name not in _PIXELS["continuum"]:
        raise ValueError(f"no continuum pixels called {name!r}; there are {', '.join(_PIXELS['continuum'])}")
    return _from_runs(_PIXELS["continuum"][name])


def element_window(element: str) -> np.ndarray:
    """Return the pixels with weight in ASPCAP's window of an element ("Mg", "CI", "TiII"), boolean (7514,)."""
    if element not in _PIXELS["element_windows"]:
        raise ValueError(f"no window for {element!r}; there are {', '.join(_PIXELS['element_windows'])}")
    return _from_runs(_PIXELS["element_windows"][element])
