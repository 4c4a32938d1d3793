"""What users hold becomes plain numbers, whole numbers, texts and paths, or is refused by name."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from astropy import units as u
from astropy.table import Column, MaskedColumn, Table
from astropy.utils.masked import Masked

from apogaia.arguments import plain

NAN = np.nan


def numbers(values, unit=u.mas):
    return plain.numbers(values, unit, "f: x")


@pytest.mark.parametrize(
    "values", [1.5, 2, True, np.float32(3), np.arange(3), np.ones((2, 2), np.float32), np.array(1.0)]
)
def test_plain_numbers_stay_as_they_are(values):
    assert numbers(values) is values


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (None, NAN),
        (np.ma.masked, NAN),
        ([], []),
        ([1, 2], [1, 2]),
        ([1.0, None], [1, NAN]),
        ([[1, 2], (3, None)], [[1, 2], [3, NAN]]),
        ([np.ma.array([1.0, 2.0], mask=[True, False]), [3, 4]], [[NAN, 2], [3, 4]]),
        (np.ma.array([1, 2], mask=[True, False]), [NAN, 2]),
        (np.array([1, None], dtype=object), [1, NAN]),
        (np.array([1.0, 2.0], ">f4"), [1, 2]),
        (np.array([b"1.5", b"2"]), [1.5, 2]),
        ("1.5", 1.5),
        (Column([1, 2]), [1, 2]),
        (Column([1, 2], unit="arcsec"), [1000, 2000]),
        (MaskedColumn([1, 2], mask=[True, False], unit="arcsec"), [NAN, 2000]),
        (0.1 * u.arcsec, 100),
        ([0.1 * u.arcsec, 3 * u.mas, 4.0, None], [100, 3, 4, NAN]),
        (np.array([1 * u.arcsec, None], dtype=object), [1000, NAN]),
        (Masked([1.0, 2.0] * u.arcsec, mask=[True, False]), [NAN, 2000]),
    ],
)
def test_numbers(values, expected):
    found = numbers(values)
    assert type(found) in (np.ndarray, np.float64) and found.dtype.isnative
    np.testing.assert_allclose(found, expected)


def test_numbers_of_pandas():
    pandas = pytest.importorskip("pandas")
    for values in (
        pandas.Series([1, None], dtype="Int64"),
        pandas.Series([1, None], dtype="Float64"),
        pandas.Series([1.0, None]),
        pandas.Series([1, pandas.NA], dtype=object),
        pandas.Series(["1", None]),
        pandas.Series([1, None], dtype="Int64").array,
    ):
        np.testing.assert_array_equal(numbers(values), [1, NAN])
    assert np.isnan(numbers(pandas.NA))
    frame = pandas.DataFrame({"a": [1, 2], "b": pandas.array([3, None], dtype="Int64")})
    np.testing.assert_array_equal(numbers(frame), [[1, 3], [2, NAN]])


def test_single_precision_stays_single():
    assert numbers(np.ma.array(np.ones(2, np.float32), mask=[True, False])).dtype == np.float32
    assert numbers(np.ones(2, np.float32) * u.arcsec).dtype == np.float32


def test_magnitudes_and_logarithms():
    assert numbers(5 * u.mag, u.mag) == numbers(u.Magnitude(5.0), u.mag) == 5
    assert numbers(Column([0.1], unit=""), u.dex) == numbers(0.1 * u.dex, u.dex) == 0.1  # [Fe/H] often has no unit


def test_any_unit_is_kept_and_mixed_units_are_made_one():
    assert plain.any_unit(3 * u.mas, "x") == 3
    np.testing.assert_allclose(plain.any_unit([3 * u.mas, 1 * u.arcsec], "x"), [3, 1000])


@pytest.mark.parametrize(
    "values", [1 * u.s, Column([1.0], unit="no_such_unit"), [1 * u.pc], 1 * u.dimensionless_unscaled]
)
def test_units_that_do_not_convert(values):
    with pytest.raises(u.UnitConversionError, match=r"^f: x is in .* must be in mas"):
        numbers(values)
    with pytest.raises(u.UnitConversionError, match="without a unit"):
        numbers(5 * u.mag, u.dimensionless_unscaled)


@pytest.mark.parametrize(
    "values", ["abc", ["abc"], b"abc", {"a": 1}, object(), 1j, np.array(["2020"], "M8[Y]"), [[1], [2, 3]]]
)
def test_what_is_no_number(values):
    with pytest.raises((TypeError, ValueError), match=r"^f: x\b"):
        numbers(values)


def test_what_is_read_on_demand_passes(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        dataset = file.create_dataset("x", data=[1.0, 2.0])
        assert numbers(dataset) is dataset


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([1, 2], ">i4"), [1, 2]),
        (np.ma.array([1, 2**62 + 1], mask=[True, False]), [-1, 2**62 + 1]),  # more digits than a float has
        ([1, None], [1, -1]),
        (np.array([1.0, NAN]), [1, -1]),
        (np.array([True, False]), [1, 0]),
        (Column([3, 4], unit=""), [3, 4]),
    ],
)
def test_whole_numbers(values, expected):
    found = plain.bit_mask(values, "x")
    assert found.dtype.kind == "i" and found.dtype.isnative and found.tolist() == expected


@pytest.mark.parametrize("values", [np.array([1.5]), "a", [1, "a"]])
def test_what_is_no_whole_number(values):
    with pytest.raises(ValueError, match="x must be whole numbers"):
        plain.whole(0)(values, "x")


def test_texts():
    assert plain.texts(np.ma.array(["a", "b"], mask=[True, False]), "x").tolist() == ["", "b"]
    assert plain.texts(np.array([b"a", b"b"]), "x").tolist() == ["a", "b"]
    assert plain.texts(np.array(["a", None, b"c"], dtype=object), "x").tolist() == ["a", "", "c"]
    assert plain.texts([12, 13], "x").tolist() == ["12", "13"]
    for bad in ([1.5], [None, 1.5]):
        with pytest.raises(TypeError, match="x must be strings"):
            plain.texts(bad, "x")


def test_a_plain_table_is_not_copied_and_another_is_left_as_it_was():
    columns = plain.Columns(dist=u.pc)
    table = Table({"dist": [1.0, 2.0], "name": ["a", "b"]})
    assert columns(table, "table") is table and columns(None, "table") is None
    table["dist"].unit = "kpc"
    made = columns(table, "table")
    assert made["dist"].tolist() == [1000, 2000] and made["dist"].unit == u.pc and made["name"].tolist() == ["a", "b"]
    assert table["dist"].tolist() == [1, 2] and table["dist"].unit == u.kpc
    assert columns({"dist": [1, None]}, "table")["dist"].tolist()[0] == 1
    structured = np.array([(1.0, 2)], dtype=[("dist", ">f8"), ("n", "i4")])
    assert columns(structured, "table")["dist"].dtype.isnative


def test_paths():
    assert plain.file_path("a", "x") == plain.file_path(Path("a"), "x") == Path("a")
    assert plain.file_paths("a", "x") == [Path("a")]
    assert plain.file_paths(iter(["a", Path("b")]), "x") == [Path("a"), Path("b")]
    for bad in (None, 1, b"a", ["a"]):
        with pytest.raises(TypeError, match=r"^x must be a path"):
            plain.file_path(bad, "x")
    for bad in (None, 1, b"a", [1]):
        with pytest.raises(TypeError, match=r"^x"):
            plain.file_paths(bad, "x")
