"""Spectral synthesis against closed forms, conservation laws, and a real giant."""

import numpy as np
import pytest
from scipy.interpolate import CubicSpline
from scipy.special import wofz

from apogaia.formats.apstar import read_apstar
from apogaia.formats.pixel_grid import element_window, gap_delete, wavelength_solution
from apogaia.reduction.continuum import apogee_continuum
from apogaia.simulate import atmosphere, lines, synthesis
from apogaia.simulate.atmosphere import ELEMENTS, continuum_cross_section, ionised_fraction, model_atmosphere, planck
from apogaia.simulate.lines import Lines, all_lines, brackett_lines, carbon_monoxide_lines, element_lines
from apogaia.simulate.synthesis import RESOLVING_POWER, interstellar_band, synthetic_flux, voigt
from apogaia.survey import load_survey

GIANT = {"teff": 4705.0, "logg": 2.58}  # 2M00004994+1621552
GIANT_X_H = {"Fe": 0.05, "C": -0.08, "N": 0.25, "O": 0.02}
LABELS = [
    "C",
    "CI",
    "N",
    "O",
    "Na",
    "Mg",
    "Al",
    "Si",
    "P",
    "S",
    "K",
    "Ca",
    "Ti",
    "TiII",
    "V",
    "Cr",
    "Mn",
    "Fe",
    "Co",
    "Ni",
]


def flux_of(teff=4705.0, logg=2.58, v_micro=1.5, v_broad=2.5, **x_h):
    return synthetic_flux(teff, logg, x_h or {"Fe": 0.0}, v_micro, v_broad)


@pytest.fixture
def line_depth(monkeypatch):
    """Depth (8575,) of one line below the spectrum of hydrogen alone."""

    def depth(species, wavelength, excitation, log_gf, **labels):
        spectra = []
        for strength in (-30.0, log_gf):
            columns = (np.array([value]) for value in (species, wavelength, excitation, strength))
            chosen = Lines(*columns)
            monkeypatch.setattr(synthesis, "all_lines", lambda chosen=chosen: chosen)
            synthesis._line_arrays.cache_clear()
            spectra.append(flux_of(**labels)[0].astype(float))
        return spectra[0] - spectra[1]

    yield depth
    synthesis._line_arrays.cache_clear()


def equivalent_width(flux):
    """Of the 8575-pixel spectra, in Angstrom."""
    return area(1 - flux.astype(float))


def area(depth):
    return (depth * np.gradient(wavelength_solution())).sum(axis=-1)


# --- the atmosphere ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("element", ["H", "Fe", "Ca"])
@pytest.mark.parametrize("temperature", [4500.0, 7000.0, 10000.0])
def test_saha_equation_in_its_logarithmic_form(element, temperature):
    pressure = 30.0
    fraction = ionised_fraction(element, temperature, pressure)
    ratio = atmosphere.partition_function(element, 2, temperature) / atmosphere.partition_function(
        element, 1, temperature
    )
    energy = {"H": 13.598, "Fe": 7.902, "Ca": 6.113}[element]
    expected = (
        -0.1761 - np.log10(pressure) + np.log10(ratio) + 2.5 * np.log10(temperature) - 5039.8 / temperature * energy
    )
    assert np.log10(fraction / (1 - fraction)) == pytest.approx(expected, abs=0.004)


def test_hydrogen_is_half_ionised_near_ten_thousand_kelvin():
    temperature = np.linspace(6000, 16000, 2001)
    half = temperature[np.argmin(np.abs(ionised_fraction("H", temperature, 200.0) - 0.5))]
    assert 9300 < half < 10300  # Carroll & Ostlie, example 8.1.4: about 9600 K


def test_planck_function_has_its_two_limits():
    long, short = 1e5, 0.3
    assert planck(long, 5000.0) == pytest.approx(long**-4 * 5000 / 14387.77, rel=1e-4)
    assert planck(short, 5000.0) == pytest.approx(short**-5 * np.exp(-14387.77 / (short * 5000)), rel=1e-4)


def test_continuous_opacity_has_the_h_minus_minimum_and_scales_with_electrons():
    at = [continuum_cross_section(wave, 4500.0, 1.0, 1.0) for wave in (1.0, 1.64, 2.3)]
    assert at[1] < at[0] and at[1] < at[2]
    assert continuum_cross_section(1.7, 4500.0, 2.0, 1.0) == pytest.approx(
        2 * continuum_cross_section(1.7, 4500.0, 1.0, 1.0), rel=1e-3
    )


def test_hydrogen_dominates_the_opacity_of_hot_stars():
    cool, hot = (continuum_cross_section(1.6, t, np.array([0.0, 1.0]), 0.99) for t in (4500.0, 9000.0))
    assert cool[0] < 0.02 * cool[1] and hot[0] > 0.3 * hot[1]


def test_pressure_rises_with_gravity_and_the_layer_is_in_hydrostatic_equilibrium():
    logg = np.array([0.0, 1.5, 3.0, 4.5])
    state = model_atmosphere(np.full(4, 4700.0), logg, {"Fe": 0.0})
    assert (np.diff(state.gas_pressure) > 0).all() and (np.diff(state.electron_pressure) > 0).all()
    electrons = state.electron_density / state.hydrogen_density
    opacity = continuum_cross_section(
        1.6, state.temperature, state.electron_pressure, state.neutral_hydrogen, electrons
    )
    per_gram = opacity / (atmosphere.ATOMIC_MASS * (1.008 + 4.0026 * atmosphere.HELIUM))
    assert state.gas_pressure * per_gram == pytest.approx(10**logg * atmosphere.LAYER_OPTICAL_DEPTH, rel=1e-6)


@pytest.mark.parametrize("teff", [3300.0, 4000.0, 5000.0, 7000.0])
@pytest.mark.parametrize("carbon", [-0.5, 0.0, 0.6])
def test_molecules_conserve_carbon_nitrogen_and_oxygen(teff, carbon):
    state = model_atmosphere(teff, 2.0, {"Fe": 0.0, "C": carbon})
    t, n = state.temperature, state.absorbers
    held = {m: n[m] * atmosphere.molecular_partition(m, t) for m in ("CO", "CN", "OH")}
    free = {
        e: n[f"{e} 1"] * atmosphere.partition_function(e, 1, t) + n[f"{e} 2"] * atmosphere.partition_function(e, 2, t)
        for e in ("C", "O", "N")
    }
    assert free["C"] + held["CO"] + held["CN"] == pytest.approx(10 ** (8.43 - 12 + carbon), rel=1e-3)
    assert free["O"] + held["CO"] + held["OH"] == pytest.approx(10 ** (8.69 - 12), rel=1e-3)
    assert free["N"] + held["CN"] <= 10 ** (7.83 - 12) * 1.001  # the rest is N2


def test_carbon_monoxide_takes_all_of_the_scarcer_partner_in_cool_stars():
    oxygen_rich, carbon_rich = (model_atmosphere(3500.0, 1.0, {"Fe": 0.0, "C": c}).absorbers for c in (0.0, 0.6))
    assert oxygen_rich["C 1"] < 1e-4 * carbon_rich["C 1"]
    assert carbon_rich["OH"] < 1e-2 * oxygen_rich["OH"]


# --- lines ------------------------------------------------------------------------------------------------------------


def test_brackett_and_carbon_monoxide_wavelengths():
    brackett = brackett_lines().wavelength
    for known in (15264.7, 15346.0, 15443.1, 15560.7, 15884.9, 16113.7, 16411.7, 16811.1):
        assert np.abs(brackett - known).min() < 0.12
    heads = carbon_monoxide_lines().wavelength
    for head in (15581.6, 15779.5, 15981.9, 16188.9, 16400.8, 16617.7):  # band heads, Smith et al. (2013)
        near = np.sort(heads[np.abs(heads - head) < 3])
        assert np.abs(near - head).min() < 0.1 and len(near) > 6


def test_hydroxyl_lines_lie_where_they_are_observed():
    for air, log_gf in ((15278.525, -5.453), (15568.782, -5.337), (16052.766, -4.976), (16368.136, -4.858)):
        vacuum = air * 1.00027325
        hydroxyl = lines.hydroxyl_lines()
        i = np.argmin(np.abs(hydroxyl.wavelength - vacuum))
        assert abs(hydroxyl.wavelength[i] - vacuum) < 0.35 and abs(hydroxyl.log_gf[i] - log_gf) < 0.2


@pytest.mark.parametrize("label", [label for label in LABELS if label not in ("C", "N", "O")])
def test_every_element_has_atomic_lines_in_its_window(label):
    wavelength = gap_delete(wavelength_solution())[element_window(label)]
    found = element_lines(label).wavelength
    assert (np.abs(found[:, None] - wavelength).min(axis=1) < 0.15).any()


def test_lines_are_ordered_and_of_known_species():
    everything = all_lines()
    assert (np.diff(everything.wavelength) >= 0).all()
    assert {s.split()[0] for s in everything.species} <= {*ELEMENTS, "CO", "CN", "OH"}
    assert (np.char.find(everything.species, " ") > 0).sum() > 600


# --- profiles and broadening ------------------------------------------------------------------------------------------


def test_voigt_function_against_the_complex_error_function():
    a, v = np.meshgrid([1e-4, 1e-2, 0.3, 2.0], np.linspace(0, 30, 151))
    ours = np.array([voigt(*pair) for pair in zip(a.ravel(), v.ravel(), strict=True)]).reshape(a.shape)
    assert ours == pytest.approx(wofz(v + 1j * a).real, rel=2e-3, abs=1e-6)


def test_an_unresolved_line_has_the_width_of_the_instrument(line_depth):
    depth = line_depth("Fe 1", 16000.3, 5.0, -3.5, v_micro=0.3, v_broad=0.0)
    fine = np.arange(15998.3, 16002.3, 0.001)
    profile = np.exp(CubicSpline(wavelength_solution(), np.log(np.maximum(depth, 1e-9)))(fine))
    above = fine[profile > 0.5 * profile.max()]
    assert above.mean() == pytest.approx(16000.3, abs=0.01)
    assert np.ptp(above) == pytest.approx(16000.3 / RESOLVING_POWER, rel=0.03)


def test_broadening_widens_lines_and_keeps_their_equivalent_width():
    sharp, broad = flux_of(v_broad=0.0)[0], flux_of(v_broad=15.0)[0]
    assert broad.min() > sharp.min() + 0.1
    assert equivalent_width(broad) == pytest.approx(equivalent_width(sharp), rel=0.01)


def test_curve_of_growth_is_linear_then_flat_then_damped(line_depth):
    def slope(log_gf):
        widths = [area(line_depth("Fe 1", 16000.3, 5.0, g, logg=4.4)) for g in (log_gf, log_gf + 0.1)]
        return np.log10(widths[1] / widths[0]) / 0.1

    assert slope(-4.0) == pytest.approx(1, abs=0.03)
    assert min(slope(g) for g in (-0.5, 0.0, 0.5)) < 0.5
    assert slope(2.5) == pytest.approx(0.5, abs=0.1)  # the square root of damping wings


def test_boltzmann_factor_sets_the_ratio_of_two_weak_lines(line_depth):
    low, high = (area(line_depth("Fe 1", 16000.3, e, -4.0, teff=5000.0)) for e in (5.0, 5.3))
    kt = 8.617333e-5 * atmosphere.LAYER_TEMPERATURE * 5000.0
    assert np.log(low / high) == pytest.approx(0.3 / kt, rel=0.03)


def test_microturbulence_strengthens_saturated_lines_only(line_depth):
    def gain(log_gf):
        slow, fast = (area(line_depth("Fe 1", 16000.3, 5.0, log_gf, v_micro=v)) for v in (1.0, 3.0))
        return fast / slow

    assert gain(-4.6) == pytest.approx(1, abs=0.03)
    assert gain(-1.5) > 1.2


# --- whole spectra ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("teff", [3200.0, 4000.0, 5000.0, 6500.0, 9000.0])
@pytest.mark.parametrize("logg", [0.0, 2.5, 5.0])
def test_spectra_are_finite_everywhere(teff, logg):
    for metals in (-2.0, 0.5):
        flux = flux_of(teff, logg, Fe=metals)
        assert flux.shape == (1, 8575) and flux.dtype == np.float32
        assert np.isfinite(flux).all() and flux.min() > 0.1 and flux.max() <= 1 + 1e-6


def test_batches_equal_single_stars_and_repeat_exactly():
    teff, logg = np.array([3800.0, 4705.0, 6000.0]), np.array([1.0, 2.6, 4.2])
    x_h = {"Fe": np.array([0.2, -0.3, 0.0]), "O": np.array([0.3, -0.1, 0.1])}
    batch = synthetic_flux(teff, logg, x_h, np.array([2.0, 1.5, 1.1]), 3.0)
    assert np.array_equal(batch, synthetic_flux(teff, logg, x_h, np.array([2.0, 1.5, 1.1]), 3.0))
    single = synthetic_flux(3800.0, 1.0, {"Fe": 0.2, "O": 0.3}, 2.0, 3.0)
    assert single[0] == pytest.approx(batch[0], abs=1e-6)


@pytest.mark.parametrize("label", LABELS)
def test_lines_grow_with_abundance_in_the_elements_window(label):
    element = {"CI": "C", "TiII": "Ti"}.get(label, label)
    everything = dict.fromkeys(ELEMENTS[1:], 0.0)
    steps = np.array([-0.6, -0.3, 0.0, 0.15])
    flux = synthetic_flux(np.full(4, 4705.0), 2.58, everything | {element: steps}, 1.5, 2.5)
    window = gap_delete(flux)[:, element_window(label)]
    depth = (1 - window.astype(float)).sum(axis=1)
    assert (np.diff(depth) > 0).all()
    assert np.abs(window[2] - window[0]).max() > 0.005  # visible at a signal-to-noise ratio of 200


@pytest.mark.parametrize("element", ["Na", "Al", "P", "S", "K", "Ca", "V", "Cr", "Mn", "Co", "Ni"])
def test_an_element_changes_its_own_lines(element):
    everything = dict.fromkeys(ELEMENTS[1:], 0.0)
    low, high = (flux_of(**(everything | {element: x}))[0].astype(float) for x in (0.0, 0.3))
    own = element_lines(element).wavelength
    near = np.abs(wavelength_solution()[:, None] - own).min(axis=1) < 1.5
    assert np.abs(low - high)[near].max() > 3 * np.abs(low - high)[~near].max()


def test_molecules_weaken_with_temperature_and_hydrogen_strengthens():
    teff = np.array([3600.0, 4000.0, 4400.0, 4800.0, 5200.0, 5800.0])
    state = model_atmosphere(teff, 2.0, {"Fe": 0.0})
    assert (np.diff(state.absorbers["CO"]) < 0).all() and (np.diff(state.absorbers["OH"]) < 0).all()
    flux = synthetic_flux(teff, 2.0, {"Fe": 0.0}, 1.5, 3.0)
    head = np.abs(wavelength_solution() - 16190.5) < 1.5  # CO 6-3
    assert (np.diff(flux[:, head].mean(axis=1)) > 0).all()

    hot = synthetic_flux(np.array([5000.0, 5500.0, 6000.0, 6500.0, 7000.0, 7500.0]), 4.0, {"Fe": -2.0}, 1.5, 5.0)
    near = np.abs(wavelength_solution() - 16811.1) < 60
    assert (np.diff(hot[:, near].mean(axis=1)) < 0).all()


def test_hydrogen_wings_widen_with_gravity():
    logg = np.array([2.0, 3.0, 4.0, 5.0])
    flux = synthetic_flux(np.full(4, 8000.0), logg, {"Fe": -2.0}, 1.5, 5.0)
    offset = np.abs(wavelength_solution() - 16811.1)
    wing = (offset > 25) & (offset < 30)
    assert (np.diff(flux[:, wing].mean(axis=1)) < 0).all()


def test_ionised_lines_answer_to_gravity_more_than_neutral_ones(line_depth):
    def response(species, excitation, log_gf):
        low, high = (area(line_depth(species, 15900.0, excitation, log_gf, logg=g)) for g in (1.0, 3.0))
        return low / high

    assert response("Ti 2", 3.1, -3.5) > 2 * response("Ti 1", 1.9, -4.5)


def test_unknown_labels_are_refused():
    with pytest.raises(ValueError, match="finite"):
        flux_of(teff=np.nan)
    with pytest.raises(ValueError, match="finite"):
        flux_of(Fe=np.nan)


def test_interstellar_band_grows_with_extinction_and_moves_with_velocity():
    band = interstellar_band(np.array([0.0, 0.114, 0.228, np.nan, -1.0]), 0.0)
    assert equivalent_width(band) == pytest.approx([0, 0.102, 0.204, 0, 0], rel=0.03, abs=1e-6)
    moved = interstellar_band(0.3, np.array([-100.0, 100.0]))
    assert wavelength_solution()[moved.argmin(axis=1)] == pytest.approx(
        15272.4 * (1 + np.array([1, -1]) / 2997.9), abs=0.2
    )


def test_a_real_giant_looks_like_its_simulation(realdata):
    reference = np.load(realdata / "expected_normalised.npz")["2M00004994+1621552_dr14"].astype(float)
    star = read_apstar(realdata / "apStar-r5-2M00004994+1621552.fits")
    usable = (gap_delete(star.error) < 0.05 * gap_delete(star.flux)) & (reference != 1)
    flux = synthetic_flux(GIANT["teff"], GIANT["logg"], GIANT_X_H, 1.5, 2.5)
    settings = load_survey("dr14").spectra
    ours, _ = apogee_continuum(flux, np.full_like(flux, 0.005), np.zeros(flux.shape, dtype=int), settings=settings)
    assert usable.sum() > 7300
    assert np.corrcoef(ours[0][usable], reference[usable])[0, 1] > 0.85
    assert np.sqrt(np.mean((ours[0] - reference)[usable] ** 2)) < 0.04
