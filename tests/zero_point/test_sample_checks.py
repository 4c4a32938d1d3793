"""What a survey's stars cannot bear is refused before any training, with the remedy."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table

from apogaia.model.error_calibration import LEAST_STARS
from apogaia.survey import load_survey
from apogaia.zero_point.sample_checks import SampleError, check_samples, parallax_spread, without_multivariate

SURVEY = load_survey("dr14")
FIXED = "zero_point = 'fixed', fixed_zero_point .* and fixed_zero_point_error"


def stars(n=4000):
    """Stars that pass every cut of DR14; even rows train, odd rows test."""
    return Table(
        {
            "apogee_id": [f"2M{i:06d}" for i in range(n)],
            "parallax": np.geomspace(0.1, 2.0, n),
            "parallax_error": np.full(n, 0.005),
            "k0_mag": np.full(n, 9.0),
            "a_k_mag": np.full(n, 0.1),
            "visibility_periods_used": np.full(n, 11),
            "status": np.zeros(n, np.int8),
            "v_scatter": np.full(n, 0.1),
            "starflag": np.zeros(n, np.int64),
            "log_luminosity": np.full(n, 1.5),
            "snr": np.where(np.arange(n) % 2, 100.0, 300.0),
            "g_mag": np.full(n, 12.0),
            "bp_rp": np.full(n, 1.3),
            "teff": np.full(n, 4800.0),
            "glon": np.full(n, 90.0),
            "glat": np.full(n, 5.0),
        }
    )


def with_calibration(**changes):
    return dataclasses.replace(SURVEY, calibration=dataclasses.replace(SURVEY.calibration, **changes))


def test_enough_stars_pass():
    check_samples(SURVEY, stars())
    assert without_multivariate(SURVEY, stars()) == ""


def refused_as(survey, table):
    """The first words of the refusal after the survey's name; empty if the stars are enough."""
    try:
        check_samples(survey, table)
    except SampleError as error:
        return str(error).partition(": ")[2]
    return ""


LEAST = SURVEY.calibration.min_stars
FEW = "{n} stars train and {n} test, but 20 and some more"
UNUSABLE = "{both} of {both} training and test stars can calibrate the zero point"


@pytest.mark.parametrize(
    ("n", "refit", "fixed"),
    [
        (0, "no star passes the quality cuts", "no star passes the quality cuts"),
        (21, FEW, FEW),
        *((n, UNUSABLE, "") for n in (22, 50, 100, 400, LEAST // 2 - 1)),
        *((n, "", "") for n in (LEAST // 2, LEAST)),
    ],
)
def test_sizes_of_a_folder_against_what_happens(n, refit, fixed):
    """n stars train, as many test, and all calibrate; data/README.md has the same table."""
    table = stars(2 * n + 2)[: 2 * n] if n else stars(2)
    if not n:
        table["status"] = 1
    given = with_calibration(zero_point="fixed", fixed_zero_point=-52.3, fixed_zero_point_error=2.0)
    for survey, said in ((SURVEY, refit), (given, fixed)):
        found = refused_as(survey, table)
        assert found.startswith(said.format(n=n, both=2 * n)) and bool(found) == bool(said)


def test_the_readme_states_the_limits():
    text = (Path(__file__).resolve().parents[2] / "data" / "README.md").read_text(encoding="utf-8")
    assert f"fewer than {LEAST} usable stars" in text and f"| {LEAST} usable stars or more | runs" in text
    assert f"a spread below {SURVEY.calibration.min_parallax_spread:g} of their median" in text
    assert "fewer than 22 training stars" in text and f"fewer than {LEAST_STARS} such stars" in text


REFUSED = [
    ({"a_k_mag": np.nan}, "none of 4000 training and test stars has an extinction.*AK_TARG of allStar"),
    ({"glon": 10.0}, "all 4000 stars .* towards the bar, within 30 deg .*min_abs_glon.*add stars elsewhere"),
    ({"parallax": 0.5}, "the parallaxes of 4000 usable stars spread by 0.00 .*min_parallax_spread.*nearer and farther"),
    ({"glat": np.nan}, "none of 4000 training and test stars has Galactic coordinates.*GLON and GLAT"),
]


@pytest.mark.parametrize(("values", "message"), REFUSED, ids=["no extinction", "bar", "one distance", "no coordinates"])
def test_stars_that_cannot_bear_the_refit_are_refused_unless_the_zero_point_is_fixed(values, message):
    table = stars()
    for name, value in values.items():
        table[name][:] = value
    with pytest.raises(SampleError, match=f"dr14: {message}.*{FIXED}"):
        check_samples(SURVEY, table)
    fixed = with_calibration(zero_point="fixed", fixed_zero_point=-52.3, fixed_zero_point_error=2.0)
    check_samples(fixed, table)


def test_fewer_usable_stars_than_the_refit_can_bear_are_refused():
    least = SURVEY.calibration.min_stars
    table = stars(least + 20)  # training and test stars calibrate
    table["glon"][:40:2] = 359.0
    check_samples(SURVEY, table)
    table["a_k_mag"][40] = np.nan
    said = f"{least - 1} of {least + 20} training and test stars can calibrate .* {least} .calibration.min_stars."
    with pytest.raises(SampleError, match=f"{said}.*docs/closure.md.*{FIXED}"):
        check_samples(SURVEY, table)
    check_samples(with_calibration(min_stars=least - 1), table)


@pytest.mark.parametrize(
    ("snr", "message"),
    [
        (np.linspace(30, 150, 4000), "0 stars train and 4000 test"),
        (np.linspace(201, 900, 4000), "4000 stars train and 0 test"),
        (np.r_[np.full(15, 900), np.full(3985, 30)], "15 stars train and 3985 test, but 20 .* are needed"),
        (np.full(4000, np.nan), "0 stars train and 0 test"),
    ],
    ids=["all below", "all above", "too few above", "unknown"],
)
def test_a_split_beside_the_stars_is_explained(snr, message):
    table = stars()
    table["snr"] = snr
    known = snr[np.isfinite(snr)]
    spread = f"from {known.min():g} to {known.max():g}" if len(known) else "unknown"
    with pytest.raises(SampleError, match=f"{message}.*snr_split = 200.*SNR of the 4000 stars .* is {spread}"):
        check_samples(SURVEY, table)


def test_the_cut_that_leaves_no_star_is_named():
    table = stars()
    table["starflag"][1:] = 4
    table["v_scatter"][0] = 20.0
    with pytest.raises(SampleError, match=r"the last 3999 of 4000 fail 'STARFLAG == 0' \(flagged by APOGEE\)"):
        check_samples(SURVEY, table)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"bp_rp": slice(None)}, "no training star has BP-RP"),
        ({"bp_rp": slice(None), "g_mag": slice(None)}, "no training star has G or BP-RP"),
        ({"teff": slice(40, None)}, "20 of 2000 training stars have G, BP-RP, Teff"),
    ],
    ids=["no BP-RP", "no photometry", "few Teff"],
)
def test_the_multivariate_model_is_left_out_with_a_sentence_and_the_rest_is_not(change, why):
    table = stars()
    for name, rows in change.items():
        table[name][rows] = np.nan
    check_samples(SURVEY, table)
    said = without_multivariate(SURVEY, table)
    assert said.startswith("Left out: the model whose zero point depends on G, BP-RP and Teff") and why in said


def test_the_spread_of_parallaxes_is_that_of_the_true_ones():
    rng = np.random.default_rng(3)
    true, error = rng.normal(0.5, 0.2, 20_000), 0.15
    table = Table({"parallax": true + error * rng.standard_normal(20_000), "parallax_error": np.full(20_000, error)})
    assert parallax_spread(table) == pytest.approx(0.4, rel=0.05)
    table["parallax"] = 0.5 + error * rng.standard_normal(20_000)  # one distance
    assert parallax_spread(table) < 0.1
