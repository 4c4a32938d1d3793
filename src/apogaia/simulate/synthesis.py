"""Synthetic spectra on the apStar grid: line opacity, Milne-Eddington residual flux, broadening, sampling."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np
from numba import njit

from apogaia.formats.pixel_grid import (
    LOG10_WAVELENGTH_START,
    LOG10_WAVELENGTH_STEP,
    N_PIXELS_APSTAR,
    wavelength_solution,
)
from apogaia.simulate.atmosphere import (
    ATOMIC_MASS,
    BOLTZMANN,
    BOLTZMANN_EV,
    HC_OVER_K_MICRON,
    LIGHT,
    MASSES_AMU,
    Atmosphere,
    continuum_cross_section,
    model_atmosphere,
)
from apogaia.simulate.lines import BRACKETT_UPPER_LEVELS, Lines, all_lines, brackett_lines

__all__ = ["RESOLVING_POWER", "interstellar_band", "synthetic_flux", "voigt"]

RESOLVING_POWER = 22_500
OVERSAMPLING = 5  # samples per pixel of the grid on which opacity is computed, 0.83 km/s each
MARGIN = 100  # pixels added at both ends, so that the ends see their neighbours
STEP = LOG10_WAVELENGTH_STEP / OVERSAMPLING  # of log10(wavelength), a sample
KM_S_PER_SAMPLE = STEP * np.log(10.0) * LIGHT / 1e5
FWHM_PER_SIGMA = 2.0 * np.sqrt(2.0 * np.log(2.0))
OPACITY_NODES = np.linspace(1.5, 1.71, 16)  # micron: the continuous opacity is smooth, and interpolated between
CROSS_SECTION = 0.0265400  # pi e^2 / (m c) in cm^2 Hz
WEAKEST = 2e-4  # lines whose centre has less of the continuum's opacity are left out
WING = 1e-3  # and wings are followed down to this share


@njit(cache=True, fastmath=True)
def voigt(damping: float, distance: float) -> float:
    """Return the Voigt function H(a, v) after Humlicek (1982, JQSRT 27, 437), to about 1 part in 10^4."""
    x = abs(distance)
    s = x + damping
    t = complex(damping, -distance)
    if s >= 15.0:
        return (t * 0.5641896 / (0.5 + t * t)).real
    u = t * t
    if s >= 5.5:
        return (t * (1.410474 + u * 0.5641896) / (0.75 + u * (3.0 + u))).real
    if damping >= 0.195 * x - 0.176:
        top = 16.4955 + t * (20.20933 + t * (11.96482 + t * (3.778987 + t * 0.5642236)))
        bottom = 16.4955 + t * (38.82363 + t * (39.27121 + t * (21.69274 + t * (6.699398 + t))))
        return (top / bottom).real
    top = 36183.31 - u * (3321.9905 - u * (1540.787 - u * (219.0313 - u * (35.76683 - u * (1.320522 - u * 0.56419)))))
    bottom = 32066.6 - u * (
        24322.84 - u * (9022.228 - u * (2186.181 - u * (364.2191 - u * (61.57037 - u * (1.841439 - u)))))
    )
    return (np.exp(u) - t * top / bottom).real


@njit(cache=True, fastmath=True)
def _add_lines(ratio, position, species, excitation_kt, strength, absorbers, doppler, damping):
    """Add each line's opacity, as a share of the continuum's, to the fine grid `ratio` (in place)."""
    samples = ratio.size
    for i in range(position.size):
        kind = species[i]
        width = doppler[kind]  # in samples
        a = damping[i] / width
        centre = strength[i] * absorbers[kind] * np.exp(-excitation_kt[i]) / width
        if centre < WEAKEST:
            continue
        core = np.sqrt(np.log(max(centre / WING, 2.0)))
        reach = core * width
        broad = a > 1e-3 and centre * a > 0.1 * WING
        if broad:
            reach = max(reach, width * np.sqrt(centre * a / (1.7724539 * WING)))
            reach = min(reach, 3000.0)
        first = max(0, int(np.ceil(position[i] - reach)))
        last = min(samples - 1, int(np.floor(position[i] + reach)))
        if broad:
            for k in range(first, last + 1):
                ratio[k] += centre * voigt(a, (k - position[i]) / width)
        else:
            for k in range(first, last + 1):
                v = (k - position[i]) / width
                ratio[k] += centre * np.exp(-v * v)


@njit(cache=True, fastmath=True)
def _add_hydrogen(ratio, position, strength, width):
    """Add Brackett lines: 1 / (1 + |x / w|^(5/2)), the quasi-static Stark wing, once a pixel and then interpolated."""
    nodes = ratio.size // OVERSAMPLING
    coarse = np.zeros(nodes + 1)
    for i in range(position.size):
        if strength[i] / width[i] < 0.1 * WEAKEST:
            continue
        # the integral of the profile over x is 2.6427 w
        centre = strength[i] / (2.6427 * width[i])
        for k in range(nodes + 1):
            x = abs(k * OVERSAMPLING - position[i]) / width[i]
            coarse[k] += centre / (1.0 + x * x * np.sqrt(x))
    for k in range(ratio.size):
        node = k // OVERSAMPLING
        part = (k - node * OVERSAMPLING) / OVERSAMPLING
        ratio[k] += (1.0 - part) * coarse[node] + part * coarse[node + 1]


@njit(cache=True, fastmath=True)
def _observe(flux, sigma, out):
    """Gaussian of `sigma` samples, taken at the pixel centres only."""
    half = int(np.ceil(4.0 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-half, half + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    last = flux.size - 1
    for pixel in range(out.size):
        centre = (pixel + MARGIN) * OVERSAMPLING
        total = 0.0
        for k in range(-half, half + 1):
            total += kernel[k + half] * flux[min(max(centre + k, 0), last)]
        out[pixel] = total


def _samples(wavelength: np.ndarray) -> np.ndarray:
    """Return the position on the fine grid of a vacuum wavelength in Angstrom."""
    return (np.log10(wavelength) - LOG10_WAVELENGTH_START) / STEP + MARGIN * OVERSAMPLING


@cache
def _line_arrays() -> tuple[tuple[str, ...], np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return what the kernel needs of the lines and does not depend on the star."""
    lines = all_lines()
    names, species = np.unique(lines.species, return_inverse=True)
    mass = np.array([MASSES_AMU[name.split()[0]] for name in names])
    atom = np.char.find(lines.species, " ") > 0
    return tuple(names), mass, species.astype(np.int32), _samples(lines.wavelength), 10**lines.log_gf, atom


def _sample_width(wavelength: np.ndarray) -> np.ndarray:
    """Return the width of a sample of the fine grid in Hz."""
    return LIGHT * 1e8 / wavelength * STEP * np.log(10.0)


def _relative_strength(lines: Lines, gf: np.ndarray, temperature: float, opacity: np.ndarray) -> np.ndarray:
    """Return opacity integrated over samples of the fine grid, per absorber, as a share of the continuum's."""
    stimulated = -np.expm1(-HC_OVER_K_MICRON / (lines.wavelength / 1e4 * temperature))
    continuum = np.interp(lines.wavelength, OPACITY_NODES * 1e4, opacity)
    return CROSS_SECTION * gf * stimulated / _sample_width(lines.wavelength) / continuum


def _one_star(state: Atmosphere, star: int, v_micro: float, v_broad: float, out: np.ndarray) -> None:
    """Write the spectrum of one star into `out`."""
    temperature, electron_density = state.temperature[star], state.electron_density[star]
    neutral_density = state.neutral_hydrogen[star] * state.hydrogen_density[star]
    electrons = electron_density / state.hydrogen_density[star]
    opacity = continuum_cross_section(
        OPACITY_NODES, temperature, state.electron_pressure[star], state.neutral_hydrogen[star], electrons
    )

    lines, (names, mass, species, position, gf, atom) = all_lines(), _line_arrays()
    absorbers = np.array([state.absorbers[name][star] for name in names])
    thermal = np.sqrt(2 * BOLTZMANN * temperature / (mass * ATOMIC_MASS)) / 1e5
    doppler = np.hypot(thermal, v_micro) / KM_S_PER_SAMPLE
    # radiative, van der Waals and quadratic Stark damping, typical of infrared lines between excited levels
    waals = 10**-7.3 * neutral_density * (temperature / 1e4) ** 0.3
    gamma = 1e8 + waals + 1e-5 * electron_density
    damping = np.where(atom, gamma / (4 * np.pi) / _sample_width(lines.wavelength), 0.0)
    strength = _relative_strength(lines, gf, temperature, opacity) / np.sqrt(np.pi)
    ratio = np.zeros((N_PIXELS_APSTAR + 2 * MARGIN) * OVERSAMPLING)
    excitation = lines.excitation / (BOLTZMANN_EV * temperature)
    _add_lines(ratio, position, species, excitation, strength, absorbers, doppler, damping)

    hydrogen = brackett_lines()
    excitation = hydrogen.excitation / (BOLTZMANN_EV * temperature)
    strength = _relative_strength(hydrogen, 10**hydrogen.log_gf, temperature, opacity)
    strength = strength * state.absorbers["H 1"][star] * np.exp(-excitation)
    _add_hydrogen(
        ratio, _samples(hydrogen.wavelength), strength, _hydrogen_width(hydrogen, temperature, electron_density)
    )

    flux = 1.0 - state.depth_limit[star] * ratio / (1.0 + ratio)
    instrument = LIGHT / 1e5 / RESOLVING_POWER / FWHM_PER_SIGMA
    _observe(flux, np.hypot(instrument, v_broad) / KM_S_PER_SAMPLE, out)


def _hydrogen_width(lines: Lines, temperature: float, electron_density: float) -> np.ndarray:
    """Return half widths in samples: the mean linear Stark shift in Holtsmark's field, with the thermal width."""
    upper = np.array(BRACKETT_UPPER_LEVELS)
    field = 1.25e-9 * electron_density ** (2 / 3) * 299.79  # V / cm
    shift = 6.402e-5 * 0.5 * upper * (upper - 1) * field  # cm^-1
    stark = shift * lines.wavelength / 1e8 / (STEP * np.log(10.0))
    thermal = np.sqrt(2 * BOLTZMANN * temperature / (MASSES_AMU["H"] * ATOMIC_MASS)) / 1e5 / KM_S_PER_SAMPLE
    return np.hypot(stark, thermal)


def synthetic_flux(
    teff: float | np.ndarray,
    logg: float | np.ndarray,
    x_h: Mapping[str, float | np.ndarray],
    v_micro: float | np.ndarray,
    v_broad: float | np.ndarray,
) -> np.ndarray:
    """Compute spectra at R = 22,500 in the stars' rest frame, continuum = 1.

    Parameters
    ----------
    teff, logg : (n,) K, dex
    x_h : [X/H] in dex by element (C N O Na Mg Al Si P S K Ca Ti V Cr Mn Fe Co Ni), each (n,) or a number. Elements not
        named follow Fe; Ti also makes the Ti II lines, C the C I lines.
    v_micro : (n,) or number, microturbulence [km/s]
    v_broad : (n,) or number, standard deviation of a Gaussian for macroturbulence and rotation [km/s]

    Returns
    -------
    (n, 8575) float32

    Raises
    ------
    ValueError
        If a label is not finite.
    """
    state = model_atmosphere(teff, logg, x_h)
    n = len(state.temperature)
    v_micro, v_broad = (np.broadcast_to(np.asarray(v, dtype=float), n) for v in (v_micro, v_broad))
    if not all(np.isfinite(v).all() for v in (state.gas_pressure, *state.absorbers.values(), v_micro, v_broad)):
        raise ValueError(
            "labels must be finite: a star with unknown Teff, log g, abundance or velocity has no spectrum"
        )
    flux = np.empty((n, N_PIXELS_APSTAR), dtype=np.float32)
    for star in range(n):
        _one_star(state, star, v_micro[star], v_broad[star], flux[star])
    return flux


def interstellar_band(a_k_mag: float | np.ndarray, v_star_minus_v_dust: float | np.ndarray) -> np.ndarray:
    """Return the transmission of the diffuse interstellar band at 15272.4 A in the star's rest frame.

    Parameters
    ----------
    a_k_mag : (n,) extinction in Ks; the equivalent width is 0.102 A per magnitude of A_V = A_K / 0.114
        (Zasowski et al. 2015). Negative and unknown extinction gives no band.
    v_star_minus_v_dust : (n,) velocity of the star relative to the dust [km/s]

    Returns
    -------
    (n, 8575) float32, to multiply a spectrum with
    """
    a_k_mag, velocity = np.broadcast_arrays(*np.atleast_1d(a_k_mag, v_star_minus_v_dust))
    width = 0.102 * np.maximum(np.nan_to_num(a_k_mag.astype(float)), 0.0) / 0.114
    wavelength = wavelength_solution()
    centre, sigma = 15272.4 * (1 - velocity / (LIGHT / 1e5)), 1.4  # Angstrom
    depth = width[:, None] / (sigma * np.sqrt(2 * np.pi))
    return np.exp(-depth * np.exp(-0.5 * ((wavelength - centre[:, None]) / sigma) ** 2)).astype(np.float32)
