"""Damaged and odd input, kind by kind: the row in question has its status and reason, and no other row changes."""

from __future__ import annotations

import os
import re
import shutil
import warnings
from collections import namedtuple
from dataclasses import dataclass
from pathlib import Path

import damaged_tables
import numpy as np
import pytest
import tiny_survey as tiny
from astropy.table import Table, vstack
from damaged_spectra import KINDS

from apogaia.distances.catalogue import Flags, build_catalogue
from apogaia.files import write_json
from apogaia.formats import survey_tables
from apogaia.formats.apstar import Status
from apogaia.formats.fits_columns import ReductionError
from apogaia.formats.releases import RELEASES
from apogaia.reduction import reduce as reduction
from apogaia.reduction.quality_cuts import select
from apogaia.reduction.reduce import reduce_survey
from apogaia.reduction.stars_h5 import open_stars
from apogaia.survey import load_survey
from apogaia.workspace import Workspace

STAR = 17  # three visits; no fault in the tiny survey
INFERENCE = load_survey("smoke").inference
Prediction = namedtuple("Prediction", "fakemag model_error predictive_error total_error")


@dataclass(frozen=True)
class Product:
    """What stars.h5 holds, in memory."""

    table: Table
    spectra: np.ndarray

    @staticmethod
    def read(path: Path) -> Product:
        with open_stars(path) as stars:
            return Product(stars.table, stars.spectra[:])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The survey as it is, its product, and its folder."""
    survey, workspace = tiny.write_tiny_survey(tmp_path_factory.mktemp("whole"))
    kept = STAR, damaged_tables.STAR, *tiny.REPEATED, tiny.CUT  # fewer spectra take less time
    table = survey_tables.read_allstar(workspace.allstar)
    for star in set(range(tiny.N_STARS)) - set(kept):
        spectrum_of(workspace, star, table).unlink(missing_ok=True)
    return survey, workspace, Product.read(reduce_survey(survey, workspace, processes=1, progress=False))


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
        return Product.read(reduce_survey(workspace.survey, workspace, processes=1, progress=False))


def same(before: Product, after: Product, rows: np.ndarray, but: tuple = (), spectra: bool = True) -> None:
    """Rows are equal to the byte, in every column (but some) and in the spectrum."""
    assert not spectra or before.spectra[rows].tobytes() == after.spectra[rows].tobytes()
    for name in before.table.colnames:
        one, other = (np.asarray(product.table[name])[rows] for product in (before, after))
        if name not in but:
            assert one.tolist() == other.tolist() if one.dtype.kind == "U" else one.tobytes() == other.tobytes(), name


def spectrum_of(workspace: Workspace, star: int, table) -> Path:
    return workspace.apstar(str(table["apogee_id"][star]), int(table["location_id"][star]))


ROWS = np.arange(tiny.N_STARS)


# --- spectra ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """A survey with one star for each kind of damage, and whole ones between them; with and without damage."""
    survey, rng = tiny.tiny_survey(), np.random.default_rng(3)
    n = len(KINDS) * 5 // 4 + 1
    victims = dict(zip((i for i in range(n) if i % 5), KINDS, strict=False))
    assert len(victims) == len(KINDS)
    allstar = {name: np.repeat(values[STAR : STAR + 1], n) for name, values in tiny.columns(rng).items()}
    allstar["APOGEE_ID"] = np.array([f"2M{i:08d}+{i:07d}" for i in range(n)])
    spectra = [tiny.spectrum(rng) for _ in range(7)]
    gaia = tiny.gaia_columns(tiny.columns(rng), rng)
    workspaces = [Workspace(survey, tmp_path_factory.mktemp(name)) for name in ("undamaged", "damaged")]
    for workspace in workspaces:
        tiny.write_raw_tables(workspace, allstar, gaia)
        write_json(workspace.raw_manifest, {})
    for i, apogee_id in enumerate(allstar["APOGEE_ID"]):
        path, other = (workspace.apstar(str(apogee_id), int(allstar["LOCATION_ID"][i])) for workspace in workspaces)
        tiny.write_apstar(path, str(apogee_id), *spectra[i % 7], visits=3, unread_rows=1)
        other.parent.mkdir(parents=True, exist_ok=True)
        os.link(path, other)
        if i in victims:
            victims[i].damage(own(other))
    before, after = (reduce(workspace) for workspace in workspaces)
    return before, after, {kind.name: row for row, kind in victims.items()}


def test_undamaged_spectra_are_as_in_an_undamaged_survey(zoo):
    before, after, victims = zoo
    assert (before.table["status"] == 0).all()
    rest = ~np.isin(np.arange(len(before.table)), list(victims.values()))
    assert rest.sum() > 20
    same(before, after, rest)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_damaged_spectrum_is_a_flagged_row(zoo, kind):
    before, after, victims = zoo
    star = victims[kind.name]
    status, reason = Status(after.table["status"][star]), str(after.table["reason"][star])
    assert status == kind.status, reason
    if status == Status.OK:
        assert reason == ""
        np.testing.assert_array_equal(np.isfinite(after.spectra[star]), True)
        if kind.tolerance is not None:
            np.testing.assert_allclose(after.spectra[star], before.spectra[star], rtol=0, atol=kind.tolerance)
    else:
        assert np.isnan(after.spectra[star]).all()
        assert reason.startswith(f"apStar-r8-{before.table['apogee_id'][star]}.fits: {status.reason}")
        assert "/" not in reason
        assert re.search(kind.says, reason)


ALIKE = [  # what cannot be told apart in the file
    {"cut between HDU 2 and 3", "no HDU 3 or later"},
    {"no OBJID", "OBJID without a value"},
    {"no NVISITS", "a single visit's file"},
    {"flux negative", "flux with its bytes swapped"},
    {"errors 1e10", "errors infinite"},
    {"a flipped bit in HDU 3 with a checksum", "a checksum that is no number"},
]


def test_reasons_tell_kinds_apart(zoo):
    _, after, victims = zoo
    groups = {}
    for kind in KINDS:
        if kind.status:
            reason = str(after.table["reason"][victims[kind.name]]).partition(": ")[2]
            groups.setdefault(re.sub(r"\d+ masked", "", reason), set()).add(kind.name)
    assert [names for names in groups.values() if len(names) > 1] == ALIKE


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


def test_many_damaged_spectra_leave_the_last_as_it_was(whole, copy):
    _, _, before = whole
    for star in ROWS[ROWS != STAR]:
        spectrum_of(copy, star, before.table).unlink(missing_ok=True)
    after = reduce(copy)
    assert np.flatnonzero(after.table["status"] == 0).tolist() == [STAR]
    same(before, after, ROWS == STAR)


# --- tables -----------------------------------------------------------------------------------------------------------


def flags_of(product: Product, luminosity: np.ndarray) -> np.ndarray:
    error = 0.05 * luminosity
    made_up = Prediction(luminosity, error, error, np.hypot(error, error))
    return np.asarray(build_catalogue(product.table, made_up, 0.0, INFERENCE)["flags"])


def trains(product: Product, star: int, survey) -> bool:
    samples = select(product.table, survey)
    assert star not in samples.test
    return star in samples.training


@pytest.mark.parametrize("kind", damaged_tables.ROWS, ids=lambda kind: kind.name)
def test_a_damaged_row_is_unknown_and_flagged(whole, copy, kind):
    survey, _, before = whole
    star = damaged_tables.STAR
    path = own(getattr(copy, kind.table))
    table = Table.read(path)
    row = int(np.flatnonzero(table["source_id"] == damaged_tables.SOURCE)[0]) if kind.table == "gaia" else star
    with np.errstate(invalid="ignore"):
        changed = kind.change(table, row)
        (table if changed is None else changed).write(path, overwrite=True)
    after = reduce(copy)
    same(before, after, star != ROWS)
    for name, value in kind.becomes.items():
        expected = before.table[name][star] if value == "same" else value
        np.testing.assert_array_equal(after.table[name][star], expected, err_msg=name)
    same(before, after, star == ROWS, but=(*kind.becomes, *kind.columns), spectra="status" not in kind.becomes)
    assert re.search(kind.says, after.table["reason"][star]) and bool(kind.says) == bool(after.table["reason"][star])

    luminosity = np.nan_to_num(np.asarray(before.table["fakemag"]), nan=20.0)
    assert trains(before, star, survey)
    assert trains(after, star, survey) == kind.trains
    changed = flags_of(before, luminosity) ^ flags_of(after, luminosity)
    assert Flags(int(changed[star])) == kind.flags and not changed[star != ROWS].any()


@pytest.mark.parametrize("kind", damaged_tables.WHOLES, ids=lambda kind: kind.name)
def test_a_damaged_table_is_refused_and_an_odd_one_read(whole, copy, kind):
    _, _, before = whole
    path = own(getattr(copy, kind.table))
    kind.change(path)
    if kind.error:
        with pytest.raises(ReductionError, match=kind.error) as caught:
            reduce(copy)
        assert path.name in str(caught.value) and not copy.stars.exists()
    else:
        after = reduce(copy)
        same(before, after, ROWS >= 0, but=kind.columns)
        for name in kind.columns:
            unknown = np.asarray(after.table[name])
            assert (unknown == "").all() if unknown.dtype.kind == "U" else np.isnan(unknown).all()


@pytest.mark.parametrize(
    ("name", "status", "reason"),
    [
        ("", Status.NO_FILE, "APOGEE_ID is empty: the star's apStar file cannot be located"),
        ("2M\xc9", Status.NO_FILE, "apStar-r8-2M\ufffd.fits: there is no apStar file"),
        ("../../../../2M1", Status.NO_FILE, "2M1.fits: there is no apStar file"),
        ("2M" + 300 * "0", Status.UNREADABLE, "File name too long"),
    ],
    ids=["empty", "not ASCII", "a path", "too long"],
)
def test_an_impossible_name_is_a_flagged_row(whole, copy, name, status, reason):
    _, _, before = whole
    star = damaged_tables.STAR
    for path in (copy.allstar, copy.stellar_parameters):
        table = Table.read(own(path))
        names = np.asarray(table["APOGEE_ID"]).astype("U310")
        names[star] = name
        table["APOGEE_ID"] = np.char.encode(names, "latin-1")
        table.write(path, overwrite=True)
    after = reduce(copy)
    same(before, after, star != ROWS)
    assert after.table["status"][star] == status and after.table["reason"][star].endswith((reason, reason + ")"))
    assert after.table["apogee_id"][star] == name.replace("\xc9", "\ufffd")


def test_a_name_in_utf_8_and_with_blanks_finds_its_file(whole, copy):
    _, _, before = whole
    star, name = damaged_tables.STAR, "Größer als alles %1 $x"
    spectrum = spectrum_of(copy, star, before.table)
    spectrum.rename(copy.apstar(name, int(before.table["location_id"][star])))
    for path in (copy.allstar, copy.stellar_parameters):
        table = Table.read(own(path))
        names = np.asarray(table["APOGEE_ID"]).astype("U40")
        names[star] = name
        table["APOGEE_ID"] = np.char.encode(names, "utf-8")
        table.write(path, overwrite=True)
    after = reduce(copy)
    same(before, after, ROWS >= 0, but=("apogee_id", "spectrum_file"))
    assert after.table["apogee_id"][star] == name


@pytest.mark.parametrize("field", [4400, 4401], ids=["twice the same row", "two fields"])
def test_a_star_listed_twice_keeps_both_rows_and_one_is_flagged(whole, copy, field):
    survey, _, before = whole
    star = damaged_tables.STAR
    for path in (copy.allstar, copy.stellar_parameters):
        table = Table.read(own(path))
        table = vstack([table, table[star : star + 1]])
        if path == copy.allstar:
            table["LOCATION_ID"][-1], table["SNR"][-1] = field, table["SNR"][star] - (field - 4400)
        table.write(path, overwrite=True)
    twin = copy.apstar(str(before.table["apogee_id"][star]), field)
    if field != 4400:
        twin.parent.mkdir(exist_ok=True)
        shutil.copy(spectrum_of(copy, star, before.table), twin)
    after = reduce(copy)
    same(before, Product(after.table[: tiny.N_STARS], after.spectra[: tiny.N_STARS]), ROWS >= 0)
    np.testing.assert_allclose(after.spectra[-1], after.spectra[star], rtol=1e-6)
    assert after.table["gaia_source_id"][-1] == after.table["gaia_source_id"][star]
    repeated = flags_of(after, np.full(tiny.N_STARS + 1, 20.0)) & Flags.REPEATED_STAR != 0
    assert np.flatnonzero(repeated).tolist() == [tiny.REPEATED[1], tiny.N_STARS]
    samples = select(after.table, survey)
    assert not np.isin(after.table["apogee_id"][samples.test], after.table["apogee_id"][samples.training]).any()


def test_a_lost_folder_is_told_by_its_column():
    """Spectra lie in folders called by FIELD from DR17 on, where LOCATION_ID 0 says nothing."""
    columns = {"apogee_id": ["2M1", "2M1", "", "2M1"], "location_id": [0, 5, 5, 0], "field": ["M13", "", "", ""]}
    table = Table(columns | {"status": [1, 1, 1, 5], "reason": 4 * ["as read"]})
    said = reduction._reasons(table, RELEASES["dr17"]).tolist()
    assert said[0] == said[3] == "as read"
    assert said[1].startswith("FIELD is unknown") and said[2].startswith("APOGEE_ID is empty")
    assert reduction._reasons(table, RELEASES["dr14"])[0].startswith("LOCATION_ID is unknown")
