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


def test_another_result_is_another_page(page, numbers):
    numbers["refit_52.3"]["value_uas"] += 1.0
    changed = blocks(closure_page.fill(page, numbers))
    different = {name for name, text in blocks(page).items() if changed[name] != text}
    assert "zero points" in different and "kepler" not in different
