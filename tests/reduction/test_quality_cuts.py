"""The quality cuts: each removes what it says, the numbers add up, training and test share no star."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st

from apogaia.reduction.quality_cuts import cut_flow, cuts, select
from apogaia.survey import load_survey

DR14, DR17 = load_survey("dr14"), load_survey("dr17")


def good_stars(n: int) -> Table:
    """Stars that pass every cut; even rows train, odd rows test."""
    return Table(
        {
            "apogee_id": [f"2M{i:04d}" for i in range(n)],
            "parallax": np.full(n, 0.5),
            "parallax_error": np.full(n, 0.03),
            "k0_mag": np.full(n, 9.0),
            "a_k_mag": np.full(n, 0.1),
            "parallax_zero_point": np.full(n, -0.03),
            "visibility_periods_used": np.full(n, 11),
            "ruwe": np.full(n, 1.0),
            "ipd_frac_multi_peak": np.full(n, 2.0),
            "ipd_gof_harmonic_amplitude": np.full(n, 0.05),
            "status": np.zeros(n, np.int8),
            "v_scatter": np.full(n, 0.1),
            "starflag": np.zeros(n, np.int64),
            "log_luminosity": np.full(n, 1.5),
            "snr": np.where(np.arange(n) % 2, 100.0, 300.0),
            "g_mag": np.full(n, 12.0),
            "bp_rp": np.full(n, 1.3),
            "teff": np.full(n, 4800.0),
        }
    )


def test_good_stars_survive():
    chosen = select(good_stars(10), DR17)
    assert chosen.training.tolist() == chosen.training_multivariate.tolist() == [0, 2, 4, 6, 8]
    assert chosen.test.tolist() == [1, 3, 5, 7, 9]


# (column, value, does the star survive under DR14, and under DR17); nan never survives a cut that is on
BOTH = [
    ("parallax", np.nan, False, False),
    ("parallax_error", 0.1, False, False),
    ("parallax_error", 0.0999, True, True),
    ("parallax_error", np.nan, False, False),
    ("k0_mag", np.nan, False, False),
    ("visibility_periods_used", 10, False, False),
    ("status", 5, False, False),
    ("v_scatter", 1.0, False, False),
    ("v_scatter", np.nan, False, False),
    ("starflag", 512, False, False),
    ("log_luminosity", 0.0, False, False),
    ("log_luminosity", np.nan, False, False),
    ("snr", 200.0, False, False),
    ("snr", np.nan, False, False),
    ("ruwe", 1.4, True, False),
    ("ruwe", np.nan, True, False),
    ("ipd_frac_multi_peak", 3.0, True, False),
    ("ipd_gof_harmonic_amplitude", 0.1, True, False),
    ("a_k_mag", np.nan, True, False),
    ("a_k_mag", -0.05, True, True),
    ("parallax_zero_point", np.nan, True, False),
    ("teff", np.nan, True, True),
]


@pytest.mark.parametrize(("column", "value", "dr14", "dr17"), BOTH)
def test_each_cut(column, value, dr14, dr17):
    table = good_stars(10)
    table[column][4] = table[column][5] = value
    for survey, survives in ((DR14, dr14), (DR17, dr17)):
        chosen = select(table, survey)
        assert (4 in chosen.training) == (5 in chosen.test) == survives
        assert len(chosen.training) == len(chosen.test) == 4 + survives


def test_negative_parallaxes_survive_without_a_luminosity():
    table = good_stars(4)
    table["parallax"][0], table["log_luminosity"][0] = -0.4, np.nan
    chosen = select(table, DR14)
    assert 0 in chosen.training and 0 in chosen.training_multivariate


@pytest.mark.parametrize(
    ("column", "value", "survives"),
    [
        ("teff", np.nan, False),
        ("bp_rp", np.nan, False),
        ("g_mag", np.nan, False),
        ("parallax", 0.29, False),
        ("parallax", 0.31, True),
    ],
)
def test_multivariate_training_needs_its_inputs_and_precise_parallaxes(column, value, survives):
    table = good_stars(4)
    table[column][2] = value
    chosen = select(table, DR14)
    assert 2 in chosen.training and (2 in chosen.training_multivariate) == survives


def test_a_star_observed_twice_trains_and_does_not_test():
    table = good_stars(10)
    table["apogee_id"][3] = table["apogee_id"][0]
    chosen = select(table, DR14)
    assert 0 in chosen.training and 3 not in chosen.test
    flow = cut_flow(table, DR14)
    assert flow[(flow["sample"] == "test") & (flow["name"] == "not a star of the training set")]["removed"] == 1


def test_infinite_limits_leave_no_cut():
    assert [cut.name for cut in cuts(DR17) if cut.name not in {known.name for known in cuts(DR14)}] == [
        *("A_Ks", "zero point", "ruwe < 1.4", "ipd_frac_multi_peak <= 2", "ipd_gof_harmonic_amplitude < 0.1")
    ]
    limits = replace(DR14.cuts, max_v_scatter=np.inf, max_parallax_error=np.inf, min_log_luminosity=-np.inf)
    names = {cut.name for cut in cuts(replace(DR14, cuts=limits))}
    assert len(names) == len(cuts(DR14)) - 3 and not any("scatter" in name or "log L" in name for name in names)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), n=st.integers(0, 60), release=st.sampled_from([DR14, DR17]))
def test_counts_add_up_and_samples_are_disjoint(seed, n, release):
    rng = np.random.default_rng(seed)
    table = good_stars(n)
    for column, value, _, _ in BOTH:
        table[column][rng.random(n) < 0.04] = value
    table["apogee_id"] = [f"2M{i:04d}" for i in rng.integers(0, max(1, n // 2), n)]
    chosen, flow = select(table, release), cut_flow(table, release)

    assert flow["surviving"][0] == n and len(set(zip(flow["sample"], flow["name"], strict=True))) == len(flow)
    parents = {"all": None, "training": "all", "training_multivariate": "training", "test": "all"}
    last = {}
    for sample, parent in parents.items():
        rows = flow[flow["sample"] == sample]
        surviving = last.get(parent, n)
        for row in rows:
            assert row["removed"] == surviving - row["surviving"] and row["removed"] >= 0 and row["reason"]
            surviving = row["surviving"]
        last[sample] = surviving
    assert last == {"all": last["all"], **{name: len(getattr(chosen, name)) for name in parents if name != "all"}}
    assert not set(table["apogee_id"][chosen.training]) & set(table["apogee_id"][chosen.test])
    assert set(chosen.training_multivariate) <= set(chosen.training)
    for cut in cuts(release):
        assert cut.keep(table)[np.union1d(chosen.training, chosen.test)].all()
