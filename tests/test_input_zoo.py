"""Damaged and odd input, kind by kind: the row in question has its status and reason, and no other row changes."""

from __future__ import annotations

import os
import re
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import tiny_survey as tiny
from damaged_spectra import KINDS

from apogaia import reduction
from apogaia.reduction import open_stars, reduce_survey
from apogaia.spectra import Status
from apogaia.workspace import Workspace

STAR = 17  # above: three visits, below the SNR split; no fault in the tiny survey


class Product:
    """What stars.h5 holds, in memory."""

    def __init__(self, path: Path):
        with open_stars(path) as stars:
            self.table, self.spectra = stars.table, stars.spectra[:]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The survey as it is, its product, and its folder."""
    survey, workspace = tiny.write_tiny_survey(tmp_path_factory.mktemp("whole"))
    return survey, workspace, Product(reduce_survey(survey, workspace, processes=1, progress=False))


@pytest.fixture
def copy(whole, tmp_path):
    """A copy of the survey's raw files; all are links, which `own` replaces."""
    survey, workspace, _ = whole
    mine = Workspace(survey, tmp_path)
    shutil.copytree(workspace.raw, mine.raw, copy_function=os.link)
    return mine


def own(path: Path) -> Path:
    """Make a link to the undamaged survey's file a file of its own."""
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)
    return path


def reduce(workspace: Workspace) -> Product:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of damage: nobody reads warnings of 277,371 files
        return Product(reduce_survey(workspace.survey, workspace, processes=1, progress=False))


def same(before: Product, after: Product, rows: np.ndarray, but: tuple = ()) -> None:
    """Rows are equal to the byte, in every column and in the spectrum."""
    assert before.spectra[rows].tobytes() == after.spectra[rows].tobytes()
    for name in before.table.colnames:
        one, other = (np.asarray(product.table[name])[rows] for product in (before, after))
        if name not in but:
            assert one.tolist() == other.tolist() if one.dtype.kind == "U" else one.tobytes() == other.tobytes(), name


def spectrum_of(workspace: Workspace, star: int, table) -> Path:
    return workspace.apstar(str(table["apogee_id"][star]), int(table["location_id"][star]))


ROWS = np.arange(tiny.N_STARS)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_damaged_spectrum_is_a_flagged_row(whole, copy, kind):
    _, _, before = whole
    path = spectrum_of(copy, STAR, before.table)
    kind.damage(own(path))
    after = reduce(copy)
    same(before, after, ROWS != STAR)
    status, reason = Status(after.table["status"][STAR]), str(after.table["reason"][STAR])
    assert status == kind.status, reason
    if status == Status.OK:
        assert reason == ""
        same(before, after, ROWS != -1) if kind.tolerance == 0 else np.isfinite(after.spectra[STAR]).all()
        if kind.tolerance:
            np.testing.assert_allclose(after.spectra[STAR], before.spectra[STAR], atol=kind.tolerance)
    else:
        assert np.isnan(after.spectra[STAR]).all()
        assert reason.startswith(f"{path.name}: {status.reason}")
        assert str(copy.root) not in reason and "/" not in reason
        assert re.search(kind.says, reason)


ALIKE = [  # what cannot be told apart in the file
    {"cut between HDU 2 and 3", "no HDU 3 or later"},
    {"no OBJID", "OBJID without a value"},
    {"no NVISITS", "a single visit's file"},
    {"flux negative", "flux with its bytes swapped"},
    {"errors 1e10", "errors infinite"},
    {"a flipped bit in HDU 3 with a checksum", "a checksum that is no number"},
]


def test_reasons_tell_kinds_apart(whole, tmp_path):
    survey, workspace, before = whole
    path = spectrum_of(workspace, STAR, before.table)
    kinds = [kind for kind in KINDS if kind.status]
    paths = [tmp_path / str(i) / path.name for i in range(len(kinds))]
    for damaged, kind in zip(paths, kinds, strict=True):
        damaged.parent.mkdir()
        shutil.copy(path, damaged)
        kind.damage(damaged)
    _, _, reasons = reduction.reduce_spectra(paths, survey.spectra)
    groups = {
        reason: {k.name for k, other in zip(kinds, reasons, strict=True) if other == reason} for reason in reasons
    }
    assert [names for names in groups.values() if len(names) > 1] == ALIKE
    assert len(KINDS) > 90


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("whose", ["file", "folder"])
def test_a_spectrum_that_may_not_be_read(whole, copy, whose):
    _, _, before = whole
    path = spectrum_of(copy, STAR, before.table)
    rows = ROWS != STAR
    if whose == "folder":
        path = path.parent
        rows = np.asarray(before.table["location_id"]) != before.table["location_id"][STAR]
    else:
        own(path)
    path.chmod(0)
    try:
        after = reduce(copy)
    finally:
        path.chmod(0o755)
    same(before, after, rows)
    assert after.table["status"][STAR] == Status.UNREADABLE
    assert "no permission to read it" in after.table["reason"][STAR]
