"""Published zero points of Gaia: the paper's quadratic summaries, and those of other works.

Sign: zero point = Gaia parallax minus true parallax, which is negative.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import numpy as np
from astropy import units as u

from apogaia.arguments.takes import takes

__all__ = [
    "FIELD_FLOOR_UAS",
    "LITERATURE",
    "PAPER_SUMMARIES",
    "PUBLISHED",
    "LiteratureZeroPoint",
    "PublishedZeroPoint",
    "QuadraticSummary",
    "Tension",
    "paper_summaries",
    "published_zero_points",
    "tensions",
]


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
    """A zero point of Gaia DR2 from another work [uas], and roughly which sources it is based on.

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


FIELD_FLOOR_UAS = (3.0, 10.0)
"""How well Gaia's zero point is known to anyone: works on the same release differ by this much, and the parallaxes of
neighbours on the sky share about as much (3 to 4 uas: Zinn 2021; 10: Khan et al. 2023, Ding et al. 2024)."""


@dataclass(frozen=True)
class PublishedZeroPoint:
    """A zero point of one of Gaia's releases [uas] with its errors; NaN if not given.

    `release` is "dr2", "edr3" (as released), or "edr3 corrected" (what the function of Lindegren et al. 2021 leaves).
    """

    release: str
    reference: str
    stars: str  # what kind of source it rests on
    value_uas: float
    error_uas: float = _UNKNOWN  # statistical, or the only one stated
    systematic_uas: float = _UNKNOWN


_EDR3_LEFT = "edr3 corrected"

PUBLISHED = (
    PublishedZeroPoint("dr2", "Lindegren et al. (2018)", "quasars", -29),
    PublishedZeroPoint("dr2", "Zinn et al. (2019)", "red giants, Kepler, seismic", -52.8, 2.4, 8.6),
    PublishedZeroPoint("dr2", "Khan et al. (2019)", "red giants and clump, Kepler and K2", -50, systematic_uas=20),
    PublishedZeroPoint("dr2", "Hall et al. (2019)", "red clump, Kepler, hierarchical", -41, 10),
    PublishedZeroPoint("dr2", "Chan & Bovy (2020)", "red clump, APOGEE, hierarchical", -48, 1),
    PublishedZeroPoint("dr2", "Schoenrich et al. (2019)", "radial velocities, kinematic", -54, 6),
    PublishedZeroPoint("dr2", "Hogg, Eilers & Rix (2019)", "luminous giants, APOGEE", -48),
    PublishedZeroPoint("dr2", "Riess et al. (2018)", "Cepheids", -46, 13),
    PublishedZeroPoint("dr2", "Graczyk et al. (2019)", "eclipsing binaries", -31, 11),
    PublishedZeroPoint("dr2", "Leung & Bovy (2019b)", "APOGEE, spectra and offset together", -52.3, 2.0),
    PublishedZeroPoint("edr3", "Huang et al. (2021)", "red clump, LAMOST", -26),
    PublishedZeroPoint("edr3", "Groenewegen (2021)", "quasars, binaries, Cepheids", -39),
    PublishedZeroPoint(_EDR3_LEFT, "Zinn (2021)", "red giants, Kepler, G < 10.8, seismic", 15, 3),
    PublishedZeroPoint(_EDR3_LEFT, "Khan et al. (2023)", "red clump, Kepler", -1.6, 0.5, 10),
    PublishedZeroPoint(_EDR3_LEFT, "Khan et al. (2023)", "red clump, K2", 16.5, 1.7, 10),
)


def published_zero_points(gaia_release: str, subtracted: str = "none") -> tuple[PublishedZeroPoint, ...]:
    """Return the zero points to compare with.

    Parameters
    ----------
    gaia_release
        "dr2", "edr3" or a later one, as `sources.gaia_release`; EDR3's parallaxes are DR3's, and later ones have none.
    subtracted
        What was subtracted from the parallaxes beforehand, as `sources.parallax_zero_point`.
    """
    release = "edr3" if gaia_release in ("edr3", "dr3") else gaia_release
    return tuple(one for one in PUBLISHED if one.release == (release if subtracted == "none" else _EDR3_LEFT))


@dataclass(frozen=True)
class Tension:
    """A zero point minus a published one [uas], and in units of their errors."""

    published: PublishedZeroPoint
    difference_uas: float
    stated_sigma: float  # with the errors that the two state
    sigma: float  # where the work states no systematic error, with the upper end of `FIELD_FLOOR_UAS` in its place

    def numbers(self) -> dict[str, str | float]:
        """Everything in one mapping, for a JSON file."""
        return {**asdict(self.published), **{key: value for key, value in vars(self).items() if key != "published"}}

    def __str__(self) -> str:
        work = self.published
        errors = " ".join(
            f"+- {error:g} ({kind})" if np.isfinite(error) else ""
            for kind, error in (("stat.", work.error_uas), ("syst.", work.systematic_uas))
        ).strip()
        value = f"{work.value_uas:6.1f} {errors or '(no error stated)'}"
        return f"{work.reference:26s} {value:36s} {self.sigma:+5.1f} sigma   {work.stars}"


@takes(value_uas=u.uas, error_uas=u.uas)
def tensions(value_uas, error_uas, published: Iterable[PublishedZeroPoint]) -> list[Tension]:
    """How far a zero point and its error [uas] are from published ones."""
    made = []
    for one in published:
        systematic = one.systematic_uas if np.isfinite(one.systematic_uas) else FIELD_FLOOR_UAS[1]
        difference = float(value_uas) - one.value_uas
        stated = np.sqrt(np.nansum(np.square([error_uas, one.error_uas, one.systematic_uas])))
        with_floor = np.sqrt(np.nansum(np.square([error_uas, one.error_uas, systematic])))
        made.append(Tension(one, difference, float(difference / stated), float(difference / with_floor)))
    return made
