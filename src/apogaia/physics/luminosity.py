"""Luminosity, parallax, distance and extinction, with errors.

Results are plain numbers or arrays: parallaxes in mas, distances in pc, magnitudes in mag, fakemag in mas. So are
arguments without a unit; those with one are converted (`apogaia.arguments`). Unknown, which includes masked, is NaN and
stays NaN. A function that is given an error returns ``(value, error)``, the error being first-order propagation.

The luminosity scale is the paper's Eq. 1, ``fakemag = parallax 10^(0.2 K0) = 10^(0.2 M + 2)``: the parallax in mas that
the star would have if it were moved to K0 = 0. It is linear in parallax, so that a Gaussian parallax error, negative
parallaxes included, stays Gaussian.
"""

from __future__ import annotations

import numpy as np
from astropy import units as u

from apogaia.arguments.plain import any_unit
from apogaia.arguments.takes import takes

__all__ = [
    "SUN_ABSMAG",
    "absmag_to_fakemag",
    "corrected_parallax",
    "extinction_correction",
    "fakemag_to_absmag",
    "fakemag_to_logsol",
    "fakemag_to_parallax",
    "fakemag_to_pc",
    "has_extinction",
    "logsol_to_fakemag",
    "mag_to_absmag",
    "mag_to_fakemag",
    "parallax_to_pc",
    "rjce_a_k",
    "robust_scatter",
    "weighted_parallax",
]

# Absolute 2MASS magnitudes of the Sun, Vega system: Willmer (2018), Table 3.
SUN_ABSMAG = {"J": 3.67, "H": 3.32, "Ks": 3.27}

_MAG_PER_LN = 5 / np.log(10)  # d(5 log10 x) / d(ln x)
_MAS_PC = 1000.0  # parallax [mas] times distance [pc]


@takes(mag=u.mag, parallax=u.mas, parallax_error=u.mas)
def mag_to_fakemag(mag, parallax, parallax_error=None):
    """Luminosity [mas] from an extinction-corrected magnitude and a parallax of any sign [mas] (Eq. 1).

    Examples
    --------
    >>> print(mag_to_fakemag(10.0, 1.0))  # seen at Ks = 10 from 1 kpc
    100.0
    """
    factor = 10 ** (0.2 * _float(mag))
    return _with_error(_float(parallax) * factor, parallax_error, factor)


@takes(fakemag=u.mas, mag=u.mag, fakemag_error=u.mas)
def fakemag_to_parallax(fakemag, mag, fakemag_error=None):
    """Parallax [mas] from luminosity [mas] and extinction-corrected magnitude (Eq. 1)."""
    factor = 10 ** (-0.2 * _float(mag))
    return _with_error(_float(fakemag) * factor, fakemag_error, factor)


@takes(fakemag=u.mas, mag=u.mag, fakemag_error=u.mas)
def fakemag_to_pc(fakemag, mag, fakemag_error=None):
    """Distance [pc] from luminosity [mas] and extinction-corrected magnitude (Eq. 1); NaN where fakemag <= 0.

    The error is ``distance * fakemag_error / fakemag``.

    Examples
    --------
    >>> print(fakemag_to_pc(100.0, 10.0))
    1000.0
    >>> print(fakemag_to_pc(0.1 * u.arcsec, 10 * u.mag))
    1000.0
    >>> distance, error = fakemag_to_pc([100.0, 50.0], 10.0, 5.0)
    >>> print(distance, error)
    [1000. 2000.] [ 50. 200.]
    """
    fakemag = _positive(fakemag)
    with np.errstate(over="ignore"):  # a vanishing luminosity is infinitely far away
        distance = _MAS_PC * 10 ** (0.2 * _float(mag)) / fakemag
        return _with_error(distance, fakemag_error, distance / fakemag)


@takes(parallax=u.mas, parallax_error=u.mas)
def parallax_to_pc(parallax, parallax_error=None):
    """Inverse parallax [pc] of a parallax [mas]; NaN where parallax <= 0."""
    parallax = _positive(parallax)
    with np.errstate(over="ignore"):
        distance = _MAS_PC / parallax
        return _with_error(distance, parallax_error, distance / parallax)


@takes(fakemag=u.mas, fakemag_error=u.mas)
def fakemag_to_absmag(fakemag, fakemag_error=None):
    """Absolute magnitude of a luminosity [mas] (Eq. 1); NaN where fakemag <= 0.

    Examples
    --------
    >>> print(fakemag_to_absmag([100.0, 10.0, -1.0]))
    [ 0. -5. nan]
    """
    fakemag = _positive(fakemag)
    return _with_error(5 * (np.log10(fakemag) - 2), fakemag_error, _MAG_PER_LN / fakemag)


@takes(absmag=u.mag, absmag_error=u.mag)
def absmag_to_fakemag(absmag, absmag_error=None):
    """Luminosity [mas] of an absolute magnitude (Eq. 1)."""
    fakemag = 10 ** (0.2 * _float(absmag) + 2)
    return _with_error(fakemag, absmag_error, fakemag / _MAG_PER_LN)


@takes(mag=u.mag, parallax=u.mas, parallax_error=u.mas)
def mag_to_absmag(mag, parallax, parallax_error=None):
    """Absolute magnitude from extinction-corrected magnitude and parallax [mas]; NaN where parallax <= 0.

    ``M = m + 5 log10(parallax) - 10``, with the error ``5 / ln(10) * parallax_error / parallax``.
    """
    parallax = _positive(parallax)
    return _with_error(_float(mag) + 5 * np.log10(parallax) - 10, parallax_error, _MAG_PER_LN / parallax)


@takes(fakemag=u.mas)
def fakemag_to_logsol(fakemag, band="Ks"):
    """log10 of the luminosity in `band`, in the Sun's luminosity in that band [dex]; NaN where fakemag <= 0.

    Raises
    ------
    ValueError
        If `band` is none of `SUN_ABSMAG`: J, H, Ks.
    """
    return 0.4 * (_sun_absmag(band) - fakemag_to_absmag(fakemag))


@takes(logsol=u.dex)
def logsol_to_fakemag(logsol, band="Ks"):
    """Luminosity of a log10 luminosity in `band` in the Sun's luminosity in that band [dex].

    Raises
    ------
    ValueError
        If `band` is none of `SUN_ABSMAG`: J, H, Ks.
    """
    return absmag_to_fakemag(_sun_absmag(band) - _float(logsol) / 0.4)


def _sun_absmag(band):
    if band not in SUN_ABSMAG:
        raise ValueError(f"band must be one of {', '.join(SUN_ABSMAG)}, not {band!r}")
    return SUN_ABSMAG[band]


@takes(k_mag=u.mag, a_k_mag=u.mag)
def extinction_correction(k_mag, a_k_mag):
    """Extinction-corrected Ks magnitude.

    Missing extinction (NaN, or one of the placeholders below -1 that APOGEE writes) counts as zero (section 3.1).

    Examples
    --------
    >>> print(extinction_correction([10.5, 10.5], [0.5, -9999.0]))
    [10.  10.5]
    """
    return _float(k_mag) - np.where(has_extinction(a_k_mag), a_k_mag, 0.0)


@takes(a_k_mag=u.mag)
def has_extinction(a_k_mag):
    """Whether an extinction [mag] is known: neither NaN nor one of the placeholders below -1."""
    return _float(a_k_mag) >= -1


@takes(h_mag=u.mag, w2_mag=u.mag)
def rjce_a_k(h_mag, w2_mag):
    """Ks extinction by the Rayleigh-Jeans colour excess, from H and the 4.5 micron magnitude.

    ``0.918 (H - [4.5] - 0.08)``: Majewski, Zasowski & Nidever (2011), Eq. 1, which the paper's Eq. 6 means.
    """
    return 0.918 * (_float(h_mag) - _float(w2_mag) - 0.08)


@takes(residuals=any_unit)
def robust_scatter(residuals):
    """``1.4826 median |r - median r|`` of the finite residuals (Eq. 10); a Gaussian's standard deviation.

    Examples
    --------
    >>> robust_scatter([-1.0, 0.0, 1.0, 100.0, np.nan])
    1.4826
    """
    residuals = _float(residuals)
    residuals = residuals[np.isfinite(residuals)]
    if not residuals.size:
        return np.nan
    return float(1.4826 * np.median(np.abs(residuals - np.median(residuals))))


@takes(parallax=u.mas, zero_point=u.mas)
def corrected_parallax(parallax, zero_point):
    """Subtract the zero point from a Gaia parallax: ``parallax - zero_point``, both [mas] (Eq. 2).

    Examples
    --------
    >>> print(corrected_parallax(0.5, -0.0523))
    0.5523
    """
    return _float(parallax) - _float(zero_point)


@takes(nn_parallax=u.mas, nn_error=u.mas, gaia_parallax=u.mas, gaia_error=u.mas, zero_point=u.mas)
def weighted_parallax(nn_parallax, nn_error, gaia_parallax, gaia_error, zero_point):
    """Inverse-variance mean of the network's parallax and Gaia's corrected one (Table 1, note 2).

    A side without a finite value and a finite, positive error is missing. If one side is missing, the other is
    returned with its error; if both are, NaN. The error is the standard deviation, ``1 / sqrt(sum of weights)``.

    Parameters
    ----------
    nn_parallax, nn_error
        The network's parallax and its error [mas]: the total one, or the paper's, the model error.
    gaia_parallax, gaia_error
        The parallax and error that Gaia gives, uncorrected [mas].
    zero_point
        Gaia minus true parallax [mas], a number or one per star. A Gaia parallax without one is missing.

    Returns
    -------
    parallax, error
        In mas.

    Examples
    --------
    >>> parallax, error = weighted_parallax(0.50, 0.04, 0.45, 0.03, -0.05)
    >>> print(f"{parallax:.3f} +- {error:.3f} mas")
    0.500 +- 0.024 mas
    >>> print(*weighted_parallax(0.50, 0.04, np.nan, np.nan, -0.05))  # Gaia has none
    0.5 0.04
    """
    values = np.broadcast_arrays(
        _float(nn_parallax), _float(nn_error), corrected_parallax(gaia_parallax, zero_point), _float(gaia_error)
    )
    nn, nn_weight = _value_and_weight(*values[:2])
    gaia, gaia_weight = _value_and_weight(*values[2:])
    with np.errstate(divide="ignore", invalid="ignore"):
        weight = nn_weight + gaia_weight
        return (nn * nn_weight + gaia * gaia_weight) / weight, 1 / np.sqrt(np.where(weight > 0, weight, np.nan))


def _value_and_weight(value, error):
    known = np.isfinite(value) & np.isfinite(error) & (error > 0)
    return np.where(known, value, 0.0), np.where(known, 1 / np.where(known, error, 1.0) ** 2, 0.0)


def _float(values):
    """Floating-point numbers; the empty index turns an array without axes into a plain number."""
    return np.asarray(values, dtype=float)[()]


def _positive(values):
    """Floating-point numbers, NaN where they are not positive."""
    values = _float(values)
    return np.where(values > 0, values, np.nan)[()]


def _with_error(value, error, derivative):
    return value if error is None else (value, _float(error) * derivative)
