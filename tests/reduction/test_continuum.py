"""The pixel grid, normalisation against the reference's spectra and numpy, and every fault of apStar files."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial import Chebyshev
from tiny_survey import image, spectrum, write_apstar

from apogaia.formats import pixel_grid
from apogaia.formats.apstar import SpectrumError, Status, read_apstar
from apogaia.formats.pixel_grid import DETECTORS, N_PIXELS, N_PIXELS_APSTAR
from apogaia.reduction.continuum import apogee_continuum
from apogaia.survey import load_survey

DR14 = load_survey("dr14").spectra
REAL = (
    "apStar-r5-2M00004994+1621552.fits",
    "apStar-r6-2M03290406+3117075.fits",
    "apStar-r6-2M03434763+3209025.fits",
    "apStar-r6-2M11194647+0820356.fits",
)


def batch(n, seed=1):
    rng = np.random.default_rng(seed)
    return tuple(np.stack(arrays) for arrays in zip(*(spectrum(rng) for _ in range(n)), strict=True))


def reference(flux, error, mask, settings):
    """One star with numpy's polynomial fit, which squares its weights."""
    flux, error, mask = (pixel_grid.gap_delete(array) for array in (flux, error, mask))
    chosen, out = pixel_grid.continuum_pixels(settings.continuum_pixels), np.empty(N_PIXELS)
    for detector in pixel_grid.detector_slices().values():
        x, c = np.arange(N_PIXELS)[detector], chosen[detector]
        fit = Chebyshev.fit(x[c], flux[detector][c], settings.continuum_degree, w=error[detector][c] ** -2.0)
        out[detector] = flux[detector] / fit(x)
    out[out < 0] = 0
    out[~np.isfinite(out) | pixel_grid.bitmask_boolean(mask, settings.masked_bits)] = 1
    out[np.abs(out) > settings.max_abs_flux] = 1
    return out


# --- the grid ---------------------------------------------------------------------------------------------------------


def test_grid():
    wavelength = pixel_grid.wavelength_solution()
    assert wavelength.shape == (N_PIXELS_APSTAR,) == (8575,)
    assert wavelength[0] == pytest.approx(15100.80, abs=0.01)
    assert pixel_grid.gap_delete(wavelength).shape == (N_PIXELS,) == (7514,)
    for name, detector in pixel_grid.detector_slices().items():
        np.testing.assert_array_equal(pixel_grid.gap_delete(wavelength)[detector], wavelength[DETECTORS[name]])
    with pytest.raises(ValueError, match="8575"):
        pixel_grid.gap_delete(np.zeros(7514))


def test_pixel_sets_have_the_published_sizes():
    sizes = {name: pixel_grid.continuum_pixels(name).sum() for name in ("dr13", "dr14", "dr16", "dr17")}
    assert sizes == {"dr13": 529, "dr14": 529, "dr16": 532, "dr17": 532}
    assert (pixel_grid.continuum_pixels("dr14") & pixel_grid.continuum_pixels("dr17")).sum() == 249
    counts = {"C": 3806, "CI": 557, "N": 3776, "O": 505, "Na": 13, "Mg": 106, "S": 8, "TiII": 28, "Ni": 206}
    assert {element: pixel_grid.element_window(element).sum() for element in counts} == counts
    with pytest.raises(ValueError, match="dr99"):
        pixel_grid.continuum_pixels("dr99")
    with pytest.raises(ValueError, match="Xx"):
        pixel_grid.element_window("Xx")


@given(st.lists(st.integers(-(2**15), 2**15 - 1), min_size=1), st.sets(st.integers(0, 20)))
def test_bitmask_agrees_with_bit_arithmetic(values, bits):
    expected = [any((value >> bit) & 1 for bit in bits) for value in values]
    assert pixel_grid.bitmask_boolean(np.array(values, np.int16), tuple(bits)).tolist() == expected


# --- continuum normalisation ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("release", ["dr14", "dr17"])
def test_real_spectra_equal_the_references(realdata, release):
    expected = np.load(realdata / "expected_normalised.npz")
    stars = [read_apstar(realdata / name) for name in REAL]
    arrays = [np.stack([getattr(star, part) for star in stars]) for part in ("flux", "error", "mask")]
    flux, error = apogee_continuum(*arrays, spectra=replace(DR14, continuum_pixels=release))
    assert flux.shape == error.shape == (4, N_PIXELS) and flux.dtype == error.dtype == np.float32
    for star, normalised in zip(stars, flux, strict=True):
        np.testing.assert_allclose(normalised, expected[f"{star.header['apogee_id']}_{release}"], rtol=0, atol=1e-6)


@pytest.mark.parametrize(("degree", "limit"), [(0, np.inf), (2, np.inf), (2, 1.05), (4, np.inf)])
def test_batches_equal_numpy_star_by_star(degree, limit):
    chosen = replace(DR14, continuum_degree=degree, max_abs_flux=limit)
    arrays = batch(70)  # more than one block, and the last one not full
    flux, _ = apogee_continuum(*arrays, spectra=chosen)
    for i in range(70):
        star = [array[i] for array in arrays]
        np.testing.assert_allclose(flux[i], reference(*star, chosen), atol=3e-6)
        np.testing.assert_allclose(apogee_continuum(*star, spectra=chosen)[0], flux[i], rtol=5e-7)
    trimmed = [pixel_grid.gap_delete(array) for array in arrays]
    np.testing.assert_array_equal(apogee_continuum(*trimmed, spectra=chosen)[0], flux)


def test_ill_conditioned_weights_equal_numpy():
    flux, error, mask = batch(6)
    at = np.flatnonzero(pixel_grid.continuum_pixels("dr14"))[:300]
    columns = np.concatenate([np.arange(N_PIXELS_APSTAR)[detector] for detector in DETECTORS.values()])[at]
    error[:3, columns] = 1e4  # all but a few continuum pixels of blue and green bad
    error[:3, columns[::60]] = 2.0
    error[3, columns[5]] = 3e-4  # one pixel outweighs all others by a factor of 1e16
    normalised, _ = apogee_continuum(flux, error, mask, spectra=DR14)
    for i in range(6):
        np.testing.assert_allclose(normalised[i], reference(flux[i], error[i], mask[i], DR14), atol=1e-4)


@settings(max_examples=25, deadline=None)
@given(st.floats(1e-6, 1e6))
def test_normalisation_does_not_depend_on_the_unit_of_flux(factor):
    flux, error, mask = batch(2)
    expected, expected_error = apogee_continuum(flux, error, mask, spectra=DR14)
    scaled, scaled_error = apogee_continuum(flux * factor, error * factor, mask, spectra=DR14)
    np.testing.assert_allclose(scaled, expected, atol=2e-6)
    np.testing.assert_allclose(scaled_error, expected_error, rtol=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-0.3, 0.3), min_size=6, max_size=6), st.floats(1e-2, 1e5), st.integers(0, 2**32))
def test_a_polynomial_times_a_flat_spectrum_normalises_to_one(coefficients, level, seed):
    flux = np.zeros(N_PIXELS_APSTAR)
    for k, detector in enumerate(DETECTORS.values()):
        x = np.linspace(-1, 1, detector.stop - detector.start)
        flux[detector] = level * (1 + coefficients[2 * k] * x + coefficients[2 * k + 1] * x**2)
    error = 10 ** np.random.default_rng(seed).uniform(-2, 0, N_PIXELS_APSTAR) * level
    normalised, normalised_error = apogee_continuum(flux, error, np.zeros(8575, int), spectra=DR14)
    np.testing.assert_allclose(normalised, 1, atol=1e-4)
    np.testing.assert_allclose(normalised_error, pixel_grid.gap_delete(error / np.where(flux > 0, flux, 1)), rtol=1e-4)


def test_bad_pixels_become_the_continuum():
    flux, error, mask = (array[0] for array in batch(1))
    line = next(i for i in range(300, 3000) if not pixel_grid.continuum_pixels("dr14")[i - 246] and mask[i] == 0)
    good, _ = apogee_continuum(flux, error, mask, spectra=DR14)
    for value, expected in ((-50.0, 0), (np.nan, 1), (np.inf, 1), (0.0, 0)):
        changed = flux.copy()
        changed[line] = value
        normalised, _ = apogee_continuum(changed, error, mask, spectra=DR14)
        assert normalised[line - 246] == expected
        np.testing.assert_array_equal(np.delete(normalised, line - 246), np.delete(good, line - 246))
    for bit, masked in ((0, True), (7, True), (12, True), (8, False), (13, False)):
        changed = mask.copy()
        changed[line] = 1 << bit
        normalised, _ = apogee_continuum(flux, error, changed, spectra=DR14)
        assert (normalised[line - 246] == 1) == masked


def test_unusable_pixels_do_not_enter_the_continuum():
    flux, error, mask = batch(1)
    expected, _ = apogee_continuum(flux, np.where(np.arange(8575) % 7, error, 1e10), mask, spectra=DR14)
    for bad in (np.nan, np.inf, 0.0, -1.0):
        normalised, _ = apogee_continuum(flux, np.where(np.arange(8575) % 7, error, bad), mask, spectra=DR14)
        np.testing.assert_allclose(normalised, expected, atol=2e-6)


def test_without_a_positive_continuum_the_spectrum_is_nan_and_its_neighbours_are_not():
    flux, error, mask = batch(4)
    flux[0], flux[1, DETECTORS["green"]], error[2] = 0, -flux[1, DETECTORS["green"]], np.nan
    normalised, normalised_error = apogee_continuum(flux, error, mask, spectra=DR14)
    assert np.isnan(normalised[:3]).all() and np.isnan(normalised_error[:3]).all()
    np.testing.assert_allclose(normalised[3], reference(flux[3], error[3], mask[3], DR14), atol=3e-6)


def test_a_continuum_beyond_single_precision_is_none():
    """Three pixels that alone have weight lift it to infinity elsewhere, which would divide the flux to zero."""
    flux, error, mask = batch(2)
    pixels = np.flatnonzero(pixel_grid.continuum_pixels(DR14.continuum_pixels)[pixel_grid.detector_slices()["green"]])
    middle = DETECTORS["green"].start + pixels[len(pixels) // 2 + np.arange(3)]
    error[0], error[0, middle] = 1e8, 1e-3
    flux[0, middle] = np.array([3, 1e-3, 3]) * 1e37
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        normalised, _ = apogee_continuum(flux, error, mask, spectra=DR14)
    assert np.isnan(normalised[0]).all() and np.isfinite(normalised[1]).all()


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="8575"):
        apogee_continuum(np.zeros((2, 100)), np.zeros((2, 100)), np.zeros((2, 100), int), spectra=DR14)
    empty = np.zeros((0, 8575))
    assert apogee_continuum(empty, empty, empty.astype(int), spectra=DR14)[0].shape == (0, N_PIXELS)


# --- apStar files -----------------------------------------------------------------------------------------------------


def test_real_files(realdata):
    giant = read_apstar(realdata / REAL[0])
    assert giant.n_visits == 3
    assert giant.header["k_mag"] == 8.328 and giant.header["snr"] == 736.781 and giant.header["location_id"] == 4548
    assert giant.header["a_k_targ"] is None
    with fits.open(realdata / REAL[0]) as hdus:
        np.testing.assert_array_equal(giant.flux, hdus[1].data[1])
        np.testing.assert_array_equal(giant.mask, hdus[3].data[1])
    single = read_apstar(realdata / REAL[1])
    assert single.n_visits == 1 and single.flux.shape == (8575,) and single.flux.dtype == np.dtype("=f4")


@pytest.mark.parametrize("visits", [1, 3])
def test_the_globally_weighted_row_is_read(tmp_path, visits):
    flux, error, mask = (array[0] for array in batch(1))
    path = tmp_path / "apStar-r8-2M1.fits"
    write_apstar(path, "2M1", flux, error, mask, visits)
    star = read_apstar(path)
    np.testing.assert_array_equal(star.flux, flux.astype(np.float32))
    np.testing.assert_array_equal(star.error, error.astype(np.float32))
    np.testing.assert_array_equal(star.mask, mask)


def faulty(path, fault):
    """Write the file with a fault; the status that it must give."""
    flux, error, mask = (array[0] for array in batch(1))
    name = "2M1"
    if fault == "blank":
        flux = flux * 0
    elif fault == "nan flux":
        flux = flux * np.nan
    elif fault == "nan errors":
        error = error * np.nan
    elif fault == "zero error":
        error[1000] = 0
    elif fault == "dead detector":
        error[DETECTORS["green"]] = 1e10
    elif fault == "other star":
        name = "2M2"
    write_apstar(path, name, flux, error, mask)
    content = path.read_bytes()
    if fault == "empty":
        path.write_bytes(b"")
    elif fault == "html":
        path.write_bytes(b"<html>504 Gateway Time-out</html>" * 100)
    elif fault.startswith("cut"):
        path.write_bytes(content[: int(fault.split()[1])])
    elif fault == "other grid":
        with fits.open(path, mode="update") as hdus:
            hdus[1].header["CRVAL1"] = 4.0
    elif fault == "short":
        fits.HDUList([fits.PrimaryHDU(), *[image(np.ones(100, ">f4"))] * 3]).writeto(path, overwrite=True)
    elif fault == "table":
        fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns([])]).writeto(path, overwrite=True)
    elif fault == "no cards":
        fits.HDUList([fits.PrimaryHDU(), *map(image, (flux, error, mask))]).writeto(path, overwrite=True)
    elif fault == "folder":
        path.unlink()
        path.mkdir()


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ("blank", Status.BLANK),
        ("nan flux", Status.BLANK),
        ("nan errors", Status.BAD_ERRORS),
        ("zero error", Status.BAD_ERRORS),
        ("dead detector", Status.TOO_FEW_PIXELS),
        ("other star", Status.WRONG_STAR),
        ("other grid", Status.NOT_APSTAR),
        ("short", Status.NOT_APSTAR),
        ("table", Status.NOT_APSTAR),
        ("no cards", Status.NOT_APSTAR),
        ("empty", Status.UNREADABLE),
        ("html", Status.UNREADABLE),
        ("folder", Status.UNREADABLE),
        ("cut 1000", Status.UNREADABLE),
        ("cut 20000", Status.UNREADABLE),
        ("cut 60000", Status.UNREADABLE),
        ("cut 90000", Status.UNREADABLE),
    ],
)
def test_every_fault_has_its_status_and_names_the_file(tmp_path, fault, status):
    path = tmp_path / "apStar-r8-2M1.fits"
    faulty(path, fault)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(SpectrumError) as caught:
            read_apstar(path)
    assert caught.value.status == status
    assert str(caught.value).startswith(f"{path}: {status.reason}")
    assert "; " in str(caught.value)
    assert str(tmp_path) not in caught.value.detail


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, 120_000))
def test_a_file_cut_anywhere_is_read_right_or_refused(tmp_path_factory, cut):
    folder = tmp_path_factory.getbasetemp() / "cuts"
    path = folder / "apStar-r8-2M1.fits"
    if not path.is_file():
        write_apstar(path, "2M1", *(array[0] for array in batch(1)))
    whole = read_apstar(path)
    part = folder / "part" / path.name
    part.parent.mkdir(exist_ok=True)
    part.write_bytes(path.read_bytes()[:cut])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            star = read_apstar(part)
        except SpectrumError as fault:
            assert fault.status in (Status.UNREADABLE, Status.NOT_APSTAR)
        else:
            for name in ("flux", "error", "mask"):
                np.testing.assert_array_equal(getattr(star, name), getattr(whole, name))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1200), st.integers(0, 255)), min_size=1, max_size=6))
def test_a_corrupt_header_is_never_more_than_a_refused_spectrum(tmp_path_factory, changes):
    path = tmp_path_factory.getbasetemp() / "corrupt" / "apStar-r8-2M1.fits"
    original = path.with_suffix(".original")
    if not original.is_file():
        write_apstar(original, "2M1", *(array[0] for array in batch(1)))
    content = bytearray(original.read_bytes())
    headers = [i for i in range(0, len(content), 2880) if content[i : i + 8] in (b"SIMPLE  ", b"XTENSION")]
    for hdu, place, byte in changes:
        content[headers[hdu] + place] = byte
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            read_apstar(path)
        except SpectrumError as fault:
            assert fault.status in (Status.UNREADABLE, Status.NOT_APSTAR, Status.WRONG_STAR)


def test_a_missing_file(tmp_path):
    with pytest.raises(SpectrumError) as caught:
        read_apstar(tmp_path / "apStar-r8-2M1.fits")
    assert caught.value.status == Status.NO_FILE


def test_a_cut_behind_the_three_arrays_is_harmless_and_silent(tmp_path):
    path = tmp_path / "apStar-r8-2M1.fits"
    write_apstar(path, "2M1", *(array[0] for array in batch(1)))
    path.write_bytes(path.read_bytes()[:-100_000])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_apstar(path).n_visits == 1


def test_statuses_are_what_products_say_they_are():
    assert [(status.name, int(status)) for status in Status] == [
        ("OK", 0),
        ("NO_FILE", 1),
        ("UNREADABLE", 2),
        ("NOT_APSTAR", 3),
        ("WRONG_STAR", 4),
        ("BLANK", 5),
        ("BAD_ERRORS", 6),
        ("TOO_FEW_PIXELS", 7),
        ("NO_CONTINUUM", 8),
        ("CONSTANT", 9),
        ("BAD_CHECKSUM", 10),
    ]
    readme = (Path(__file__).parents[2] / "data" / "README.md").read_text(encoding="utf-8")
    listed = [line for line in readme.splitlines() if line[:3].strip("| ").isdigit()]
    assert listed == [f"| {status:d} | {status.name} | {status.reason} |" for status in Status]
    assert all(status.reason in str(SpectrumError(status, "star.fits")) for status in Status if status)
