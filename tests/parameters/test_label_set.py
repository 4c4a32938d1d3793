"""The training set of the network of stellar parameters: who trains, and what a missing label does not touch."""

import dataclasses

import h5py
import numpy as np
import pytest
from astropy.table import Table

from apogaia.formats.stars_h5_columns import LABELS
from apogaia.model.training_set import split
from apogaia.parameters import training
from apogaia.parameters.label_set import LabelSet, select_labelled, unseen_labelled
from apogaia.reduction.stars_h5 import Stars
from apogaia.survey import load_survey

DR17 = load_survey("dr17")
N = 12


def stars(n=N):
    """Stars of stars.h5 that all train."""
    return Table(
        {
            "status": np.zeros(n, np.int8),
            "starflag": np.zeros(n, np.int64),
            "v_scatter": np.full(n, 0.3, np.float32),
            "snr": np.full(n, 300.0, np.float32),
        }
    )


def labels_of(n=N, seed=1):
    rng = np.random.default_rng(seed)
    table = Table({"aspcapflag": np.zeros(n, np.int64)})
    for k, name in enumerate(LABELS):
        values = rng.uniform(4000, 5500, n) if name == "teff" else rng.normal(0.1 * k, 0.3, n)
        table[name] = values.astype(np.float32)
        table[f"{name}_error"] = np.full(n, 40.0 if name == "teff" else 0.02, np.float32)
    return table


@pytest.fixture
def opened(tmp_path):
    with h5py.File(tmp_path / "stars.h5", "w") as file:
        spectra = np.random.default_rng(2).normal(0.9, 0.1, (N, 30)).astype(np.float32)
        yield Stars(stars(), file.create_dataset("spectrum", data=spectra))


# star, table, column and value that keep it from training, and the first word of the cut
REMOVED = [
    (0, "stars", "status", 1, "spectrum"),
    (1, "stars", "starflag", 1 << 9, "STARFLAG"),
    (2, "stars", "starflag", -1, "STARFLAG"),  # unknown
    (3, "labels", "aspcapflag", 1 << 8, "ASPCAPFLAG"),
    (4, "labels", "aspcapflag", -1, "ASPCAPFLAG"),
    (5, "stars", "v_scatter", 1.0, "v_scatter"),
    (6, "stars", "v_scatter", np.nan, "v_scatter"),
    (7, "stars", "snr", 200.0, "SNR"),
    (8, "labels", "teff", 3000.0, "3000"),
    (9, "labels", "teff", 6500.0, "3000"),
    (10, "labels", "teff", np.nan, "3000"),
]


def test_each_cut_removes_its_stars_and_says_why():
    tables = {"stars": stars(), "labels": labels_of()}
    assert select_labelled(*tables.values(), DR17)[0].tolist() == list(range(N))
    for row, table, column, value, _ in REMOVED:
        tables[table][column][row] = value
    rows, flow = select_labelled(*tables.values(), DR17)
    assert rows.tolist() == [11]
    removed = {str(name).split()[0]: int(count) for name, count in zip(flow["name"], flow["removed"], strict=True)}
    words = [word for *_, word in REMOVED]
    assert removed == {"all": 0, "labels": 0} | {word: words.count(word) for word in words}
    assert flow["surviving"][0] == N and flow["surviving"][-1] == 1
    assert np.array_equal(np.diff(flow["surviving"]), -flow["removed"][1:])


def test_the_limits_are_settings():
    table, labels = stars(), labels_of()
    table["snr"][:6], table["v_scatter"][6:] = 120.0, 7.0
    assert len(select_labelled(table, labels, DR17)[0]) == 0
    loose = dataclasses.replace(
        DR17,
        parameters=dataclasses.replace(DR17.parameters, min_snr=100.0, max_teff=np.inf),
        cuts=dataclasses.replace(DR17.cuts, max_v_scatter=np.inf),
    )
    rows, flow = select_labelled(table, labels, loose)
    assert len(rows) == N and not any(str(name).startswith("v_scatter") for name in flow["name"])


def test_a_star_of_which_no_label_is_known_does_not_train():
    """Nothing would be learnt from it, but its spectrum would enter the mean."""
    labels = labels_of()
    for name in LABELS[1:]:
        labels[name][3:5] = np.nan
    labels["teff"][4] = np.nan
    assert select_labelled(stars(), labels, DR17)[0].tolist() == [i for i in range(N) if i != 4]


def test_missing_labels_do_not_enter_means_and_standard_deviations(opened):
    labels = labels_of()
    whole = LabelSet.from_stars(opened, labels, np.arange(N))
    rng = np.random.default_rng(3)
    gaps = {name: rng.choice(N, rng.integers(1, 6), replace=False) for name in LABELS}
    for i, (name, rows) in enumerate(gaps.items()):
        labels[name if i % 2 else f"{name}_error"][rows] = np.nan
    sample = LabelSet.from_stars(opened, labels, np.arange(N))
    mean, sd = sample.mean_and_sd(np.arange(N))
    for k, (name, rows) in enumerate(gaps.items()):
        known = np.delete(whole.label[:, k], rows)
        assert mean[k] == pytest.approx(known.mean()) and sd[k] == pytest.approx(known.std()), name
        assert np.isnan(sample.label[rows, k]).all() and np.isnan(sample.error[rows, k]).all(), name
    some = np.array([1, 4, 5, 9, 11])
    expected = [np.nanmean(sample.label[some, k]) for k in range(22)]
    assert sample.mean_and_sd(some)[0] == pytest.approx(expected)


def test_a_label_without_spread_is_named(opened):
    labels = labels_of()
    labels["p_h"][1:] = np.nan
    labels["k_h"] = np.full(N, 0.1, np.float32)
    labels["co_h"] = np.full(N, np.nan, np.float32)
    sample = LabelSet.from_stars(opened, labels, np.arange(N))
    with pytest.raises(ValueError, match=r"no spread of p_h \(1 stars\), k_h \(12 stars\), co_h \(0 stars\)"):
        sample.mean_and_sd(np.arange(N))


def test_equal_labels_have_no_spread_however_their_standard_deviation_rounds():
    label = np.random.default_rng(1).normal(size=(45, len(LABELS)))
    label[:, 12] = 0.1
    assert label[:, 12].std() > 0
    sample = LabelSet(np.ones((45, 3), np.float32), label, np.full_like(label, 0.02))
    with pytest.raises(ValueError, match=r"no spread of k_h \(45 stars\)"):
        sample.mean_and_sd(np.arange(45))


def test_arrays_are_the_networks_input_and_the_likelihoods_targets(opened):
    labels = labels_of()
    labels["mg_h"][4] = np.nan
    rows = np.array([2, 4, 7])
    sample = LabelSet.from_stars(opened, labels, rows)
    inputs, targets = sample.arrays()
    assert len(sample) == 3 and list(inputs) == ["spectrum"]
    np.testing.assert_array_equal(inputs["spectrum"], opened.spectra[rows])
    assert targets.shape == (3, 22, 2) and targets.dtype == np.float32
    for k, name in enumerate(LABELS):
        expected = np.column_stack([labels[name][rows], labels[f"{name}_error"][rows]])
        if name == "mg_h":
            expected[1] = np.nan
        np.testing.assert_array_equal(targets[:, k], expected)


def test_arrays_refuse_what_would_spoil_the_likelihood(opened):
    labels = labels_of()
    labels["si_h_error"][2], labels["ni_h_error"][0] = -999.99, 0.0
    with pytest.raises(ValueError, match="errors of si_h, ni_h in the training set are not positive"):
        LabelSet.from_stars(opened, labels, np.arange(N)).arrays()
    sample = LabelSet.from_stars(opened, labels_of(), np.arange(N))
    sample.spectrum[3, 5] = np.nan
    with pytest.raises(ValueError, match="spectra of the training set have values that are not finite"):
        sample.arrays()


def test_labels_of_another_table_are_refused(opened):
    with pytest.raises(ValueError, match=r"11 rows of labels for 12 of stars\.h5"):
        select_labelled(stars(), labels_of(11), DR17)
    with pytest.raises(ValueError, match="11 rows of labels"):
        LabelSet.from_stars(opened, labels_of(11), np.arange(3))


def test_unseen_stars_fail_the_cut_of_snr_alone_and_train_in_no_other_row():
    table, labels = stars(), labels_of()
    table["apogee_id"] = [f"2M{i}" for i in range(N)]
    table["snr"][:6] = 90.0
    table["starflag"][1] = 4  # fails another cut, too
    labels["teff"][2] = np.nan
    table["apogee_id"][3] = "2M8"  # a faint row of a star that trains in its bright one
    assert unseen_labelled(table, labels, DR17).tolist() == [0, 4, 5]


def test_calibrating_and_test_stars_share_no_name_and_none_trains_by_gradient():
    n = 400
    table, labels = stars(n), labels_of(n)
    table["apogee_id"] = [f"2M{i // 2}" for i in range(n)]  # each star in two rows
    table["snr"] = np.where(np.arange(n) < 200, 300.0, 90.0)
    names = np.asarray(table["apogee_id"])
    rows, _ = select_labelled(table, labels, DR17)
    gradient, validation = (rows[part] for part in split(len(rows), 0.1, DR17.parameters.seed))
    calibrating, test = (of(table, labels, DR17) for of in (training.calibrating_rows, training.test_rows))
    assert not set(names[calibrating]) & set(names[test])
    assert not set(names[gradient]) & (set(names[calibrating]) | set(names[test]))
    faint = calibrating[calibrating >= 200]
    assert set(calibrating[calibrating < 200]) <= set(validation)
    assert sorted([*faint, *test]) == list(range(200, n))
    assert 60 < len(test) < 140
