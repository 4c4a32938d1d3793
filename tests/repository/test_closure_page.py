"""docs/closure.md and docs/closure_trials.md: their tables are those that the files of results give."""

import json
import re

import pytest
import write_closure_page as closure_page


@pytest.fixture(scope="module")
def page():
    return closure_page.TRIALS_PAGE.read_text(encoding="utf-8")


@pytest.fixture
def numbers():
    return json.loads(closure_page.NUMBERS.read_text(encoding="utf-8"))


def blocks(page):
    """Text of each block by name."""
    return dict(re.findall(r"<!-- ([^:]+): begin[^\n]*-->\n(.*?)<!-- \1: end -->", page, flags=re.DOTALL))


def test_page_is_what_its_numbers_say(page, numbers):
    assert closure_page.fill(page, numbers) == page
    assert not re.search(r"\b(nan|None|inf)\b", page)


def test_every_table_is_written(page, numbers):
    """Each block is there once; none keeps what somebody wrote by hand."""
    found = blocks(page)
    assert len(found) == len(re.findall(r"<!-- .*: begin", page)) > 5
    spoilt = re.sub(r"(begin[^\n]*-->\n).*?(<!-- [^\n]*: end -->)", r"\1by hand\n\2", page, flags=re.DOTALL)
    assert spoilt.count("\nby hand\n") == len(found)
    assert closure_page.fill(spoilt, numbers) == page


def test_the_suite_s_table_is_what_the_suite_found():
    page = closure_page.PAGE.read_text(encoding="utf-8")
    assert list(blocks(page)) == ["stress", "recipe", "causes", "distances"] and not re.search(
        r"\b(nan|None|inf)\b", page
    )
    text = closure_page.stress(closure_page.stress_results(), closure_page.stress_before())
    assert closure_page.replace_block(page, "stress", text) == page


def test_the_table_of_distances_is_what_its_file_says_and_marks_what_misses():
    page = closure_page.PAGE.read_text(encoding="utf-8")
    found = json.loads(closure_page.DISTANCES.read_text(encoding="utf-8"))
    text = closure_page.distances(found)
    assert closure_page.replace_block(page, "distances", text) == page
    by_ks = found["calibrated"]["distance"]["k_mag"]
    inside = next(one for one in by_ks if 65 <= one["within_68"] <= 71)
    inside["within_68"] = 59.94
    spoilt = closure_page.distances(found)
    assert "**59.9**" in spoilt and text.count("**") + 2 == spoilt.count("**")
    count = re.compile(r"(\d+) of the 30 bins")
    assert int(count.search(spoilt)[1]) == int(count.search(text)[1]) - 1


def test_the_tables_of_the_papers_recipe_are_what_its_file_says():
    page = closure_page.PAGE.read_text(encoding="utf-8")
    found = json.loads(closure_page.RECIPE.read_text(encoding="utf-8"))
    for name, write in (("recipe", closure_page.recipe), ("causes", closure_page.causes)):
        assert closure_page.replace_block(page, name, write(found)) == page
    trained = {name for name, result in found.items() if result["trial"]["recipe"] == "paper"}
    assert "clean_paper" in trained
    wanted = trained & {row[0] for row in closure_page.RECIPE_ROWS}
    assert len(closure_page.table("head", []).splitlines()) + len(wanted) == sum(
        line.startswith("|") for line in closure_page.recipe(found).splitlines()
    )
    found["clean_paper"]["true_mean_uas"] += 10.0
    off = found["clean_paper"]["value_uas"] - found["clean_paper"]["true_mean_uas"]
    assert f"| {off:+.1f} |" in closure_page.recipe(found)


def test_another_result_is_another_page(page, numbers):
    numbers["refit_52.3"]["value_uas"] += 1.0
    changed = blocks(closure_page.fill(page, numbers))
    different = {name for name, text in blocks(page).items() if changed[name] != text}
    assert "zero points" in different and "kepler" not in different


def test_draws_of_one_universe_are_told_with_their_scatter():
    values = (-3.0, 1.0, 5.0, 13.0)
    found = [
        {"universe": "part", "seed": 10 + i, "difference_uas": value, "error_uas": 6.0}
        for i, value in enumerate(values)
    ]
    text = closure_page.drawn_often(found)
    assert "drawn 4 times more" in text and "(seeds 10 to 13)" in text and "-3.0, +1.0, +5.0, +13.0 uas" in text
    assert "mean +4.0 ± 3.4, scatter 6.8, quoted error 6.0; 3 within one quoted error, 3 within two" in text
    assert closure_page.drawn_often(found[:1]) == ""


def test_the_suites_table_says_what_is_beyond_its_limits():
    run = {"universe": "base", "what": "the survey", "zero_point": "falling", "base": True, "seed": 0, "stars": 9000}
    good = {"refused": False, "passed": True, "difference_uas": 1.0, "error_uas": 2.0, "pull": 0.5}
    good["slope_difference_uas_per_mag"] = -0.5
    bad = {"passed": False, "difference_uas": -9.0, "pull": -4.5}
    runs = [run | good, run | good | {"seed": 1} | bad, run | {"seed": 2, "refused": True, "passed": True}]
    before = {("base", "falling", 0): {"refused": False, "difference_uas": -22.0, "error_uas": 1.4}}
    text = closure_page.stress({"runs": runs}, before)
    assert "| 9,000 | -22.0 ± 1.4 | +1.0 ± 2.0; -0.5 | **-9.0 ± 2.0; -0.5** | refused |" in text
    assert "1 of 2 fits are within their limits; 50 % have the truth within one quoted error, 50 % within two" in text
    assert "median difference is -4.0 uas" in text and "kept" not in text
    assert "| 9,000 | - | +1.0" in closure_page.stress({"runs": runs}, {})
