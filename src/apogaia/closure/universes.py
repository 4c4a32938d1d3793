"""Universes of the stress suite: simulated stars whose zero point and truth differ from the assumptions of the refit.

A universe starts from the stars of one simulated survey, with their spectra, and changes what Gaia saw or what is true:
luminosities are drawn anew, selected, or drift; magnitudes, extinctions and errors are off. Spectra stay as they are,
so that hundreds of universes cost no more than hundreds of fits. Gaia's noise is drawn anew for each seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from astropy.table import Table
from scipy.special import expit

from apogaia.physics import lindegren
from apogaia.physics.galaxy import galactocentric_from_galactic
from apogaia.simulate.gaia import injected_surface
from apogaia.simulate.sky_error import sky_error

__all__ = ["UNIVERSES", "ZERO_POINTS", "Stars", "Universe", "sky_error_uas", "zero_point_uas"]

LN10 = np.log(10.0)
WITHOUT_SKY = "without sky errors"  # a constant that all stars share
MEAN_UAS = -52.3  # of most zero points over the calibrating stars
G_MEAN = 12.9  # mag; forms below are centred, and their mean over the stars is set to MEAN_UAS
SKY_RMS_UAS = 25.0  # of errors that neighbours on the sky share: DR2's, as in the simulated surveys
CHANGE_SEED, NOISE_SEED, ROWS_SEED, SKY_SEED = 40, 41, 42, 43


@dataclass(frozen=True)
class Stars:
    """Stars of a universe; arrays of n."""

    rows: np.ndarray  # of the sample's stars.h5
    table: Table  # of stars.h5
    truth: Table
    abs_mag: np.ndarray  # Ks, true [mag]
    k0_true: np.ndarray  # apparent Ks without extinction, true [mag]
    k0: np.ndarray  # as the analysis has it [mag]
    error_ratio: np.ndarray  # Gaia's noise over its stated error
    outlier: np.ndarray  # added to the parallax, in units of the stated error

    @classmethod
    def of(cls, rows: np.ndarray, table: Table, truth: Table) -> Stars:
        """The stars of some rows as the survey made them."""
        n = len(rows)
        abs_mag, k0_true = (np.asarray(truth[name], float)[rows] for name in ("k_abs_mag", "k0_true_mag"))
        k0 = np.asarray(table["k0_mag"], float)[rows]
        return cls(rows, table[rows], truth[rows], abs_mag, k0_true, k0, np.ones(n), np.zeros(n))

    def __len__(self) -> int:
        return len(self.rows)

    def keep(self, chosen: np.ndarray) -> Stars:
        """The chosen stars."""
        return replace(self, **{name: getattr(self, name)[chosen] for name in self.__dataclass_fields__})

    def with_abs_mag(self, abs_mag: np.ndarray) -> Stars:
        """The same observed stars with other luminosities, and so nearer or farther than before."""
        return replace(self, abs_mag=abs_mag)

    def truth_of(self, name: str) -> np.ndarray:
        """A column of the truth."""
        return np.asarray(self.truth[name], float)

    @property
    def spectral_abs_mag(self) -> np.ndarray:
        """Absolute Ks magnitude [mag] without the part that the spectrum does not show."""
        return self.truth_of("k_abs_mag") - self.truth_of("hidden_mag")

    @property
    def parallax_true(self) -> np.ndarray:
        """True parallax [mas]."""
        return 10.0 ** (0.2 * (self.abs_mag - self.k0_true) + 2.0)

    def seen(self, zero_point: np.ndarray, seed: int) -> Table:
        """The table with parallaxes [mas] as Gaia sees them, `zero_point` in uas."""
        table = self.table.copy()
        error = np.asarray(table["parallax_error"], float)
        noise = np.random.default_rng([seed, NOISE_SEED]).standard_normal(len(self)) * self.error_ratio + self.outlier
        table["parallax"] = self.parallax_true + 1e-3 * zero_point + error * noise
        table["k0_mag"] = self.k0
        return table


Change = Callable[[Stars, np.random.Generator], Stars]


@dataclass(frozen=True)
class Universe:
    """The truth in it and how it is observed."""

    name: str
    what: str  # in a table of docs/closure.md
    change: Change
    n_stars: int  # at most, drawn at random for each seed
    zero_points: tuple[str, ...] = ("falling",)
    base: bool = False  # within the refit's assumptions

    def stars(self, rows: np.ndarray, table: Table, truth: Table, seed: int) -> Stars:
        """Draw the universe's stars from `rows` of the sample, with its truth."""
        changed = self.change(Stars.of(rows, table, truth), np.random.default_rng([seed, CHANGE_SEED]))
        drawn = np.random.default_rng([seed, ROWS_SEED]).permutation(len(changed))[: self.n_stars]
        return changed.keep(np.sort(drawn))


# --- zero points [uas]


def _centred(values: np.ndarray) -> np.ndarray:
    return MEAN_UAS + values - values.mean()


def _lindegren(stars: Stars) -> np.ndarray:
    """A form with breaks in G and a dependence on colour and ecliptic latitude, of the size that EDR3 has."""
    g, bp_rp = (np.asarray(stars.table[name], float) for name in ("g_mag", "bp_rp"))
    nu_eff = 1.76 - 1.61 / np.pi * np.arctan(0.531 * np.clip(bp_rp, 0.3, 3.8))
    latitude = np.asarray(stars.table["ecl_lat"], float)
    latitude = np.where(np.isfinite(latitude), latitude, np.asarray(stars.table["glat"], float))
    solution = np.full(len(stars), 31)
    unknown = np.full(len(stars), np.nan)
    return 1000.0 * lindegren.zero_point(np.clip(g, 6.1, 20.9), nu_eff, unknown, latitude, solution, extrapolate=True)


def _window(stars: Stars) -> np.ndarray:
    """0, 1, 2 for G below 12, to 13, and above: where Gaia reads other windows or gates."""
    return np.digitize(np.asarray(stars.table["g_mag"], float), [12.0, 13.0])


def _surface(stars: Stars) -> np.ndarray:
    """The mean of the paper's Eqs. 7 to 9, as the simulated surveys may inject it."""
    g_mag, bp_rp = (np.asarray(stars.table[name], float) for name in ("g_mag", "bp_rp"))
    return 1000.0 * injected_surface(g_mag, bp_rp, stars.truth_of("teff"))


ZERO_POINTS: dict[str, Callable[[Stars], np.ndarray]] = {
    "constant": lambda stars: np.full(len(stars), MEAN_UAS),
    "falling": lambda stars: _centred(-9.2 * (np.asarray(stars.table["g_mag"], float) - G_MEAN)),
    "rising": lambda stars: _centred(5.0 * (np.asarray(stars.table["g_mag"], float) - G_MEAN)),
    "colour": lambda stars: _centred(
        5.0 * np.asarray(stars.table["bp_rp"], float) ** 2 - 35.0 * np.asarray(stars.table["bp_rp"], float)
    ),
    "breaks in G": lambda stars: _centred(_lindegren(stars)),
    "surface": _surface,
    WITHOUT_SKY: lambda stars: np.full(len(stars), MEAN_UAS),
    "curved in G": lambda stars: _centred(3.0 * (np.asarray(stars.table["g_mag"], float) - G_MEAN) ** 2),
    "steps in G": lambda stars: _centred(np.array([10.0, 0.0, -15.0])[_window(stars)]),
}
"""By name: the zero point [uas] of each star; most have a mean of MEAN_UAS over the stars."""


def zero_point_uas(name: str, stars: Stars) -> np.ndarray:
    """The zero point [uas] of each star; that of a star whose G or colour is unknown is the mean of the others."""
    values = np.asarray(ZERO_POINTS[name](_known(stars)), float)
    known = _is_known(stars)
    result = np.full(len(stars), values.mean())
    result[known] = values
    return result


def sky_error_uas(name: str, stars: Stars, seed: int) -> np.ndarray:
    """Parallax error [uas] that each star shares with its neighbours; it does not depend on the zero point."""
    if name == WITHOUT_SKY:
        return np.zeros(len(stars))
    ra, dec = (np.asarray(stars.table[column], float) for column in ("ra", "dec"))
    return SKY_RMS_UAS * sky_error(SKY_SEED + 1000 * (seed + 1), ra, dec)  # no survey's seed, whose errors draw alike


def _is_known(stars: Stars) -> np.ndarray:
    return np.logical_and.reduce([np.isfinite(np.asarray(stars.table[name], float)) for name in ("g_mag", "bp_rp")])


def _known(stars: Stars) -> Stars:
    return stars.keep(_is_known(stars))


# --- changes


def _unchanged(stars: Stars, rng: np.random.Generator) -> Stars:
    return stars


def _clean(stars: Stars, rng: np.random.Generator) -> Stars:
    return stars.keep(np.asarray(stars.truth["contamination"]) == "none")


def _then(*changes: Change) -> Change:
    def both(stars: Stars, rng: np.random.Generator) -> Stars:
        for change in changes:
            stars = change(stars, rng)
        return stars

    return both


def _scatter(scatter_mag: float, *, thinning: bool) -> Change:
    """Luminosities drawn anew about those of the spectra; with thinning, weighted by the density where they put a star.

    Without it nothing is to be corrected for: as many stars are a little nearer as are a little farther.
    """
    steps = np.linspace(-4.0, 4.0, 81)

    def change(stars: Stars, rng: np.random.Generator) -> Stars:
        middle = stars.spectral_abs_mag
        if not thinning:
            return stars.with_abs_mag(middle + scatter_mag * rng.standard_normal(len(stars)))
        candidates = middle[:, None] + scatter_mag * steps
        log_p = -0.5 * steps**2 + _log_volume_density(stars, stars.k0_true[:, None] - candidates)
        log_p -= log_p.max(axis=1, keepdims=True)
        cumulative = np.cumsum(np.exp(log_p), axis=1)
        place = (cumulative < (rng.random(len(stars)) * cumulative[:, -1])[:, None]).sum(axis=1)
        within = rng.random(len(stars)) - 0.5
        offset = steps[np.minimum(place, len(steps) - 1)] + within * (steps[1] - steps[0])
        return stars.with_abs_mag(middle + scatter_mag * offset)

    return change


def _log_volume_density(stars: Stars, modulus: np.ndarray) -> np.ndarray:
    """ln of d^3 rho, of discs and halo with a scale length and height each, (n, m) at distance moduli (n, m)."""
    distance = 10 ** (0.2 * modulus - 2)
    glon, glat = (np.asarray(stars.table[name], float)[:, None] for name in ("glon", "glat"))
    x, y, z = galactocentric_from_galactic(glon, glat, distance)
    component = np.char.strip(np.asarray(stars.truth["component"]).astype(str))
    length, height = np.full(len(stars), 2.6), np.full(len(stars), 0.3)
    length[component == "thick disc"], height[component == "thick disc"] = 2.2, 0.9
    disc = -np.hypot(x, y) / length[:, None] - np.abs(z) / height[:, None]
    halo = -2.8 * np.log(np.sqrt(x**2 + y**2 + (z / 0.7) ** 2) + 0.5)
    return 3 * np.log(distance) + np.where((component == "halo")[:, None], halo, disc)


def _drift(mag_per_mag: float) -> Change:
    """Luminosities that drift with Ks at given features."""
    return lambda stars, rng: stars.with_abs_mag(
        stars.abs_mag + mag_per_mag * (stars.k0_true - np.median(stars.k0_true))
    )


def _selected(stars: Stars, rng: np.random.Generator) -> Stars:
    """Of bright stars the less luminous are kept, of faint ones the more luminous, at given spectrum."""
    hidden = stars.abs_mag - stars.spectral_abs_mag
    faint = np.tanh(stars.k0_true - np.median(stars.k0_true))
    return stars.keep(rng.random(len(stars)) < expit(-1.5 * faint * hidden / max(hidden.std(), 1e-3)))


def _one_field(stars: Stars, rng: np.random.Generator) -> Stars:
    """A region about as large as Kepler's field of view and its surroundings."""
    glon, glat = (np.asarray(stars.table[name], float) for name in ("glon", "glat"))
    return stars.keep((glon > 50) & (glon < 110) & (np.abs(glat) < 25))


def _clump(stars: Stars, rng: np.random.Generator) -> Stars:
    log_g = np.asarray(stars.table["logg"], float)
    return stars.keep((log_g > 2.25) & (log_g < 2.65))


def _dwarfs(stars: Stars, rng: np.random.Generator) -> Stars:
    return stars.keep(np.asarray(stars.table["logg"], float) > 3.2)


def _giants(stars: Stars, rng: np.random.Generator) -> Stars:
    return stars.keep(np.asarray(stars.table["logg"], float) < 2.2)


def _binaries(stars: Stars, rng: np.random.Generator) -> Stars:
    """A twentieth of the stars are 0.3 mag brighter than their spectra say."""
    return stars.with_abs_mag(stars.abs_mag - 0.3 * (rng.random(len(stars)) < 0.05))


def _confused(stars: Stars, rng: np.random.Generator) -> Stars:
    """Between log g 2.3 and 2.55 a spectrum does not tell clump from branch: 0.25 mag fainter, or 0.11 brighter."""
    log_g = stars.truth_of("logg")
    other = np.where(rng.random(len(stars)) < 0.3, 0.25, -0.11)
    return stars.with_abs_mag(stars.abs_mag + other * ((log_g > 2.3) & (log_g < 2.55)))


def _ks_scale(per_mag: float) -> Change:
    return lambda stars, rng: replace(stars, k0=stars.k0 + per_mag * (stars.k0 - np.median(stars.k0)))


def _extinction(ratio: float) -> Change:
    return lambda stars, rng: replace(stars, k0=stars.k0 - (ratio - 1.0) * np.asarray(stars.table["a_k_mag"], float))


def _small_errors(stars: Stars, rng: np.random.Generator) -> Stars:
    return replace(stars, error_ratio=np.full(len(stars), 1.3))


def _contaminants(fraction: float) -> Change:
    """Some parallaxes are off by a Student's t of 2 degrees and 4 errors; as many stars are blended, so too bright."""

    def change(stars: Stars, rng: np.random.Generator) -> Stars:
        wrong, blended = (rng.random(len(stars)) < 0.5 * fraction for _ in range(2))
        outlier = np.where(wrong, np.clip(4.0 * rng.standard_t(2, len(stars)), -60, 60), 0.0)
        return replace(stars, outlier=outlier, k0=stars.k0 - np.where(blended, rng.exponential(0.4, len(stars)), 0.0))

    return change


def _vertical_gradient(stars: Stars, rng: np.random.Generator) -> Stars:
    """Stars of one spectrum are 0.03 mag fainter per kpc from the plane: older, say."""
    return stars.with_abs_mag(stars.abs_mag + 0.03 * np.clip(np.abs(stars.truth_of("z_kpc")), 0, 5))


PAPER_SIZE, PART = 35_000, 12_000
BASE_ZERO_POINTS = ("constant", "falling", "rising", "colour", "breaks in G", "surface", WITHOUT_SKY)

UNIVERSES: tuple[Universe, ...] = (
    Universe("base", "the simulated survey", _clean, PAPER_SIZE, BASE_ZERO_POINTS, base=True),
    Universe("part", "12,000 of its stars", _clean, PART, base=True),
    Universe("bent", "the same, no line in G", _clean, PART, ("breaks in G", "curved in G", "steps in G")),
    Universe("own contaminants", "the survey's own, 1 %", _unchanged, PART),
    Universe("contaminants 1 %", "1 %, with a heavy tail", _then(_clean, _contaminants(0.01)), PART),
    Universe("contaminants 2 %", "2 %, with a heavy tail", _then(_clean, _contaminants(0.02)), PART),
    Universe("scatter 0.05", "0.05 mag, thinning out", _then(_clean, _scatter(0.05, thinning=True)), PART),
    Universe("scatter 0.17", "0.17 mag, thinning out", _then(_clean, _scatter(0.17, thinning=True)), PART),
    Universe("flat scatter 0.17", "0.17 mag, not thinning out", _then(_clean, _scatter(0.17, thinning=False)), PART),
    Universe("drift +0.046", "fainter by 0.046 mag per mag of Ks", _then(_clean, _drift(0.046)), PART),
    Universe("drift -0.023", "brighter by 0.023 mag per mag of Ks", _then(_clean, _drift(-0.023)), PART),
    Universe("selected", "chosen by luminosity at given magnitude", _then(_clean, _selected), PART),
    Universe("selected field", "the same in one field", _then(_clean, _one_field, _selected), PART),
    Universe("field", "one field", _then(_clean, _one_field), PART),
    Universe("clump", "the red clump alone", _then(_clean, _clump), PART),
    Universe("clump in a field", "the red clump in one field", _then(_clean, _one_field, _clump), PART),
    Universe("dwarfs", "dwarfs and subgiants alone", _then(_clean, _dwarfs), PART),
    Universe("luminous giants", "giants above the clump alone", _then(_clean, _giants), PART),
    Universe("binaries", "5 % are 0.3 mag too bright", _then(_clean, _binaries), PART),
    Universe("confused clump", "clump taken for branch", _then(_clean, _confused), PART),
    Universe("Ks scale", "Ks off by 0.005 mag per mag", _then(_clean, _ks_scale(0.005)), PART),
    Universe("extinction +10 %", "A_K 10 % too large", _then(_clean, _extinction(1.1)), PART),
    Universe("extinction -10 %", "A_K 10 % too small", _then(_clean, _extinction(0.9)), PART),
    Universe("Gaia's errors", "1.3 times the stated ones", _then(_clean, _small_errors), PART),
    Universe("vertical gradient", "0.03 mag per kpc of height", _then(_clean, _vertical_gradient), PART),
    *(Universe(f"{n} stars", f"{n} of the stars", _unchanged, n) for n in (100, 200, 400, 800, 1600, 3200, 6400)),
)
