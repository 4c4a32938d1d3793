"""A published network in plain arrays, whatever file it came from, with the names of this package's layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from apogaia.model.model_origin import ModelFileError

__all__ = ["ELEMENT_NAMES", "FAKEMAG_FACTOR", "MAX_VALUES", "Dense", "PublishedNetwork", "finite"]

MAX_VALUES = 20_000_000  # of one array; the largest of the published networks has 1.9 million
FAKEMAG_FACTOR = 73.85  # by which the joint network multiplies its luminosity, in units of the parallax scale

# How the published networks name the elements of this package
ELEMENT_NAMES = {"CI": "c1", "TiII": "ti2"}


class Dense(NamedTuple):
    """Weights of a layer: kernel (inputs, units), of a convolution (width, inputs, units), and bias (units,)."""

    kernel: np.ndarray
    bias: np.ndarray


@dataclass(frozen=True)
class PublishedNetwork:
    """What `apogaia.published.import_model` needs to rebuild the network."""

    source: Path  # folder or file, for messages
    files: tuple[Path, ...]  # that were read
    architecture: str  # "ApogeeBCNN", "ApogeeBCNNCensored" or "ApogeeDR14GaiaDR2BCNN"
    layout: str  # of the files, in words
    survey: str  # whose spectra it takes, as far as the layout tells
    weights: Mapping[str, Dense]  # by the names of this package's layers
    mean_spectrum: np.ndarray  # (pixels,)
    pixel_sd: float  # by which spectra less their mean are divided
    label_mean: np.ndarray  # (labels,)
    label_sd: np.ndarray  # (labels,)
    pool_width: int
    dropout: float
    windows: Mapping[str, np.ndarray] | None = None  # of the elements, (pixels,) boolean; None: ASPCAP's
    offset: str = "none"  # "constant", "multivariate"
    offset_mean: tuple[float, ...] = (0.0, 0.0, 0.0)  # of G, BP-RP [mag] and Teff [K]
    offset_sd: tuple[float, ...] = (1.0, 1.0, 1.0)
    notes: tuple[str, ...] = field(default=())  # what a user should know

    @property
    def n_weights(self) -> int:
        """Number of trained weights."""
        return sum(dense.kernel.size + dense.bias.size for dense in self.weights.values())


def finite(values, what: str, source: Path) -> np.ndarray:
    """Numbers of a file as they are, if all of them are finite.

    Raises
    ------
    ModelFileError
        If one is not, or they are no numbers.
    """
    try:
        values = np.asarray(values, dtype=float)
    except (TypeError, ValueError) as error:
        raise ModelFileError(f"{source}: {what} is not made of numbers: get the file again") from error
    wrong = np.count_nonzero(~np.isfinite(values))
    if wrong:
        raise ModelFileError(f"{source}: {wrong} of {values.size} values of {what} are not finite: get the file again")
    return values
