"""Published zero points of Gaia DR2: the paper's quadratic summaries, and those of other works.

Sign: zero point = Gaia parallax minus true parallax, which is negative.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy import units as u

from apogaia.arguments.takes import takes

__all__ = ["LITERATURE", "PAPER_SUMMARIES", "LiteratureZeroPoint", "QuadraticSummary", "paper_summaries"]


@dataclass(frozen=True)
class QuadraticSummary:
    """``a2 (x - x0)^2 + a1 (x - x0) + a0`` [uas], valid over `x_range`."""

    label: str
    x0: float
    coefficients: tuple[float, float, float]  # a2, a1, a0
    x_range: tuple[float, float]
    source: str

    @property
    def unit(self) -> u.UnitBase:
        """Unit of x, which the label ends with."""
        return u.Unit(self.label.partition("[")[2].rstrip("]"))

    @takes(x="self")
    def zero_point_uas(self, x):
        """Evaluate the zero point at x [uas], whether or not x is in the range."""
        return np.polyval(self.coefficients, np.asarray(x, dtype=float) - self.x0)


# Eq. 7's printed slope gives +434 uas at G = 11, an order of magnitude beyond Figure 4: a decimal point is missing.
PAPER_SUMMARIES = {
    "g_mag": QuadraticSummary("G [mag]", 16, (1.18, -9.2, -55.49), (11, 17), "Eq. 7, slope -9.2 as in Figure 4"),
    "g_mag_printed": QuadraticSummary("G [mag]", 16, (1.18, -92, -55.49), (11, 17), "Eq. 7 as printed"),
    "bp_rp": QuadraticSummary("BP-RP [mag]", 0, (6.90, -34.63, -11.67), (0.8, 3), "Eq. 8"),
    "teff": QuadraticSummary("Teff [K]", 4500, (6e-6, 0.0348, -53.17), (4000, 5750), "Eq. 9"),
}


def paper_summaries(gaia_release: str) -> dict[str, QuadraticSummary]:
    """Return the paper's summaries for Gaia DR2, and none for another release."""
    return PAPER_SUMMARIES if gaia_release == "dr2" else {}


@dataclass(frozen=True)
class LiteratureZeroPoint:
    """A zero point of Gaia DR2 from another work [uas], and roughly which sources it rests on.

    The regions in G, BP-RP [mag] and Teff [K] are read off the works' samples to draw an ellipse beside ours in
    Figure 4, and mean no more than that. NaN: not given.
    """

    name: str
    value_uas: float
    error_uas: float  # statistical
    systematic_uas: float
    reference: str
    g_mag: tuple[float, float]
    bp_rp: tuple[float, float]
    teff: tuple[float, float]


_UNKNOWN = float("nan")

# Values: the paper's section 7.1 (and section 4 for the red clump).
LITERATURE = (
    LiteratureZeroPoint(
        "quasars", -29, _UNKNOWN, _UNKNOWN, "Lindegren et al. (2018)", (17, 21), (0.0, 1.2), (6000, 10000)
    ),
    LiteratureZeroPoint("Cepheids", -46, 13, _UNKNOWN, "Riess et al. (2018)", (6, 11), (1.0, 2.6), (4800, 6300)),
    LiteratureZeroPoint(
        "eclipsing binaries", -31, 11, _UNKNOWN, "Graczyk et al. (2019)", (5, 12), (-0.1, 1.3), (4900, 10000)
    ),
    LiteratureZeroPoint("RGB", -52.8, 2.4, 1, "Zinn et al. (2018)", (9, 13), (1.1, 1.8), (4200, 5100)),
    LiteratureZeroPoint("RC", -50.2, 2.5, 1, "Zinn et al. (2018)", (9, 13), (1.1, 1.4), (4600, 5100)),
    LiteratureZeroPoint(
        "luminous red giants", -48, _UNKNOWN, _UNKNOWN, "Hogg, Eilers & Rix (2018)", (8, 16), (1.3, 3.0), (3700, 4900)
    ),
)
