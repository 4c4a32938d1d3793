"""A one-layer atmosphere in local thermodynamic equilibrium, from which the lines of a star of given labels follow.

The layer has one temperature, a fixed fraction of the effective temperature, and lies at one continuum optical depth in
the H band. Hydrostatic equilibrium, Saha ionisation and the opacity of H- and hydrogen then fix its pressure; the
equilibrium of H2, CO, CN, OH and N2 fixes the molecules. Units are cgs, energies in eV.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

__all__ = [
    "ELEMENTS",
    "MASSES_AMU",
    "Atmosphere",
    "continuum_cross_section",
    "ionised_fraction",
    "model_atmosphere",
    "partition_function",
    "planck",
]

BOLTZMANN = 1.380649e-16  # erg / K
BOLTZMANN_EV = 8.617333e-5  # eV / K
PLANCK = 6.62607015e-27  # erg s
LIGHT = 2.99792458e10  # cm / s
ELECTRON_MASS = 9.1093837e-28  # g
ATOMIC_MASS = 1.66053907e-24  # g
HC_OVER_K_MICRON = 14387.77  # micron K
WAVENUMBER_EV = 1.23984198e-4  # eV per cm^-1

# Fractions of Teff: the temperature of the line-forming layer, of the boundary that the cores of strong lines reach,
# and of the continuum-forming layer. An Eddington atmosphere has 0.84 at its boundary and 1.0 at optical depth 2/3;
# line blanketing cools the boundary, and the opacity minimum near 1.6 micron lets the continuum come from deeper.
LAYER_TEMPERATURE = 0.94
BOUNDARY_TEMPERATURE = 0.75
CONTINUUM_TEMPERATURE = 1.04
LAYER_OPTICAL_DEPTH = 0.3
REFERENCE_WAVELENGTH_MICRON = 1.6
HELIUM = 0.085  # atoms per hydrogen nucleus

# element: (mass in u, solar A(X) of Asplund et al. 2009, first ionisation energy in eV,
#           partition functions of the atom and of the ion at 4032, 5040 and 8000 K, rounded from Gray 2005, Appendix D)
_ATOMS = {
    "H": (1.008, 12.00, 13.598, (2.0, 2.0, 2.0), (1.0, 1.0, 1.0)),
    "C": (12.011, 8.43, 11.260, (9.2, 9.3, 9.9), (5.9, 5.95, 6.0)),
    "N": (14.007, 7.83, 14.534, (4.0, 4.1, 4.6), (8.8, 8.95, 9.1)),
    "O": (15.999, 8.69, 13.618, (8.6, 8.7, 9.2), (4.0, 4.0, 4.0)),
    "Na": (22.990, 6.24, 5.139, (2.0, 2.05, 3.2), (1.0, 1.0, 1.0)),
    "Mg": (24.305, 7.60, 7.646, (1.0, 1.03, 1.5), (2.0, 2.0, 2.0)),
    "Al": (26.982, 6.45, 5.986, (5.8, 5.9, 6.4), (1.0, 1.0, 1.01)),
    "Si": (28.085, 7.51, 8.152, (9.2, 9.6, 11.0), (5.7, 5.8, 5.85)),
    "P": (30.974, 5.41, 10.487, (4.2, 4.5, 6.0), (7.9, 8.1, 8.6)),
    "S": (32.06, 7.12, 10.360, (8.0, 8.2, 8.8), (4.0, 4.1, 4.4)),
    "K": (39.098, 5.03, 4.341, (2.0, 2.2, 4.0), (1.0, 1.0, 1.0)),
    "Ca": (40.078, 6.34, 6.113, (1.05, 1.3, 3.2), (2.1, 2.2, 2.9)),
    "Ti": (47.867, 4.95, 6.828, (23.0, 30.0, 61.0), (50.0, 56.0, 70.0)),
    "V": (50.942, 3.93, 6.746, (38.0, 47.0, 85.0), (37.0, 43.0, 62.0)),
    "Cr": (51.996, 5.64, 6.767, (8.3, 10.4, 22.0), (6.3, 7.2, 11.5)),
    "Mn": (54.938, 5.43, 7.434, (6.1, 6.5, 10.0), (7.1, 7.7, 9.5)),
    "Fe": (55.845, 7.50, 7.902, (22.5, 26.5, 42.0), (38.0, 43.0, 54.0)),
    "Co": (58.933, 4.99, 7.881, (28.0, 33.0, 47.0), (26.0, 30.0, 39.0)),
    "Ni": (58.693, 6.22, 7.640, (27.0, 30.0, 36.0), (9.3, 10.8, 14.0)),
}
ELEMENTS = tuple(_ATOMS)
MASSES_AMU = {element: values[0] for element, values in _ATOMS.items()}
MASSES_AMU |= {"CO": 28.010, "CN": 26.018, "OH": 17.007}

# molecule: (atoms, dissociation energy in eV, rotational constant and vibration in cm^-1, electronic weight, symmetry)
_MOLECULES = {
    "H2": (("H", "H"), 4.478, 59.3, 4161.0, 1.0, 2.0),
    "CO": (("C", "O"), 11.09, 1.922, 2143.0, 1.0, 1.0),
    "CN": (("C", "N"), 7.72, 1.891, 2042.0, 2.0, 1.0),
    "OH": (("O", "H"), 4.392, 18.5, 3570.0, 4.0, 1.0),
    "N2": (("N", "N"), 9.759, 1.990, 2330.0, 1.0, 2.0),
}


@dataclass(frozen=True)
class Atmosphere:
    """The line-forming layer of n stars.

    Attributes
    ----------
    temperature, gas_pressure, electron_pressure : (n,) K, dyn cm^-2
    hydrogen_density : (n,) hydrogen nuclei per cm^3; neutral_hydrogen : (n,) atoms per nucleus
    absorbers : dict of (n,) arrays
        Particles per hydrogen nucleus divided by their partition function, by species ("Fe 1", "Ti 2", "CO", ...).
    depth_limit : (n,) depth of a fully saturated line below the continuum at 1.6 micron
    """

    temperature: np.ndarray
    gas_pressure: np.ndarray
    electron_pressure: np.ndarray
    hydrogen_density: np.ndarray
    neutral_hydrogen: np.ndarray
    absorbers: dict[str, np.ndarray]
    depth_limit: np.ndarray

    @property
    def electron_density(self) -> np.ndarray:
        """Electrons per cm^3."""
        return self.electron_pressure / (BOLTZMANN * self.temperature)


def planck(wavelength_micron: float | np.ndarray, temperature: float | np.ndarray) -> np.ndarray:
    """Return Planck's function B_lambda up to the factor 2hc^2 [micron^-5]."""
    return wavelength_micron**-5.0 / np.expm1(HC_OVER_K_MICRON / (wavelength_micron * temperature))


def partition_function(element: str, ion: int, temperature: float | np.ndarray) -> np.ndarray:
    """Return the partition function of an atom (`ion` 1) or its ion (2), held constant outside 4032-8000 K."""
    values = np.log(_ATOMS[element][2 + ion])
    return np.exp(np.interp(np.log(temperature), np.log([4032.0, 5040.0, 8000.0]), values))


def _thermal_density(temperature: float | np.ndarray, mass: float) -> float | np.ndarray:
    """Return (2 pi m k T / h^2)^(3/2) in cm^-3."""
    return (2 * np.pi * mass * BOLTZMANN * temperature / PLANCK**2) ** 1.5


def ionised_fraction(
    element: str, temperature: float | np.ndarray, electron_pressure: float | np.ndarray
) -> np.ndarray:
    """Return the singly ionised fraction of an element by Saha's equation (higher ions are neglected)."""
    phi = (
        2.0
        * partition_function(element, 2, temperature)
        / partition_function(element, 1, temperature)
        * _thermal_density(temperature, ELECTRON_MASS)
        * BOLTZMANN
        * temperature
        * np.exp(-_ATOMS[element][2] / (BOLTZMANN_EV * temperature))
    )
    return phi / (phi + electron_pressure)


def molecular_partition(molecule: str, temperature: float | np.ndarray) -> np.ndarray:
    """Return the partition function of a rigid rotor and harmonic oscillator, counted from the lowest level."""
    _, _, rotation, vibration, weight, symmetry = _MOLECULES[molecule]
    kt = BOLTZMANN_EV * temperature / WAVENUMBER_EV
    return weight * kt / (symmetry * rotation) / -np.expm1(-vibration / kt)


def dissociation_constant(molecule: str, temperature: float | np.ndarray) -> np.ndarray:
    """Return p_A p_B / p_AB in dyn cm^-2."""
    (a, b), energy, *_ = _MOLECULES[molecule]
    mass = MASSES_AMU[a] * MASSES_AMU[b] / (MASSES_AMU[a] + MASSES_AMU[b]) * ATOMIC_MASS
    atoms = partition_function(a, 1, temperature) * partition_function(b, 1, temperature)
    return (
        BOLTZMANN
        * temperature
        * _thermal_density(temperature, mass)
        * atoms
        / molecular_partition(molecule, temperature)
        * np.exp(-energy / (BOLTZMANN_EV * temperature))
    )


def continuum_cross_section(
    wavelength_micron: float | np.ndarray,
    temperature: float | np.ndarray,
    electron_pressure: float | np.ndarray,
    neutral_hydrogen: float | np.ndarray,
    electrons: float | np.ndarray = 0.0,
) -> np.ndarray:
    """Return the continuous opacity in cm^2 per hydrogen nucleus, stimulated emission included.

    H- bound-free and free-free after John (1988, A&A 193, 189), hydrogen after Gray (2005, Eqs. 8.8 and 8.10) without
    Gaunt factors, and electron scattering. `neutral_hydrogen` (atoms) and `electrons` are per hydrogen nucleus; all
    arguments broadcast.
    """
    wave, t = np.asarray(wavelength_micron, dtype=float), np.asarray(temperature, dtype=float)
    theta = 5040.0 / t
    stimulated = -np.expm1(-HC_OVER_K_MICRON / (wave * t))
    edge = np.maximum(1.0 / wave - 1.0 / 1.6419, 0.0)
    series = np.polynomial.polynomial.polyval(np.sqrt(edge), [152.519, 49.534, -118.858, 92.536, -34.194, 4.982])
    bound_free = 1e-18 * wave**3 * edge**1.5 * series
    bound_free = 0.750 * t**-2.5 * np.exp(HC_OVER_K_MICRON / (1.6419 * t)) * stimulated * bound_free
    free_free = 1e-29 * sum(theta ** ((n + 1) / 2) * _john(n, wave) for n in range(2, 7))

    ionisation, log_e = 13.598, np.log10(np.e)
    levels = sum(10 ** (-theta * ionisation * (1 - n**-2.0)) / n**3 for n in range(5, 8))
    rest = log_e / (2 * theta * ionisation) * 10 ** (-theta * ionisation * (1 - 1 / 64))  # n >= 8 and free-free
    hydrogen = 1.0449e-26 * (wave * 1e4) ** 3 * stimulated * (levels + rest)
    return neutral_hydrogen * ((bound_free + free_free) * electron_pressure + hydrogen) + 6.65e-25 * electrons


_JOHN_FREE_FREE = {
    2: (2483.346, 285.827, -2054.291, 2827.776, -1341.537, 208.952),
    3: (-3449.889, -1158.382, 8746.523, -11485.632, 5303.609, -812.939),
    4: (2200.040, 2427.719, -13651.105, 16755.524, -7510.494, 1132.738),
    5: (-696.271, -1841.400, 8624.970, -10051.530, 4400.067, -655.020),
    6: (88.283, 444.517, -1863.864, 2095.288, -901.788, 132.985),
}


def _john(n: int, wave: np.ndarray) -> np.ndarray:
    a, b, c, d, e, f = _JOHN_FREE_FREE[n]
    return wave**2 * a + b + c / wave + d / wave**2 + e / wave**3 + f / wave**4


def _hydrogen(
    temperature: np.ndarray, electron_pressure: np.ndarray, abundance: dict[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Return pressure of hydrogen nuclei, neutral atoms per nucleus, gas pressure and ionised fractions.

    The charge balance gives the nuclei, p_H = p_e / sum_i A_i x_i, since the ionised fractions x_i depend on the
    electron pressure p_e alone; hydrogen bound in H2 gives no electrons, so its share is found in a few fixed-point
    steps.
    """
    fraction = {e: ionised_fraction(e, temperature, electron_pressure) for e in ELEMENTS}
    metals = sum(abundance[e] * fraction[e] for e in ELEMENTS if e != "H")
    constant = dissociation_constant("H2", temperature)
    atomic = np.ones_like(temperature)  # hydrogen nuclei outside H2
    for _ in range(25):
        nuclei = electron_pressure / (metals + atomic * fraction["H"])
        neutral = nuclei * (1 - fraction["H"])
        # atoms p + 2 p^2 / K = total, for the neutral part
        share = 2.0 / (1.0 + np.sqrt(1.0 + 8.0 * neutral / constant))
        atomic = np.sqrt(atomic * share)
    free = atomic * (1 - fraction["H"])
    gas = nuclei * (free + (1 - atomic) / 2 + atomic * fraction["H"] + HELIUM) + electron_pressure
    return nuclei, free, gas, fraction


def model_atmosphere(
    teff: float | np.ndarray, logg: float | np.ndarray, x_h: Mapping[str, float | np.ndarray]
) -> Atmosphere:
    """Solve the line-forming layer of n stars.

    Parameters
    ----------
    teff, logg : (n,) K, dex
    x_h : [X/H] in dex by element, each (n,) or a number; elements not named follow Fe.
    """
    teff = np.atleast_1d(np.asarray(teff, dtype=float))
    logg = np.broadcast_to(np.asarray(logg, dtype=float), teff.shape)
    abundance = {"H": np.ones_like(teff)}
    for element in ELEMENTS[1:]:
        bracket = np.asarray(x_h.get(element, x_h.get("Fe", 0.0)), dtype=float)
        abundance[element] = np.broadcast_to(10 ** (_ATOMS[element][1] - 12.0 + bracket), teff.shape)
    temperature = LAYER_TEMPERATURE * teff
    mean_mass = ATOMIC_MASS * (1.008 + 4.0026 * HELIUM)  # per hydrogen nucleus

    def excess(log_pe: np.ndarray) -> np.ndarray:
        """Return by how much log(g) of this electron pressure exceeds the star's."""
        nuclei, free, gas, _ = _hydrogen(temperature, np.exp(log_pe), abundance)
        pressure = np.exp(log_pe)
        opacity = continuum_cross_section(REFERENCE_WAVELENGTH_MICRON, temperature, pressure, free, pressure / nuclei)
        return np.log(gas * opacity / mean_mass / LAYER_OPTICAL_DEPTH) - logg * np.log(10.0)

    low, high = np.full_like(teff, np.log(1e-6)), np.full_like(teff, np.log(1e6))
    for _ in range(45):  # bisection: gas pressure times opacity grows with the electron pressure
        middle = 0.5 * (low + high)
        above = excess(middle) > 0
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    electron_pressure = np.exp(0.5 * (low + high))
    nuclei, free, gas, fraction = _hydrogen(temperature, electron_pressure, abundance)

    absorbers = {"H 1": free / partition_function("H", 1, temperature)}
    atoms = _molecular_equilibrium(temperature, nuclei, free, abundance, fraction, absorbers)
    for element in ELEMENTS[1:]:
        neutral = atoms.get(element, abundance[element] * (1 - fraction[element]))
        absorbers[f"{element} 1"] = neutral / partition_function(element, 1, temperature)
        absorbers[f"{element} 2"] = abundance[element] * fraction[element] / partition_function(element, 2, temperature)
    boundary = planck(REFERENCE_WAVELENGTH_MICRON, BOUNDARY_TEMPERATURE * teff)
    depth_limit = 1.0 - boundary / planck(REFERENCE_WAVELENGTH_MICRON, CONTINUUM_TEMPERATURE * teff)
    density = nuclei / (BOLTZMANN * temperature)
    return Atmosphere(temperature, gas, electron_pressure, density, free, absorbers, depth_limit)


def _molecular_equilibrium(
    temperature: np.ndarray,
    nuclei: np.ndarray,
    free: np.ndarray,
    abundance: dict[str, np.ndarray],
    fraction: dict[str, np.ndarray],
    absorbers: dict[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """Return free C, N and O per hydrogen nucleus; the molecules are added to `absorbers`.

    CO is solved exactly given free nitrogen, N2 given free carbon; the two are repeated until they agree.
    """
    carbon, nitrogen, oxygen = (nuclei * abundance[e] * (1 - fraction[e]) for e in ("C", "N", "O"))
    k_co, k_cn, k_oh, k_n2 = (dissociation_constant(m, temperature) for m in ("CO", "CN", "OH", "N2"))
    with_hydrogen = 1.0 + nuclei * free / k_oh
    p_n, p_c = nitrogen.copy(), carbon.copy()
    for _ in range(30):
        with_nitrogen = 1.0 + p_n / k_cn
        # (C - x)(O - x) = x K' with x the carbon monoxide; the stable form of the smaller root
        total = carbon + oxygen + k_co * with_nitrogen * with_hydrogen
        monoxide = 2.0 * carbon * oxygen / (total + np.sqrt(total**2 - 4.0 * carbon * oxygen))
        p_c = (carbon - monoxide) / with_nitrogen
        linear = 1.0 + p_c / k_cn
        p_n = 2.0 * nitrogen / (linear + np.sqrt(linear**2 + 8.0 * nitrogen / k_n2))
    p_c = np.maximum(p_c, 1e-12 * carbon)
    p_o = np.maximum(oxygen - monoxide, 1e-12 * oxygen) / with_hydrogen
    pressures = {"CO": monoxide, "CN": p_c * p_n / k_cn, "OH": p_o * nuclei * free / k_oh}
    for molecule, pressure in pressures.items():
        absorbers[molecule] = pressure / nuclei / molecular_partition(molecule, temperature)
    return {"C": p_c / nuclei, "N": p_n / nuclei, "O": p_o / nuclei}
