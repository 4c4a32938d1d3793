"""The lines of the simulated spectra: atoms from a table, hydrogen and molecules from their constants.

Wavelengths are in vacuum, in Angstrom. Line strengths are products of statistical weight and oscillator strength.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np

from apogaia.physics.hydrogen_lines import RYDBERG_HYDROGEN, brackett_wavelength
from apogaia.simulate.atmosphere import WAVENUMBER_EV

__all__ = ["BRACKETT_UPPER_LEVELS", "Lines", "all_lines", "atomic_lines", "brackett_lines", "carbon_monoxide_lines",
           "cyanogen_lines", "element_lines", "hydroxyl_lines"]  # fmt: skip

FIRST_WAVELENGTH, LAST_WAVELENGTH = 15080.0, 17030.0
BRACKETT_UPPER_LEVELS = tuple(range(10, 26))
DIPOLE_TO_GF = 4.7019e-7  # gf = this times wavenumber [cm^-1] times squared transition moment [Debye^2]


@dataclass(frozen=True)
class Lines:
    """Lines as columns.

    Attributes
    ----------
    species : (n,) str, such as "Fe 1", "Ti 2" or "CO"
    wavelength : (n,) vacuum Angstrom
    excitation : (n,) eV above the ground state
    log_gf : (n,) dex
    """

    species: np.ndarray
    wavelength: np.ndarray
    excitation: np.ndarray
    log_gf: np.ndarray

    def __len__(self) -> int:
        """Return the number of lines."""
        return len(self.wavelength)

    def __getitem__(self, rows: np.ndarray | slice) -> Lines:
        """Return some of the lines."""
        return Lines(self.species[rows], self.wavelength[rows], self.excitation[rows], self.log_gf[rows])


def _from_wavenumbers(species: str, wavenumber, lower_term, gf) -> Lines:
    """Return the lines in the H band, from lists of arrays: wavenumber and lower term [cm^-1] and gf."""
    wavenumber, lower_term, gf = (
        np.concatenate([np.ravel(p) for p in parts]) for parts in (wavenumber, lower_term, gf)
    )
    wavelength = 1e8 / wavenumber
    keep = (wavelength > FIRST_WAVELENGTH) & (wavelength < LAST_WAVELENGTH) & (gf > 0)
    keep[keep] &= np.log10(gf[keep]) > -14
    names = np.full(keep.sum(), species, dtype="U5")
    return Lines(names, wavelength[keep], lower_term[keep] * WAVENUMBER_EV, np.log10(gf[keep]))


@cache
def atomic_lines() -> Lines:
    """Read the table `atomic_lines.csv`, whose header names its sources."""
    text = files("apogaia.simulate").joinpath("atomic_lines.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(row for row in text.splitlines() if not row.startswith("#")))
    return Lines(
        np.array([f"{row['element']} {row['ion']}" for row in rows], dtype="U5"),
        np.array([float(row["wavelength_vacuum_A"]) for row in rows]),
        np.array([float(row["excitation_eV"]) for row in rows]),
        np.array([float(row["log_gf"]) for row in rows]),
    )


def element_lines(element: str) -> Lines:
    """Return the atomic lines of one element; "CI" means C and "TiII" the ion of Ti, as in the labels."""
    lines = atomic_lines()
    species = {"CI": ["C 1"], "TiII": ["Ti 2"], "Ti": ["Ti 1"]}.get(element, [f"{element} 1", f"{element} 2"])
    return lines[np.isin(lines.species, species)]


def brackett_lines() -> Lines:
    """Return hydrogen's lines to n = 4, with Kramers' oscillator strengths."""
    upper = np.array(BRACKETT_UPPER_LEVELS, dtype=float)
    difference = 1 / 16 - 1 / upper**2
    f = 32 / (3 * np.pi * np.sqrt(3)) / (4**5 * upper**3 * difference**3)
    wavelength = brackett_wavelength(upper)
    energy = RYDBERG_HYDROGEN * (1 - 1 / 16) * WAVENUMBER_EV
    return Lines(np.full(len(upper), "H 1"), wavelength, np.full(len(upper), energy), np.log10(32 * f))


def _dunham(coefficients, v, j):
    """Term value in cm^-1 from Dunham's coefficients Y[k][l] of (v + 1/2)^k [J (J + 1)]^l."""
    vibration, rotation = v + 0.5, j * (j + 1.0)
    return sum(y * vibration**k * rotation**i for (k, i), y in coefficients.items())


# 12C16O, X 1Sigma+ (Farrenq et al. 1991; Authier et al. 1993)
_CO = {
    (1, 0): 2169.812670, (2, 0): -13.2878817, (3, 0): 1.041444e-2, (4, 0): 6.921e-5, (5, 0): 1.69e-7,
    (0, 1): 1.9312809850, (1, 1): -1.7504100e-2, (2, 1): 5.487e-7, (3, 1): 2.541e-8,
    (0, 2): -6.12161e-6, (1, 2): 1.15e-9, (2, 2): -1.805e-10, (0, 3): 5.88e-12,
}  # fmt: skip
_CO_SECOND_OVERTONE_MOMENT = 4.2e-4  # Debye, of the 3-0 band


def carbon_monoxide_lines() -> Lines:
    """Return the second overtone of CO (3-0 to 12-9) up to J = 130; moments scale as for a harmonic oscillator."""
    ground = _dunham(_CO, 0, 0)
    wavenumbers, terms, strengths = [], [], []
    j = np.arange(0.0, 131.0)
    for v in range(10):
        squared_moment = _CO_SECOND_OVERTONE_MOMENT**2 * (v + 1) * (v + 2) * (v + 3) / 6
        for step in (-1, 1):
            lower = j[1:] if step < 0 else j
            m = lower + 1 if step > 0 else -lower
            term = _dunham(_CO, v, lower) - ground
            wavenumber = _dunham(_CO, v + 3, lower + step) - ground - term
            wavenumbers.append(wavenumber)
            terms.append(term)
            strengths.append(DIPOLE_TO_GF * wavenumber * squared_moment * np.abs(m) * (1 + 0.003 * m) ** 2)
    return _from_wavenumbers("CO", wavenumbers, terms, strengths)


def _doublet_pi(j, component, spin_orbit, rotation, distortion, cubic=0.0):
    """Term value of a 2Pi state about its origin in cm^-1: component 1 is the lower, 2 the upper of each pair.

    Eigenvalues of the 2 x 2 matrix in Hund's case (a), with the operator R^2 and its powers for the distortion.
    """
    x = (j + 0.5) ** 2
    diagonal, other, mixing = x - 2.0, x, -np.sqrt(x - 1.0)  # R^2 for Omega = 3/2, 1/2, and between them
    square = diagonal**2 + mixing**2, other**2 + mixing**2, mixing * (diagonal + other)
    cube = (
        square[0] * diagonal + square[2] * mixing,
        square[1] * other + square[2] * mixing,
        square[0] * mixing + square[2] * other,
    )
    upper = spin_orbit / 2 + rotation * diagonal - distortion * square[0] + cubic * cube[0]
    lower = -spin_orbit / 2 + rotation * other - distortion * square[1] + cubic * cube[1]
    between = rotation * mixing - distortion * square[2] + cubic * cube[2]
    root = np.hypot((upper - lower) / 2, between)
    return (upper + lower) / 2 + (root if component == 2 else -root)


_CN_GROUND = {  # X 2Sigma+ of 12C14N: term, B, D in cm^-1 (Ram et al. 2010)
    0: (0.0, 1.891090, 6.397e-6), 1: (2042.421, 1.873665, 6.405e-6), 2: (4058.549, 1.856187, 6.417e-6),
    3: (6048.344, 1.838653, 6.429e-6), 4: (8011.767, 1.821059, 6.444e-6), 5: (9948.775, 1.803401, 6.461e-6),
    6: (11859.325, 1.78567, 6.48e-6),
}  # fmt: skip
_CN_BANDS = {(0, 1): 1.0e-4, (1, 2): 2.2e-4, (2, 3): 1.3e-4, (3, 4): 1.0e-4, (4, 5): 0.8e-4}
_CN_SPIN_ORBIT = -52.65


def _cn_upper(v):
    """Origin, B and D of A 2Pi, v: Dunham series about the (0, 0) origin."""
    x = v + 0.5
    vibration = 1813.288 * x - 12.7779 * x**2 - 0.00318 * x**3
    zero = 1813.288 / 2 - 12.7779 / 4 - 0.00318 / 8
    return 9117.38 + vibration - zero, 1.71580 - 0.017166 * x - 3.0e-5 * x**2, 6.15e-6


def cyanogen_lines() -> Lines:
    """Return the red system of CN, A 2Pi - X 2Sigma+: six main branches of the bands with v'' = v' + 1."""
    wavenumbers, terms, strengths = [], [], []
    n = np.arange(1.0, 111.0)
    for (upper, lower), oscillator in _CN_BANDS.items():
        origin, rotation, distortion = _cn_upper(upper)
        ground, b, d = _CN_GROUND[lower]
        for component, spin in ((1, 0.5), (2, -0.5)):
            j = n + spin
            term = ground + b * n * (n + 1) - d * (n * (n + 1)) ** 2
            for step, share in ((-1, 0.25), (0, 0.5), (1, 0.25)):
                allowed = j + step >= 1.5
                level = _doublet_pi(j[allowed] + step, component, _CN_SPIN_ORBIT, rotation, distortion)
                wavenumbers.append(origin + level - term[allowed])
                terms.append(term[allowed])
                strengths.append(oscillator * share * (2 * j[allowed] + 1))
    return _from_wavenumbers("CN", wavenumbers, terms, strengths)


# X 2Pi of OH: origin, B, D, H in cm^-1. Effective constants, fitted to wavenumbers of Brooke et al. (2016) for 50 lines
# of the first overtone in the H band, which they give to 0.04 cm^-1 rms.
_OH = {
    0: (0.0000, 18.530543, 1.910239e-03, 1.3239e-07),
    1: (3568.4542, 17.832233, 1.877174e-03, 1.4337e-07),
    2: (6973.6783, 17.118314, 1.839421e-03, 1.2460e-07),
    3: (10212.9334, 16.439091, 1.828797e-03, 1.4284e-07),
    4: (13291.8024, 15.733074, 1.783124e-03, 9.8632e-08),
    5: (16205.9530, 15.052954, 1.768518e-03, 8.5807e-08),
}
_OH_SPIN_ORBIT = (-137.7332, -0.2020)  # cm^-1: at v = 0, and its change with v
_OH_FIRST_OVERTONE_MOMENT = 7.6e-3  # Debye, of the 2-0 band


def _oh_term(v, j, component):
    origin, *constants = _OH[v]
    return origin + _doublet_pi(j, component, _OH_SPIN_ORBIT[0] + _OH_SPIN_ORBIT[1] * v, *constants)


def hydroxyl_lines() -> Lines:
    """Return the first overtone of OH (2-0 to 5-3): P and R branches, both members of each Lambda doublet.

    The Lambda splitting of the lines [cm^-1] and the dependence of the moment on rotation (which favours the P branch)
    are polynomials through the values of Brooke et al. (2016).
    """
    ground = _oh_term(0, 1.5, 1)
    wavenumbers, terms, strengths = [], [], []
    j = np.arange(1.5, 31.0)
    splittings = {(-1, 1): [-0.173, 0.121, 1.0e-3], (-1, 2): [-0.035, 0.046, 3.9e-3],
                  (1, 1): [0.314, -0.048, 3.3e-3], (1, 2): [0.189, -0.020, 1.6e-3]}  # fmt: skip
    for v in range(4):
        squared_moment = _OH_FIRST_OVERTONE_MOMENT**2 * (v + 1) * (v + 2) / 2
        for component in (1, 2):
            omega = 1.5 if component == 1 else 0.5
            for step in (-1, 1):
                lower = j[j + step >= omega]
                term = _oh_term(v, lower, component) - ground
                wavenumber = _oh_term(v + 2, lower + step, component) - ground - term
                m = lower + 1 if step > 0 else -lower
                rotation = 0.9 - 0.02 * m if step > 0 else 0.9 - 0.05 * m
                strength = DIPOLE_TO_GF * wavenumber * squared_moment * np.abs(m) * rotation**2
                splitting = np.polynomial.polynomial.polyval(lower, splittings[step, component])
                for parity in (-0.5, 0.5):
                    wavenumbers.append(wavenumber + parity * splitting)
                    terms.append(term)
                    strengths.append(strength)
    return _from_wavenumbers("OH", wavenumbers, terms, strengths)


@cache
def all_lines() -> Lines:
    """Return every line except hydrogen's, sorted by wavelength."""
    parts = (atomic_lines(), carbon_monoxide_lines(), cyanogen_lines(), hydroxyl_lines())
    joined = Lines(*(np.concatenate([getattr(p, name) for p in parts]) for name in Lines.__dataclass_fields__))
    return joined[np.argsort(joined.wavelength, kind="stable")]
