"""What closure trials say in numbers, sentences and figures, with made-up results."""

import json
import warnings

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from closure_results import LOST, made_up_results

from apogaia import files, plots
from apogaia.closure import run, summary
from apogaia.closure.trials import TRIALS

UNITLESS = {
    "seed",
    "(recovered − injected) / error",
    "epoch",
    "spectral SNR",
    "(value − truth) / uncertainty",
    "stars per unit",
}


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> dict:
    """As read from files."""
    root = tmp_path_factory.mktemp("closure")
    made = made_up_results()
    for trial in TRIALS:
        files.write_json(run.result_path(trial, root), made[trial.name])
    return summary.read_results(root)


@pytest.fixture(autouse=True)
def closed_figures():
    with plt.rc_context():
        plots.use_style()
        yield
    plt.close("all")


def test_results_are_those_that_exist(tmp_path):
    assert summary.read_results(tmp_path) == {}
    trial = next(trial for trial in TRIALS if trial.name == "seed_3")
    files.write_json(run.result_path(trial, tmp_path), {"value_uas": 1.0})
    assert summary.read_results(tmp_path) == {"seed_3": {"value_uas": 1.0}}


def test_summary_of_known_trials(results):
    numbers = summary.summary(results)
    assert numbers["slope"]["paper"]["slope"] == pytest.approx(1 - LOST)
    assert numbers["slope"]["refit"]["slope"] == pytest.approx(1, abs=0.1)
    assert numbers["slope"]["fresh"]["trials"] == 4
    assert set(numbers["slope"]) == {"paper", "refit", "fresh"}  # one zero point alone has no slope
    assert numbers["contaminants_shift_uas"]["paper"] == pytest.approx(5)
    assert numbers["gaussian_shift_uas"] == pytest.approx({"refit_52.3": -6.0, "clean_refit": -6.0})
    assert numbers["halves_difference_uas"] == pytest.approx({"refit_52.3": -3.0, "clean_refit": -3.0})
    assert set(numbers["surfaces"]) == {"surface_refit", "fresh_surface", "surface_paper"}
    assert set(numbers["surfaces"]["surface_paper"]) == {"surface"}
    assert "surface_refit" not in numbers["difference_uas"]


def test_summary_of_the_seeds_is_that_of_a_loop(results):
    values = np.array([results[f"seed_{seed}"]["value_uas"] for seed in range(8)])
    numbers = summary.summary(results)["seeds"]
    assert numbers["trials"] == 8
    assert numbers["mean_pull"] == pytest.approx(np.mean((values + 52.3) / 2.5))
    assert numbers["sd_pull"] == pytest.approx(np.std((values + 52.3) / 2.5, ddof=1))
    assert numbers["sd_value_uas"] == pytest.approx(np.std(values, ddof=1))
    assert (numbers["mean_error_uas"], numbers["mean_statistical_error_uas"]) == (2.5, 2.0)


def test_coverage_tells_honest_errors_from_others(results):
    numbers = summary.summary(results)["coverage"]
    expected = {"calibrated": 68.0, "paper": 38.1, "released": 95.3}
    for model, share in expected.items():
        covered = numbers[model]["fakemag"]
        assert covered["within_68"] == pytest.approx(share, abs=2.5)
        for variable in ("k_mag", "snr", "logg"):
            assert covered[variable]["min_68"] <= covered["within_68"] <= covered[variable]["max_68"]
            bins = [each["within_68"] for each in results["distances"][model]["fakemag"][variable]]
            assert covered[variable] == {"min_68": min(bins), "max_68": max(bins)}
    assert summary.summary(results)["scatter_percent"]["calibrated"] == pytest.approx(8, abs=1)


@pytest.mark.parametrize("names", [(), ("seed_0",), ("refit_52.3", "kepler_paper"), ("distances",), ("surface_paper",)])
def test_missing_trials_are_absent_from_the_summary(results, names):
    numbers = summary.summary({name: results[name] for name in names})
    assert "slope" not in numbers and "seeds" not in numbers and "contaminants_shift_uas" not in numbers
    assert set(numbers.get("difference_uas", {})) == set(names) - {"distances", "surface_paper"}
    assert ("coverage" in numbers) == ("distances" in names)
    assert json.dumps(numbers, allow_nan=False)
    assert set(summary.sentences(numbers)) <= {"histories", "reliability", "coverage", "pulls", "scatter"}


def test_a_training_without_a_number_counts_as_missing(results):
    numbers = summary.summary(results | {"paper_0": results["paper_0"] | {"value_uas": None}})
    assert numbers["slope"]["paper"]["trials"] == 3
    assert "paper_0" not in numbers["difference_uas"]


def test_sentences_bear_the_numbers(results):
    said = summary.sentences(summary.summary(results))
    assert set(said) == {"recovered", "seeds", "reliability", "coverage", "pulls", "scatter", "histories"}
    assert "paper 0.60 (mean difference" in said["recovered"]
    assert "fresh_52.3" not in said["histories"] and "paper_100 +40.0" in said["histories"]
    assert all(sentence.endswith(".") and "nan" not in sentence for sentence in said.values())


def test_report_writes_numbers_and_pictures(tmp_path, results):
    trial = TRIALS[0]
    files.write_json(run.result_path(trial, tmp_path), results[trial.name])
    pictures = tmp_path / "figures" / "mock-dr14"
    pictures.mkdir(parents=True)
    for name in ("08_seeds.png", "08_seeds.pdf", "04_truth.png"):
        plots.seed_pulls(**summary.seeds(results)).figure.savefig(pictures / name, dpi=300)
    folder = summary.report(tmp_path)
    assert {path.name for path in folder.iterdir()} == {"numbers.json", "seeds.png"}
    picture, copied = plt.imread(pictures / "08_seeds.png"), plt.imread(folder / "seeds.png")
    assert np.abs(picture[..., :3] - copied[..., :3]).mean() < 0.01  # matplotlib reads 0 to 1
    assert (folder / "seeds.png").stat().st_size < 0.7 * (pictures / "08_seeds.png").stat().st_size
    assert files.read_json(folder / "numbers.json") == {trial.name: results[trial.name]}


def test_the_report_of_the_calibrated_distances_leaves_the_other_trials_numbers_alone(tmp_path, results):
    trial = next(trial for trial in TRIALS if trial.name == summary.CALIBRATED)
    files.write_json(run.result_path(trial, tmp_path), results[trial.name])
    files.write_json(tmp_path / "docs" / "closure" / "numbers.json", {"kept": 1})
    folder = summary.report(tmp_path)
    assert files.read_json(folder / "distances.json") == results[trial.name]
    assert files.read_json(folder / "numbers.json") == {"kept": 1}


def test_the_report_of_the_papers_recipe_has_a_file_of_its_own(tmp_path, results):
    wanted = ("paper_causes", "clean_paper", "refit_0")
    for trial in TRIALS:
        if trial.name in wanted:
            files.write_json(run.result_path(trial, tmp_path), results[trial.name])
    folder = summary.report(tmp_path)
    assert set(files.read_json(folder / "recipe.json")) == {"paper_causes", "clean_paper"}
    assert set(files.read_json(folder / "numbers.json")) == {"refit_0", *wanted}


def test_the_recipes_trials_alone_leave_the_other_numbers_as_they_are(tmp_path, results):
    trial = next(trial for trial in TRIALS if trial.name == "clean_paper")
    files.write_json(run.result_path(trial, tmp_path), results[trial.name])
    files.write_json(tmp_path / "docs" / "closure" / "numbers.json", {"kept": 1})
    assert files.read_json(summary.report(tmp_path) / "numbers.json") == {"kept": 1}


def test_a_falling_zero_point_is_compared_with_its_mean(results):
    off = summary.summary(results)["difference_uas"]["falling_paper"]
    found = results["falling_paper"]
    assert off == pytest.approx(found["value_uas"] - found["true_mean_uas"])
    assert found["true_mean_uas"] != found["trial"]["zero_point"]


def figure_functions(results: dict) -> dict:
    distances = results.get("distances", {})
    return {
        "recovered": lambda: plots.recovered_zero_points(summary.recovered(results)),
        "seeds": lambda: plots.seed_pulls(**summary.seeds(results)),
        "reliability": lambda: plots.reliability(distances),
        "reliability three": lambda: plots.reliability(distances, quantities=summary.QUANTITIES),
        "coverage": lambda: plots.coverage_panels(distances),
        "pulls": lambda: plots.pull_histograms(distances),
        "scatter": lambda: plots.giant_scatter(distances),
        "histories": lambda: plots.offset_histories(summary.histories(results)),
    }


@pytest.mark.parametrize("sample", ["all", "none", "a few"])
def test_every_figure_is_drawn_and_its_labels_bear_units(results, sample):
    few = ("seed_1", "kepler_paper")
    chosen = {"all": results, "none": {}, "a few": {name: results[name] for name in few}}[sample]
    for name, draw in figure_functions(chosen).items():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            panels = np.ravel(np.asarray(draw(), dtype=object))
            panels[0].figure.draw_without_rendering()
        assert all(isinstance(panel, plt.Axes) for panel in panels), name
        labels = {label for panel in panels for label in (panel.get_xlabel(), panel.get_ylabel())} - {""}
        assert labels and all("[" in label and label.endswith("]") for label in labels - UNITLESS), (name, labels)


def test_differences_and_errors_are_drawn(results):
    points = summary.recovered(results)
    axes = plots.recovered_zero_points(points)
    assert (len(axes[0].containers), len(axes[1].containers)) == (6, 4)  # the enlarged panel is without the paper's
    line, _, (bars,) = axes[0].containers[0]
    np.testing.assert_allclose(line.get_ydata(), points["paper"]["value"] - points["paper"]["injected"])
    np.testing.assert_allclose([0.5 * np.ptp(segment[:, 1]) for segment in bars.get_segments()], 1.5)


def test_seeds_state_their_mean_and_scatter(results):
    numbers = summary.summary(results)["seeds"]
    axes = plots.seed_pulls(**summary.seeds(results))
    stated = f"mean {numbers['mean_pull']:+.2f}, sd {numbers['sd_pull']:.2f}".replace("-", "−")
    assert any(stated in text.get_text() for text in axes.texts)


def test_coverage_and_pulls_show_the_bins_of_the_results(results):
    distances = results["distances"]
    axes = plots.coverage_panels(distances)
    bins = distances["calibrated"]["distance"]["k_mag"]
    np.testing.assert_allclose(axes[0].containers[0][0].get_ydata(), [each["within_68"] for each in bins])
    axes = plots.pull_histograms(distances)
    for steps in axes[0].patches:
        values, edges, _ = steps.get_data()
        assert np.sum(values * np.diff(edges)) == pytest.approx(1)


def test_histories_have_injected_values_of_their_colour(results):
    courses = summary.histories(results)
    names = ["−52.3, Kepler-like field", "−52.3", "0", "−52.3, no contaminants", "−100", "−29"]
    assert list(courses) == [*names, "−52.3, falling with G, no contaminants"]
    assert courses[list(courses)[-1]][1] == pytest.approx(results["falling_paper"]["true_mean_uas"])
    axes = plots.offset_histories(courses)
    lines = {line.get_label(): line for line in axes.lines}
    np.testing.assert_allclose(lines["−29"].get_ydata(), results["paper_29"]["offset_history_uas"])
    colours = {line.get_ydata()[0]: line.get_color() for line in axes.lines if len(set(line.get_ydata())) == 1}
    assert colours[-29.0] == lines["−29"].get_color() and colours[-52.3] == lines["−52.3"].get_color()
    assert lines["−52.3"].get_linestyle() != lines["−52.3, Kepler-like field"].get_linestyle()


def test_figures_use_the_axes_they_are_given(results):
    _, axes = plt.subplots(1, 5)
    assert list(plots.coverage_panels(results["distances"], axes=axes)) == list(axes)
    with pytest.raises(ValueError, match="5 panels, but 2"):
        plots.coverage_panels(results["distances"], axes=axes[:2])
    _, axes = plt.subplots()
    assert plots.offset_histories({"a": ([1.0, 2.0], -52.3)}, axes=axes) is axes
