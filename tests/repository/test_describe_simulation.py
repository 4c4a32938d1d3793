"""The page of the simulated survey: numbers that are counted, pictures, tables written from the numbers."""

import dataclasses
import importlib.util
import re
import warnings
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.collections import LineCollection, PathCollection
from PIL import Image

from apogaia import plots
from apogaia.files import read_json
from apogaia.formats.apstar import Status
from apogaia.formats.pixel_grid import detector_slices, gap_delete, wavelength_solution
from apogaia.formats.survey_tables import read_allstar
from apogaia.plots import simulation as figures
from apogaia.reduction.reduce import star_table
from apogaia.simulate import run, synthesis
from apogaia.simulate.design import design_survey
from apogaia.simulate.files import write_tables
from apogaia.simulate.gaia import parallax_error_by_magnitude
from apogaia.survey import load_survey
from apogaia.workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]
_specification = importlib.util.spec_from_file_location(
    "describe_simulation", ROOT / "tools" / "describe_simulation.py"
)
describe = importlib.util.module_from_spec(_specification)
_specification.loader.exec_module(describe)


@pytest.fixture(scope="module")
def survey():
    small = load_survey("smoke")
    return dataclasses.replace(small, simulation=dataclasses.replace(small.simulation, n_stars=2500))


@pytest.fixture(scope="module")
def design(survey):
    return design_survey(survey)


@pytest.fixture(autouse=True)
def closed_figures():
    with plt.rc_context():
        plots.use_style()
        yield
    plt.close("all")


# --- the page ---


def test_page_is_what_its_numbers_say():
    text = describe.PAGE.read_text(encoding="utf-8")
    assert describe.fill(text, read_json(describe.FOLDER / "numbers.json")) == text
    assert not re.search(r"\b(nan|None|inf)\b", text)


def test_page_shows_every_picture_and_no_other():
    shown = re.findall(r"!\[[^\]]+\]\(simulated_survey/(\w+\.png)\)", describe.PAGE.read_text(encoding="utf-8"))
    assert sorted(shown) == sorted(path.name for path in describe.FOLDER.glob("*.png"))
    for name in shown:
        assert (describe.FOLDER / name).stat().st_size < 150_000, name
        assert Image.open(describe.FOLDER / name).width <= 900, name  # as wide as a page


def test_page_is_of_the_default_survey():
    described = read_json(describe.FOLDER / "numbers.json")["survey"]
    simulation = load_survey("mock").simulation
    assert (described["name"], described["simulation"]["n_stars"], described["simulation"]["seed"]) == (
        "mock",
        simulation.n_stars,
        simulation.seed,
    )


# --- numbers ---


def counts(design, survey):
    return {
        one["fault"]: one["rows"] for one in describe.faults(design, describe.observed_table(design, survey), survey)
    }


def test_faults_are_counted_in_the_design(design, survey):
    before = counts(design, survey)
    stars = design.stars
    contaminated = sum(before[name] for name in ("wrong match", "blend", "wrong parallax"))
    assert contaminated == np.count_nonzero(stars["contamination"] != "") > 0
    without_file = before["missing"] + before["LOCATION_ID is 1"]
    assert without_file == np.count_nonzero(~run.has_file(design))
    assert (
        before["STARFLAG is not 0"]
        <= sum(n for name, n in before.items() if name.startswith("STARFLAG ")) - before["STARFLAG is not 0"]
    )
    for name in ("cut", "blank", "NaN errors", "AK_TARG is negative", "second row of a repeated star"):
        assert before[name] > 0, name

    unaffected = np.flatnonzero(~stars["k_is_nan"] & ~stars["k_is_missing"])[:7]
    k_is_nan, n_visits = stars["k_is_nan"].copy(), stars["n_visits"].copy()
    k_is_nan[unaffected] = True
    several = np.flatnonzero(n_visits > 1)[:5]
    n_visits[several] = 1
    changed = dataclasses.replace(design, stars=stars | {"k_is_nan": k_is_nan, "n_visits": n_visits})
    after = counts(changed, survey)
    assert {name: after[name] - n for name, n in before.items() if after[name] != n} == {
        "Ks is NaN": 7,
        "one visit only": 5,
    }


def test_table_in_memory_is_that_of_the_files(design, survey, tmp_path):
    workspace = Workspace(survey, tmp_path)
    write_tables(design, workspace)
    written = star_table(read_allstar(workspace.allstar), survey, workspace)
    ours = describe.observed_table(design, survey)
    np.testing.assert_array_equal(ours["apogee_id"], written["apogee_id"])
    np.testing.assert_array_equal(ours["gaia_count"], written["n_gaia_matches"])
    for name in ("parallax", "parallax_error", "g_mag", "bp_rp", "k0_mag", "log_luminosity", "snr", "v_scatter"):
        np.testing.assert_allclose(ours[name], written[name], rtol=1e-5, atol=2e-5, err_msg=name)
    np.testing.assert_array_equal(np.isfinite(ours["teff"]), np.isfinite(written["teff"]))
    assert np.count_nonzero(ours["status"] == Status.OK) < len(ours)


def test_zero_point_and_scatter_are_those_put_in(design):
    found = describe.parallax_numbers(design)
    assert found["injected_uas"] == pytest.approx(-52.3, abs=2)
    assert abs(found["mean_difference_uas"] - found["injected_uas"]) < 4 * found["error_of_mean_uas"]
    assert found["sd_of_difference_in_errors"] == pytest.approx(1, abs=0.06)


def test_mixture_of_stars_is_near_that_of_dr14():
    """Beside the published numbers: how near, in their units, and for the test set not yet (docs say why)."""
    survey = load_survey("mock-dr14")
    survey = dataclasses.replace(survey, simulation=dataclasses.replace(survey.simulation, n_stars=20_000))
    found = {one["quantity"]: one for one in describe.beside_dr14(survey)}
    near = {
        "stars with a Gaia parallax and Ks": 3,
        "median parallax SNR of these": 1.5,
        "training set": 2,
        "training set: sd of the parallaxes": 0.35,
        "training set: mean Ks without extinction": 0.1,
        "multivariate set, of the training set": 4,
        "multivariate set: mean G": 0.25,
        "multivariate set: mean BP-RP": 0.08,
        "multivariate set: mean Teff": 80,
        "multivariate set: sd of the parallaxes": 0.35,
    }
    for name, tolerance in near.items():
        assert found[name]["here"] == pytest.approx(found[name]["dr14"], abs=tolerance), name
    assert found["training set: log g below 1.3"]["here"] < 21
    assert found["test set"]["here"] < 30


def test_pixel_rates_count_bits_on_the_detectors_alone():
    error, mask = np.ones(8575), np.zeros(8575, dtype=np.int16)
    mask[:246], error[:246] = 1, 1e10  # beyond the blue detector
    blue = np.arange(246, 246 + 75)
    mask[blue] |= 1 << 12
    mask[blue[:25]] |= 1
    error[blue[:10]] = 1e10
    rates = describe.pixel_rates(error, mask)
    assert rates["SIG_SKYLINE"] == pytest.approx(100 * 75 / 7514)
    assert rates["BADPIX"] == pytest.approx(100 * 25 / 7514)
    assert rates["error 1e10"] == pytest.approx(100 * 10 / 7514)
    assert rates["CRPIX"] == 0


def test_published_line_strengths_last_as_long_as_their_context():
    def spectrum():
        return synthesis.synthetic_flux(4705.0, 2.58, {"Fe": 0.0}, 1.5, 2.5)

    before = spectrum()
    with describe.published_line_strengths():
        published = spectrum()
    assert np.abs(published - before).max() > 0.05
    np.testing.assert_array_equal(spectrum(), before)


def test_each_element_answers_in_its_window():
    for one in describe.element_numbers(describe.element_responses()):
        assert one["lines_in_window"] > 0, one
        assert one["deepest_answer"] > 0.01, one
        assert 0 < one["share_of_answer_in_window"] < 1, one


def test_a_real_giant_correlates_with_its_simulation(realdata):
    found, real, simulated = describe.compare_giant(realdata, load_survey("mock"))
    assert found["correlation"] > 0.7 and found["rms_difference"] < 0.05  # the acceptance line
    assert found["published_line_strengths"]["correlation"] > 0.7
    assert found["solar_ratios"]["correlation"] > 0.7
    assert found["pixels"] > 7300 and np.count_nonzero(np.isfinite(real) & np.isfinite(simulated)) == found["pixels"]
    committed = read_json(describe.FOLDER / "numbers.json")["giant"]
    assert committed["correlation"] == pytest.approx(found["correlation"], abs=0.005)
    assert committed["rms_difference"] == pytest.approx(found["rms_difference"], abs=0.001)


# --- pictures ---

WITHOUT_UNIT = {"normalised flux", "spectral SNR", "number of stars per bin", "stars per pixel"}


def made_up(sample):
    n = {"empty": 0, "ten": 10, "many": 5000}.get(sample, 300)
    rng = np.random.default_rng(11)
    columns = {
        "glon": rng.uniform(0, 360, n),
        "glat": rng.uniform(-60, 60, n),
        "a_k": rng.lognormal(-2, 1, n),
        "x": rng.normal(-8, 2, n),
        "y": rng.normal(0, 2, n),
        "z": rng.normal(0, 0.3, n),
        "fe_h": rng.normal(-0.1, 0.2, n),
        "mass": rng.uniform(0.8, 2.2, n),
        "g_mag": rng.normal(13, 1.5, n),
        "error": rng.lognormal(-3.3, 0.4, n),
        "h_mag": rng.uniform(7, 12.2, n),
        "snr": rng.lognormal(5, 0.6, n),
    }
    for index, values in enumerate(columns.values()):
        if sample == "all NaN":
            values[:] = np.nan
        elif sample == "with NaN":
            values[index::17] = np.nan
    return columns | {"bright": np.where(columns["h_mag"] < 10.2, 7.0, 10.2), "faint": np.full(n, 12.2)}


def every_figure(t):
    flux = 1 + 0.01 * np.resize(t["fe_h"] if len(t["fe_h"]) else [np.nan], 7514)
    window = np.arange(7514) % 50 == 0
    return {
        "giant": lambda: figures.spectrum_comparison(
            flux, flux - 0.1, zoom=describe.ZOOM, zoom_lines={"Mg I": 15753.3}
        ),
        "sky": lambda: figures.sky_distribution(t["glon"], t["glat"], t["a_k"], label="$A_K$ [mag]"),
        "galaxy": lambda: figures.galactic_distribution(t["x"], t["y"], t["z"], load_survey("smoke").maps),
        "abundances": lambda: figures.abundance_trends(
            t["fe_h"], t["fe_h"], -t["x"], t["mass"], t["fe_h"], giant=t["mass"] > 1
        ),
        "parallax_error": lambda: figures.parallax_errors(
            t["g_mag"], t["error"], parallax_error_by_magnitude, limit=0.1
        ),
        "selection": lambda: figures.cohort_histograms(t["h_mag"], t["snr"], t["bright"], t["faint"], split=200.0),
        "element_windows": lambda: figures.element_windows(
            {"Mg": window, "TiII": window}, {"Mg": 1 - flux, "TiII": 1 - flux}, {"Mg": [15753.3], "TiII": []}
        ),
    }


@pytest.mark.parametrize("sample", ["empty", "all NaN", "ten", "with NaN", "many"])
def test_every_picture_is_drawn_and_its_labels_bear_units(sample):
    for name, draw in every_figure(made_up(sample)).items():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            drawn = np.ravel(np.asarray(draw(), dtype=object))
            figure = drawn[0].figure
            if sample != "all NaN":  # as far as drawing goes, the same as "empty"
                figure.draw_without_rendering()
        labels = set()
        for panel in (axes for outer in figure.axes for axes in (outer, *outer.child_axes)):
            labels |= {panel.get_xlabel(), panel.get_ylabel()}
        with_unit = labels - {"", "number of stars per 0.1 mag", *WITHOUT_UNIT}
        assert with_unit, name
        assert all(label.endswith("]") and "[" in label for label in with_unit), (name, with_unit)
        plt.close(figure)


def test_comparison_shows_each_detector_and_the_difference():
    real = np.ones(7514)
    simulated = real - 0.25 * (np.arange(7514) == 100)
    axes = figures.spectrum_comparison(real, simulated, zoom=describe.ZOOM, zoom_lines={"Mg I#1": 15745.0})
    for panel, part in zip(axes[:3], detector_slices().values(), strict=True):
        np.testing.assert_array_equal(panel.lines[0].get_ydata(), real[part])
        np.testing.assert_array_equal(panel.lines[1].get_ydata(), simulated[part])
    level = axes[0].lines[2].get_ydata()[0]
    np.testing.assert_allclose(
        axes[0].lines[3].get_ydata() - level, (simulated - real)[detector_slices()["blue"]], atol=1e-9
    )
    assert [text.get_text().strip() for text in axes[3].texts] == ["Mg I"]


def test_longitude_rises_to_the_left_of_the_centre():
    axes = figures.sky_distribution(np.array([10.0, 350.0]), np.zeros(2), np.array([0.1, 0.2]), label="A [mag]")
    points = next(artist for artist in axes.collections if isinstance(artist, PathCollection)).get_offsets()
    on_screen = axes.transData.transform(points)
    assert on_screen[0, 0] < on_screen[1, 0]
    assert points[1, 0] == -10


def test_bins_of_h_are_counted_apart():
    h_mag = np.array([8.0, 9.0, 11.0, 12.0, 12.1])
    bright = np.array([7.0, 7.0, 10.2, 10.2, 10.2])
    axes = figures.cohort_histograms(h_mag, np.full(5, 150.0), bright, np.where(bright == 7, 10.2, 12.2), split=200.0)
    assert axes[0].get_legend_handles_labels()[1] == ["7 to 10.2: 2", "10.2 to 12.2: 3"]


def test_windows_and_lines_stand_in_the_row_of_their_element():
    wavelengths = gap_delete(wavelength_solution())
    window = np.zeros(7514, dtype=bool)
    window[1000:1010] = True
    nothing = np.zeros(7514)
    axes = figures.element_windows({"Mg": nothing, "TiII": window}, {"Mg": nothing, "TiII": window}, {"Mg": [15753.3]})
    assert [label.get_text() for label in axes[0].get_yticklabels()] == ["Mg", "Ti II"]
    filled = axes[0].collections[2].get_paths()[0].vertices  # after the window and the lines of Mg
    assert 0.5 < filled[:, 1].min() < filled[:, 1].max() < 1  # of the row of Ti II, which stands at 0
    assert wavelengths[999] < filled[:, 0].min() < filled[:, 0].max() < wavelengths[1010]
    ticks = [artist for artist in axes[0].collections if type(artist) is LineCollection and artist.get_segments()]
    assert [segment[0][0] for artist in ticks for segment in artist.get_segments()] == [15753.3]
    assert 0.8 < ticks[0].get_segments()[0][1][1] < 1  # beneath the row of Mg, which stands at 1
