"""docs/labels.md: its table is what the run at the paper's size found."""

import json

import pytest
import write_labels_page as labels_page


@pytest.fixture
def text():
    return labels_page.PAGE.read_text(encoding="utf-8")


def test_the_page_is_what_its_numbers_say(text):
    assert labels_page.page(text) == text
    assert "| [Mg/H] |" in text and "nan" not in text and "None" not in text


def test_a_changed_number_changes_its_row(text, monkeypatch, tmp_path):
    numbers = json.loads(labels_page.NUMBERS.read_text(encoding="utf-8"))
    numbers["recovery"]["mg_h"]["scatter"] = 0.777
    numbers["coverage"]["snr"][7][0] = None  # a bin of few stars
    monkeypatch.setattr(labels_page, "NUMBERS", tmp_path / "labels.json")
    labels_page.NUMBERS.write_text(json.dumps(numbers), encoding="utf-8")
    changed = labels_page.page(text)
    assert next(line for line in changed.splitlines() if "0.777" in line).startswith("| [Mg/H] |")
