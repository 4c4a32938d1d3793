"""docs/closure.md: its tables are those that docs/closure/numbers.json gives."""

import json
import re

import pytest
import write_closure_page as closure_page


@pytest.fixture(scope="module")
def page():
    return closure_page.PAGE.read_text(encoding="utf-8")


@pytest.fixture
def numbers():
    return json.loads(closure_page.NUMBERS.read_text(encoding="utf-8"))


def whole(page, numbers):
    """The page with all of its tables written."""
    text = closure_page.stress(closure_page.stress_results())
    return closure_page.replace_block(closure_page.fill(page, numbers), "stress", text)


def blocks(page):
    """Text of each block by name."""
    return dict(re.findall(r"<!-- ([^:]+): begin[^\n]*-->\n(.*?)<!-- \1: end -->", page, flags=re.DOTALL))


def test_page_is_what_its_numbers_say(page, numbers):
    assert whole(page, numbers) == page
    assert not re.search(r"\b(nan|None|inf)\b", page)


def test_every_table_is_written(page, numbers):
    """Each block is there once; none keeps what somebody wrote by hand."""
    found = blocks(page)
    assert len(found) == len(re.findall(r"<!-- .*: begin", page)) > 5
    spoilt = re.sub(r"(begin[^\n]*-->\n).*?(<!-- [^\n]*: end -->)", r"\1by hand\n\2", page, flags=re.DOTALL)
    assert spoilt.count("\nby hand\n") == len(found)
    assert whole(spoilt, numbers) == page


def test_another_result_is_another_page(page, numbers):
    numbers["refit_52.3"]["value_uas"] += 1.0
    changed = blocks(closure_page.fill(page, numbers))
    different = {name for name, text in blocks(page).items() if changed[name] != text}
    assert "zero points" in different and "kepler" not in different


def test_the_suites_table_says_what_is_beyond_its_limits():
    run = {"universe": "base", "what": "the survey", "zero_point": "falling", "base": True, "seed": 0, "stars": 9}
    good = {"refused": False, "passed": True, "difference_uas": 1.0, "error_uas": 2.0}
    good["slope_difference_uas_per_mag"] = -0.5
    runs = [run | good, run | good | {"seed": 1, "passed": False, "difference_uas": -9.0}, run | {"refused": True}]
    found = {
        "runs": runs,
        "passed": 2,
        "number": 3,
        "within_one_error_percent": 50.0,
        "within_two_errors_percent": 50.0,
    }
    text = closure_page.stress(found)
    assert "seed 0, 9 stars: +1.0 ± 2.0, -0.5<br>seed 1, 9 stars: -9.0 ± 2.0, -0.5 (beyond)<br>" in text
    assert "9 stars: is refused |" in text and "2 of 3 runs are within their limits" in text
