"""stars.h5 with other labels: Teff, log g and abundances of the survey's own network, or of ASPCAP."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
from astropy.table import Table

from apogaia.arguments.plain import file_path
from apogaia.arguments.takes import takes
from apogaia.formats.aspcap_labels import read_aspcap_labels
from apogaia.formats.releases import Release
from apogaia.formats.stars_h5_columns import LABELS
from apogaia.reduction import stars_h5

__all__ = ["LABEL_COLUMNS", "label_with_aspcap", "write_labelled_stars"]

LABEL_COLUMNS = tuple(f"{label}{end}" for label in LABELS for end in ("", "_error"))


@takes(path=file_path, stars=file_path)
def write_labelled_stars(path: Path, stars: Path, place: Path, labels: Mapping[str, np.ndarray] | Table) -> None:
    """Write what `open_stars` reads: the columns of stars.h5 but for the labels, and a link to its spectra.

    Parameters
    ----------
    path
        File to write.
    stars
        The survey's stars.h5; it must stay beside `place`.
    place
        Where the file will be; `path` may be a temporary one.
    labels
        `LABEL_COLUMNS` [K, dex], (n,) each, row by row as stars.h5; a label without an error, or the reverse, is NaN.

    Raises
    ------
    ValueError
        If labels are missing, or not of as many stars.
    """
    missing = [name for name in LABEL_COLUMNS if name not in list(labels.keys())]
    if missing:
        raise ValueError(f"labels lack {', '.join(missing)}")
    with stars_h5.open_stars(stars) as opened:
        table = opened.table
        for label in LABELS:
            value, error = (np.asarray(labels[f"{label}{end}"], np.float32) for end in ("", "_error"))
            for name, values in ((label, value), (f"{label}_error", error)):
                if values.shape != (len(table),):
                    raise ValueError(f"{name} has the shape {values.shape}, but {stars} has {len(table)} stars")
                table[name][:] = np.where(np.isfinite(value) & np.isfinite(error), values, np.nan)
    stars_h5.write_star_table(path, table, h5py.ExternalLink(str(stars.relative_to(place.parent)), "spectrum"))


@takes(path=file_path, stars=file_path, allstar=file_path)
def label_with_aspcap(path: Path, stars: Path, place: Path, allstar: Path, release: Release) -> None:
    """`write_labelled_stars` with the labels of ASPCAP in allStar.

    Raises
    ------
    ReductionError
        If `allstar` cannot be read or lacks labels.
    """
    write_labelled_stars(path, stars, place, read_aspcap_labels(allstar, release))
