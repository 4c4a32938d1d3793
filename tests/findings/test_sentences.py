"""What the notebooks say they found: true of a simulated survey, a real one, and a test run; numbers may be unknown."""

import copy
import re

import pytest
from astropy.table import Table

from apogaia.findings import (
    comparisons,
    data_reduction,
    inference_catalogue,
    jacobian,
    joint_training,
    milky_way_maps,
    offset_analysis,
    sentences,
    stellar_parameters,
)
from apogaia.findings.tables import html_table
from apogaia.survey import load_survey

SIMULATED, REAL, TEST_RUN = (load_survey(name) for name in ("mock", "dr14", "smoke"))
PARTS = dict.fromkeys(joint_training.PARTS, 1.0) | {"slopes": 5.0, "total": 5.5}
BINS = [{"mean_uas": -9.0, "error_uas": 3.0}, {"mean_uas": 1.0, "error_uas": 2.0}]
REFIT = {
    "fixed": False,
    "value_uas": -58.14,
    "error_uas": 5.5,
    "stars": 8702,
    "spectral_features": 120,
    "label_features": 51,
    "bends": False,
    "bends_log_evidence": -4.4,
    "without_bends_uas": -58.14,
    "without_density_uas": -54.6,
    "density_share": 0.47,
    "density_share_error": 0.12,
    "g_slope_uas_per_mag": 0.6,
    "g_slope_error_uas_per_mag": 1.6,
    "teff_slope_uas_per_1000_k": -3.3,
    "teff_slope_error_uas_per_1000_k": 4.2,
    "error_budget_uas": PARTS,
    "residuals": {"g_mag": BINS},
}
FIXED = {"fixed": True, "value_uas": -52.3, "error_uas": 2.0}
STARS = {"gradient_stars": 90, "validation_stars": 10}
TRAINED = {
    "none": {"val_loss": -1.63, "loss": -1.7, **STARS},
    "constant": {"val_loss": -1.68, "loss": -1.8, "offset": -0.0152, **STARS},
    "multivariate": {"left_out": "The stars have no BP-RP."},
}


def test_only_a_test_run_has_the_caveat():
    assert sentences.found(SIMULATED, "One.", "", "Two.") == "**Found.** One. Two."
    assert sentences.found(REAL, "One.") == "**Found.** One."
    assert re.search(r"600 simulated stars.*numbers mean nothing", sentences.found(TEST_RUN, "One."))


def test_lists_and_unknown_numbers():
    assert [sentences.listed(parts) for parts in (["a"], ["a", "b"], "abc")] == ["a", "a and b", "a, b and c"]
    assert sentences.known(1, 2.0) and not sentences.known(1, None) and not sentences.known(float("nan"))
    assert sentences.in_errors(-6.0, 3.0) == "2.0 times its error"
    assert sentences.in_errors(-6.0, 0.0) == "with no error known"


def test_a_table_is_the_same_html_each_time():
    table = Table({"cut": ["<Ks>", "SNR"], "stars": [1, 2]})
    text = html_table(table)
    assert text == html_table(table.copy()) and text.count("<tr>") == 3 and "&lt;Ks&gt;" in text


def test_the_cut_that_takes_most_is_named():
    numbers = {
        "stars": 100,
        "with_spectrum": 90,
        "with_parallax_and_ks": 80,
        "training": 20,
        "test": 30,
        "negative_training": 1,
        "negative_test": 2,
        "surviving": {"all: all stars": 100, "all: Ks": 95, "all: log L > 0": 50, "all: x": 49, "test: SNR": 3},
    }
    said = data_reduction.data_reduction(REAL, numbers)
    assert "“log L > 0” takes most (45 stars)" in said and "1 in the training and 2 in the test set" in said
    assert "takes most" not in data_reduction.data_reduction(REAL, numbers | {"surviving": {"all: all stars": 1}})


@pytest.mark.parametrize("truth", [-52.1, None])
@pytest.mark.parametrize("calibration", [REFIT, FIXED])
def test_both_zero_points_are_told_and_held_to_the_truth_where_there_is_one(truth, calibration):
    said = joint_training.joint_training(SIMULATED if truth else REAL, TRAINED, calibration, truth)
    assert (
        "100 stars, 10 of them held out" in said and "-1.63 (none) and -1.68 (constant)" in said and "no BP-RP" in said
    )
    assert f"-15.2 µas, and the {'survey file states' if calibration['fixed'] else 'refit gives'}" in said
    assert ("Injected were -52.1 µas: the first is +36.9 µas off" in said) == (truth is not None)


def test_learning_curves_in_words():
    histories = {
        "none": {"loss": [1.0, 0.5], "val_loss": [1.1, 0.7]},
        "constant": {
            "loss": [1.0, 0.4],
            "val_loss": [1.1, 0.6],
            "offset": [-0.01, -0.015],
            "learning_rate": [4.0, 1.0],
        },
    }
    said = joint_training.curves_in_words(histories, -52.1)
    assert "goes from 1.100 to 0.700, and ends 0.200 above the training loss" in said
    assert "lower by 0.100" in said and "changes by 0.450: too little to ask for one" in said
    assert (
        "it still moves (-5.0 µas in the last epoch, at a learning rate that has fallen to 0.25 of the first)" in said
    )
    settled = {name: one | {"val_loss": [1.1, *[one["val_loss"][-1]] * 20]} for name, one in histories.items()}
    assert "changes by 0.000: these parallaxes ask for one" in joint_training.curves_in_words(settled)
    assert "+37.1 µas off" in said and "Injected" not in joint_training.curves_in_words(histories)
    risen = joint_training.curves_in_words({"none": {"loss": [1.0, 0.5, 0.4], "val_loss": [1.1, 0.7, 0.9]}})
    assert "0.200 above its best" in risen and "constant" not in risen


def test_bends_are_told_with_their_evidence_and_what_they_move():
    assert "without bends (ln of the evidence ratio for bends" in joint_training.refit_in_words(REFIT)
    bent = REFIT | {"bends": True, "bends_log_evidence": 120.0, "without_bends_uas": -40.14}
    said = joint_training.refit_in_words(bent)
    assert "bends (ln of the evidence ratio" in said and "is 120.0), which moves its mean by -18.0 µas" in said
    unasked = joint_training.refit_in_words(REFIT | {"bends_log_evidence": None})
    assert "evidence" not in unasked


def test_the_refit_in_words_names_the_largest_part_of_its_error():
    said = joint_training.refit_in_words(REFIT, -52.1)
    assert (
        "8,702 stars, 120 features of their spectra and 51 of their labels" in said
        and "0.6 ± 1.6 µas per mag of G and -3.3 ± 4.2" in said
        and "5.0 µas (slopes and bends of the zero point in G, BP-RP and Teff)" in said
    )
    assert (
        "-3.5 µas" in said
        and "0.47 ± 0.12" in said
        and "1 of 2 bins, where chance gives 0; the largest is 3.0 errors. They are 1 in G;" in said
    )
    assert "-6.0 µas off, 1.1 times its error" in said
    assert "Injected" not in joint_training.refit_in_words(REFIT) and "bins" not in joint_training.refit_in_words(
        REFIT | {"residuals": {}}
    )
    assert "nothing was fitted" in joint_training.refit_in_words(FIXED)
    rows = joint_training.budget_rows(REFIT)
    assert rows["µas"][-1] == "5.5" and rows["of the variance [%]"][-1] == 100
    assert rows["of the variance [%]"][list(joint_training.PARTS).index("slopes")] == 83  # (5.0 / 5.5)^2


def test_the_offset_analysis_ends_at_the_truth_or_at_the_literature():
    results = {
        "constant": {"value_uas": -15.3, "error_uas": 0.7},
        "calibrated": REFIT,
        "multivariate": {"mean_uas": -2.9, "rms_against_truth_uas": 61.4},
        "published": [{"sigma": -2.4}, {"sigma": 0.5}, {"sigma": None}],
    }
    real = offset_analysis.offset_analysis(REAL, results)
    assert "Of 2 published zero points of these parallaxes 1 are within" in real and "injected" not in real
    simulated = offset_analysis.offset_analysis(SIMULATED, results | {"injected_uas": -52.1})
    assert "they are +36.8 µas off" in simulated and "published" not in simulated and "rms of 61 µas" in simulated
    fixed = {"constant": results["constant"], "calibrated": FIXED, "multivariate": {"left_out": "x"}}
    assert "the survey file fixes it at -52.3" in offset_analysis.offset_analysis(REAL, fixed)


CATALOGUE = {
    "with_distance": 90,
    "stars": 100,
    "within_10_percent": 80,
    "outside_training_set": 5,
    "distance_against_gaia": {
        "giants": {"stars": 12, "median_offset_percent": -3.4, "robust_scatter_percent": 10.6},
    },
    "truth": {
        "stars": 30,
        "median_offset_percent": -1.8,
        "robust_scatter_percent": 9.9,
        "weighted_robust_scatter_percent": 6.5,
        "coverage_68": 0.703,
    },
}


def test_distances_are_held_to_gaia_and_to_the_truth_where_there_is_one():
    said = inference_catalogue.inference_catalogue(SIMULATED, CATALOGUE)
    assert "3.4 % shorter than Gaia's" in said and "for 70 % of them" in said
    empty = copy.deepcopy(CATALOGUE)
    del empty["truth"]
    empty["distance_against_gaia"]["giants"]["median_offset_percent"] = None
    said = inference_catalogue.inference_catalogue(REAL, empty)
    assert "No test giant" in said and "true distances" not in said


def test_the_jacobian_names_elements_and_windows():
    sensitivity = {"middle": {"Mg": 3.2, "Si": 2.2, "C": 0.8}}
    windows = [
        {"element": "Mg", "wavelength": 15745.2, "share": 0.021},
        {"element": "Si", "wavelength": 15964.4, "share": 0.01},
    ]
    said = jacobian.jacobian(REAL, sensitivity, windows)
    assert "of the middle stars Mg (3.2 times) and Si (2.2 times), and least C (0.8 times)" in said
    assert "Mg at 1574.5 nm (2.1 %) and Si at 1596.4 nm (1.0 %)" in said


def test_labels_are_told_with_their_units():
    row = {"scatter": 0.04, "coverage": 0.7}
    numbers = {
        "gradient_stars": 3010,
        "test_stars_above_snr_100": 50,
        "compared_with": "truth",
        "recovery": {"teff": {"scatter": 41.2, "coverage": 0.65}, "logg": row, "fe_h": row, "mg_h": row, "si_h": row},
    }
    said = stellar_parameters.stellar_parameters(SIMULATED, numbers)
    assert "about the truth by: Teff 41 K, log g 0.040 dex" in said and "65 to 70 %" in said
    numbers["recovery"] = {"teff": {"scatter": None, "coverage": None}}
    assert "No test star has labels" in stellar_parameters.stellar_parameters(
        REAL, numbers | {"compared_with": "ASPCAP"}
    )


def test_the_map_is_told_from_the_centre_outwards():
    numbers = {"stars": {"fe": 500}, "median_fe_h_by_radius": {"10-12 kpc": -0.2, "0-2 kpc": -0.24, "4-6 kpc": 0.12}}
    said = milky_way_maps.milky_way_maps(REAL, numbers)
    assert (
        "highest at 4-6 kpc" in said and "-0.24 at 0-2 kpc and -0.20 at 10-12 kpc" in said and "Bin by bin" not in said
    )
    against = {"bins": 91, "median_difference": -0.015, "scatter": 0.034}
    assert "-0.015 dex" in milky_way_maps.milky_way_maps(SIMULATED, numbers | {"map_against_truth": against})
    numbers["median_fe_h_by_radius"] = {"0-2 kpc": None}
    assert "too few" in milky_way_maps.milky_way_maps(TEST_RUN, numbers)


def test_catalogues_are_compared_from_the_lowest_to_the_highest_offset():
    compared = {
        "apogee_rc": {"second": "APOGEE-RC", "median_offset_percent": -2.7, "against_truth": {"offset_sigma": 1.6}},
        "bpg": {"second": "BPG", "median_offset_percent": 1.2, "against_truth": {"offset_sigma": -2.6}},
        "clusters": {"against_truth": {"offset_sigma": None}},
    }
    said = comparisons.comparisons(SIMULATED, compared)
    assert "-2.7 % (APOGEE-RC) to +1.2 % (BPG)" in said and "within two errors for 1 of 2" in said
    assert "No other catalogue" in comparisons.comparisons(REAL, {})
