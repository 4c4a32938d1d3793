"""A full run's numbers of stars against the published ones."""

from dataclasses import replace

import pytest

from apogaia.reduction.published_counts import CountsError, check_counts
from apogaia.survey import load_survey

DR14 = load_survey("dr14")
PAPER = {"rows": 277_371, "with_parallax_and_ks": 265_761, "training": 35_112, "test": 33_468}


def test_the_papers_counts_pass_and_are_shown():
    table = check_counts(PAPER, DR14)
    assert table["found"].tolist() == table["published"].tolist() == list(PAPER.values())


def test_a_few_stars_more_or_less_pass_but_not_one_row():
    check_counts(PAPER | {"training": 35_812}, DR14)
    with pytest.raises(CountsError, match=r"rows: 277370 instead of 277371"):
        check_counts(PAPER | {"rows": 277_370}, DR14)


@pytest.mark.parametrize("name", ["with_parallax_and_ks", "training", "test"])
def test_a_twentieth_of_the_stars_missing_is_an_error(name):
    with pytest.raises(CountsError, match=rf"{name}: \d+ instead of {PAPER[name]}"):
        check_counts(PAPER | {name: int(0.95 * PAPER[name])}, DR14)


def test_a_limited_fetch_is_held_to_its_rows_alone():
    assert len(check_counts(PAPER | {"training": 12, "test": 9}, DR14, limit=100)) == 1


def test_surveys_of_ones_own_are_held_to_nothing():
    assert check_counts({"rows": 5}, load_survey("smoke")) is None
    free = replace(DR14, counts=replace(DR14.counts, asserted=False))
    assert check_counts({"rows": 5}, free) is None
