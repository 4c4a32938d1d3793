"""Streamed tables: what is unknown, which files are read or refused, and whether the advice of messages works."""

import ast
import bz2
import gzip
import itertools
import lzma
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import MaskedColumn, Table

from apogaia.formats import streamed_tables
from apogaia.formats.streamed_tables import NewColumn, TableFormatError, open_table
from apogaia.zero_point import gaia_tables

N = 8
NEW = (NewColumn("new", "f4", "mas", "a number"), NewColumn("bits", "u1", "", "a flag"))
PLACEHOLDERS = [1e20, -9999, -9999.99, np.nan, np.inf, -np.inf, -1e30, 3.4e38]


def source() -> Table:
    return Table(
        {
            "source_id": np.arange(N) + 2**60,
            "name": [f'star, "{i}"' for i in range(N)],
            "bp_rp": np.linspace(1, 2, N).astype("f4"),
            "teff": np.linspace(4000, 4700, N),
        }
    )


def write(table: Table, path: Path) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.table({name: np.asarray(table[name]) for name in table.colnames}), path)
    else:
        formats = {".fits": "fits", ".csv": "ascii.csv", ".ecsv": "ascii.ecsv"}
        table.write(path, format=formats[path.suffix], overwrite=True)
    return path


def numbers(path: Path, *names: str, chunk: int = 3) -> list[np.ndarray]:
    pieces = list(open_table(path).numbers(names, chunk))
    return [np.concatenate(column) for column in zip(*pieces, strict=True)]


def with_new(path: Path, output: Path, chunk: int = 3) -> Path:
    """The table with two columns added: the row's number, unknown in row 1, and a flag."""
    table = open_table(path)
    n_rows = sum(len(piece[0]) for piece in table.numbers(["teff"], chunk))
    added = np.zeros(n_rows, [("new", "f4"), ("bits", "u1")])
    added["new"], added["bits"] = np.arange(n_rows), np.arange(n_rows) % 3
    added["new"][1] = np.nan
    table.write(output, (added[i : i + chunk] for i in range(0, n_rows, chunk)), NEW, {"version": "0"}, chunk)
    return output


def fails(path: Path, *parts: str) -> str:
    """The table's message, which names the file."""
    with pytest.raises(TableFormatError) as caught:
        table = open_table(path)
        list(table.numbers([name for name in ("bp_rp", "teff") if name in table.column_names], 3))
    message = str(caught.value)
    assert str(path) in message and "\n" not in message
    for part in parts:
        assert part in message
    return message


# --- unknown ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["parquet", "fits", "csv", "ecsv"])
@pytest.mark.parametrize("kind", ["f4", "f8"])
def test_placeholders_are_unknown_in_every_format(tmp_path, suffix, kind):
    table = source()
    with np.errstate(over="ignore"):
        table["teff"] = np.array(PLACEHOLDERS).astype(kind)
    (teff, bp_rp) = numbers(write(table, tmp_path / f"t.{suffix}"), "teff", "bp_rp")
    assert np.isnan(teff).all()
    np.testing.assert_array_equal(bp_rp.astype("f4"), table["bp_rp"])


@pytest.mark.parametrize("kind", ["i2", "i4", "i8", "u1", "u2", "u4"])
@pytest.mark.parametrize("null", [100, 101])
def test_masked_whole_numbers_are_unknown(tmp_path, kind, null):
    """TNULL in FITS, which astropy states for unsigned integers as the value itself."""
    table = source()
    table["teff"] = MaskedColumn(np.arange(100, 100 + N).astype(kind), np.arange(100, 100 + N) == null, fill_value=null)
    table.write(tmp_path / "t.fits")
    expected = np.where(np.arange(100, 100 + N) == null, np.nan, np.arange(100.0, 100 + N))
    np.testing.assert_array_equal(numbers(tmp_path / "t.fits", "teff")[0], expected)
    pq.write_table(
        pa.table({"teff": pa.array(np.arange(100, 100 + N).astype(kind), mask=np.isnan(expected))}),
        tmp_path / "t.parquet",
    )
    np.testing.assert_array_equal(numbers(tmp_path / "t.parquet", "teff")[0], expected)


def test_tnull_is_what_is_stored_and_placeholders_are_what_is_meant(tmp_path):
    stored = np.array([-9999, -32768, 20, 0], "i2")
    column = fits.Column("teff", "I", array=stored)
    hdu = fits.BinTableHDU.from_columns([column])
    hdu.header["TNULL1"], hdu.header["TSCAL1"], hdu.header["TZERO1"] = 20, 0.001, 5.0
    hdu.writeto(tmp_path / "t.fits")
    np.testing.assert_allclose(numbers(tmp_path / "t.fits", "teff")[0], [5 - 9.999, 5 - 32.768, np.nan, 5])


def test_texts_for_unknown(tmp_path):
    texts = ["null", " NULL ", "NaN", "", "--", "<NA>", "None", "-9999"]
    (tmp_path / "t.csv").write_text("teff,end\n" + "".join(f"{text},x\n" for text in texts))
    pq.write_table(pa.table({"teff": texts}), tmp_path / "t.parquet")
    pq.write_table(pa.table({"teff": pa.array(texts).dictionary_encode()}), tmp_path / "d.parquet")
    fits.BinTableHDU.from_columns([fits.Column("teff", "8A", array=np.array(texts))]).writeto(tmp_path / "t.fits")
    for name in ("t.csv", "t.parquet", "d.parquet", "t.fits"):
        (found,) = numbers(tmp_path / name, "teff")
        assert len(found) == len(texts) and np.isnan(found).all()


@pytest.mark.parametrize(
    "kind", [pa.int8(), pa.uint64(), pa.float16(), pa.decimal128(9, 2), pa.null(), pa.string_view()]
)
def test_all_kinds_of_parquet_numbers(tmp_path, kind):
    values = (
        pa.nulls(3)
        if kind == pa.null()
        else pa.array([1, 2, None], pa.int8()).cast(pa.string() if kind == pa.string_view() else pa.int8())
    )
    pq.write_table(pa.table({"teff": values.cast(kind)}), tmp_path / "t.parquet")
    expected = [np.nan] * 3 if kind == pa.null() else [1, 2, np.nan]
    np.testing.assert_array_equal(numbers(tmp_path / "t.parquet", "teff")[0], expected)


def test_least_whole_number_stands_for_unknown(tmp_path):
    pq.write_table(pa.table({"teff": [-(2**63), 2**62 + 1, 5]}), tmp_path / "t.parquet")
    np.testing.assert_array_equal(numbers(tmp_path / "t.parquet", "teff")[0], [np.nan, 2.0**62, 5])


# --- gzip -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["fits", "csv", "ecsv"])
@pytest.mark.parametrize("name", ["t.{}", "t.{}.gz", "T.{}.GZ"])
@pytest.mark.parametrize("members", [1, 3])
def test_gzip_under_any_name_is_read_whole(tmp_path, suffix, name, members):
    whole = write(source(), tmp_path / f"plain.{suffix}")
    content = whole.read_bytes()
    cuts = np.linspace(0, len(content), members + 1).astype(int)
    packed = b"".join(gzip.compress(content[a:b]) for a, b in itertools.pairwise(cuts)) + bytes(7)
    path = tmp_path / name.format(suffix)
    path.write_bytes(packed)
    for found, expected in zip(numbers(path, "teff", "bp_rp"), numbers(whole, "teff", "bp_rp"), strict=True):
        np.testing.assert_array_equal(found, expected)
    plain = with_new(whole, tmp_path / f"a.{suffix}").read_bytes()
    assert with_new(path, tmp_path / f"b.{suffix}").read_bytes() == plain
    packed_again = with_new(path, tmp_path / f"c.{suffix}.gz").read_bytes()
    assert gzip.decompress(packed_again) == plain
    assert with_new(path, tmp_path / f"d.{suffix}.gz").read_bytes() == packed_again


@pytest.mark.parametrize("suffix", ["fits", "csv", "ecsv"])
def test_gzip_that_is_not_whole_is_refused(tmp_path, suffix):
    packed = gzip.compress(write(source(), tmp_path / f"plain.{suffix}").read_bytes())
    flipped = bytearray(packed)
    flipped[-5] ^= 255  # of the check sum
    for content in (packed[:-1], packed[:-9], packed[: len(packed) // 2], packed[:12], packed + b"rubbish", flipped):
        path = tmp_path / f"t.{suffix}.gz"
        path.write_bytes(content)
        with pytest.raises(TableFormatError, match=r"t\.\w+\.gz: .*cut short"):
            with_new(path, tmp_path / f"out.{suffix}")


# --- FITS -------------------------------------------------------------------------------------------------------------


def fits_file(path: Path, *columns: fits.Column, **cards) -> Path:
    hdu = fits.BinTableHDU.from_columns(columns)
    hdu.header.update({key: 1 for key in cards if key not in hdu.header})
    hdu.writeto(path)
    content = path.read_bytes()
    for key, value in cards.items():  # written past astropy, which would refuse or mend them
        old = re.search(rf"{key:8}=.{{71}}".encode(), content)[0]
        content = content.replace(old, b" " * 80 if value is None else f"{key:8}= {value:>20}".ljust(80).encode())
    path.write_bytes(content)
    return path


TEFF = np.linspace(4000, 4500, 5)


@pytest.mark.parametrize(
    "column",
    [
        fits.Column("teff", "3E", array=np.ones((5, 3))),
        fits.Column("teff", "PE()", array=np.array([np.ones(2)] * 5, object)),
        fits.Column("teff", "L", array=np.ones(5, bool)),
        fits.Column("teff", "C", array=np.ones(5, complex)),
        fits.Column("teff", "5X", array=np.ones((5, 5), bool)),
        fits.Column("teff", "0E"),
    ],
    ids=lambda column: column.format,
)
def test_fits_columns_without_one_number_a_row_are_named(tmp_path, column):
    path = fits_file(tmp_path / "t.fits", fits.Column("bp_rp", "E", array=np.ones(5)), column)
    fails(path, "column 2 ('teff', TFORM2 =", "name another column")
    assert len(numbers(path, "bp_rp")[0]) == 5  # a column that is not needed may hold what it likes


def test_fits_texts_that_are_no_numbers(tmp_path):
    path = fits_file(tmp_path / "t.fits", fits.Column("teff", "3A", array=np.array(["red"] * 5)))
    fails(path, "column 'teff' is not a number everywhere", "'red'", "name another column")


def test_fits_columns_without_a_name_or_of_one_name(tmp_path):
    columns = [fits.Column(name, "D", array=TEFF + i) for i, name in enumerate(("a", "b", "teff"))]
    path = fits_file(tmp_path / "t.fits", *columns, TTYPE1=None, TTYPE2="'TEFF    '")
    table = open_table(path)
    assert table.column_names == ["", "TEFF", "teff"]
    np.testing.assert_array_equal(numbers(path, "teff")[0], TEFF + 2)
    with fits.open(with_new(path, tmp_path / "out.fits")) as hdus:
        assert [hdus[1].header.get(f"TTYPE{i}") for i in range(1, 6)] == [None, "TEFF", "teff", "new", "bits"]


@pytest.mark.parametrize(
    ("key", "value", "part"),
    [
        ("NAXIS1", "9", "by TFORM"),
        ("NAXIS2", "-1", ""),
        ("NAXIS2", "900", "cut short"),
        ("NAXIS2", "'many'", ""),
        ("TFIELDS", "3", "column 3"),
        ("TFIELDS", "1", "by TFORM"),
        ("TFORM2", "'real'", "column 2"),
        ("TFORM2", None, "column 2"),
        ("TSCAL2", "'2'", "column 2 ('teff'"),
        ("TSCAL2", "0", "column 2 ('teff'"),
        ("TZERO2", "T", "column 2 ('teff'"),
        ("TNULL2", "'none'", "column 2 ('teff'"),
        ("XTENSION", "'NONE    '", "no table"),
    ],
)
def test_fits_cards_that_cannot_be(tmp_path, key, value, part):
    teff = fits.Column("teff", "I", array=np.arange(5))
    path = fits_file(tmp_path / "t.fits", fits.Column("bp_rp", "E", array=np.ones(5)), teff, **{key: value})
    fails(path, part)


def test_fits_tables_of_other_kinds(tmp_path):
    fits.HDUList([fits.PrimaryHDU(np.ones(3)), fits.CompImageHDU(np.ones((9, 9), "f4"))]).writeto(tmp_path / "i.fits")
    fails(tmp_path / "i.fits", "no table")
    images = fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(np.ones((9, 9), "f4")), fits.BinTableHDU(source())])
    images.writeto(tmp_path / "both.fits")
    np.testing.assert_array_equal(numbers(tmp_path / "both.fits", "teff")[0], source()["teff"])


def test_fits_cut_short_anywhere(tmp_path):
    hdus = fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU(source()), fits.ImageHDU(np.arange(900.0))])
    hdus.writeto(tmp_path / "whole.fits")
    content = (tmp_path / "whole.fits").read_bytes()
    path = tmp_path / "t.fits"
    for size in (2000, 2880, 5000, 2880 * 2 + 50, len(content) - 2881):
        path.write_bytes(content[:size])
        fails(path)
    (tmp_path / "table.fits").write_bytes(content[: 2880 * 3 + 8 * hdus[1].header["NAXIS1"]])  # not filled to a block
    with fits.open(with_new(tmp_path / "table.fits", tmp_path / "out.fits")) as found:
        np.testing.assert_array_equal(found[1].data["teff"], source()["teff"])


# --- CSV and ECSV -----------------------------------------------------------------------------------------------------

# as in GaiaSource_*.csv.gz of DR3: YAML in blocks, commas, null for unknown
GAIA_ECSV = """\
# %ECSV 1.0
# ---
# delimiter: ','
# datatype:
# -
#   name: source_id
#   datatype: int64
#   description: 'Unique source identifier (unique within a particular Data Release)'
# -
#   name: designation
#   datatype: string
# -
#   name: bp_rp
#   datatype: float32
#   unit: mag
# -
#   name: teff
#   datatype: float32
#   unit: K
# meta:
#   description: >
#     GaiaSource, some rows
source_id,designation,bp_rp,teff
4295806720,"Gaia DR3 4295806720",1.25,null
34361129088,"Gaia DR3 34361129088",null,4215.5
38655544960,"Gaia DR3 38655544960",1.5,4300.0
"""
FLOW_ECSV = """\
# %ECSV 0.9
# ---
# delimiter: ','
# datatype: [
#   { name: bp_rp, datatype: float32 },
#   { name: teff, datatype: float32 }, # Kelvin
# ]
bp_rp,teff
1,
2,4500
3,4600
"""


def test_ecsv_as_gaia_ships_it(tmp_path):
    path = tmp_path / "GaiaSource_000000-003111.csv.gz"
    path.write_bytes(gzip.compress(GAIA_ECSV.encode()))
    bp_rp, teff = numbers(path, "bp_rp", "teff")
    np.testing.assert_array_equal(bp_rp, [1.25, np.nan, 1.5])
    np.testing.assert_array_equal(teff, [np.nan, 4215.5, 4300])
    text = gzip.decompress(with_new(path, tmp_path / "out.csv.gz").read_bytes()).decode()
    added = [line for line in text.splitlines() if line not in GAIA_ECSV.splitlines()]
    assert added[2:] == [
        *(
            f"{line},{end}"
            for line, end in zip(GAIA_ECSV.splitlines()[-4:], ("new,bits", "0,0", ",1", "2,2"), strict=True)
        )
    ]
    (tmp_path / "out.ecsv").write_text(text)
    found = Table.read(tmp_path / "out.ecsv", format="ascii.ecsv", fill_values=[("null", "0"), ("", "0")])
    assert found["new"].unit == "mas" and found["new"].dtype == "f4" and found["bits"].dtype == "u1"
    assert found["new"].meta["apogaia"] == {"version": "0"} and found["bits"].description == "a flag"
    np.testing.assert_array_equal(found["new"].filled(-1), [0, -1, 2])
    assert found["teff"].unit == "K" and found.meta["description"].startswith("GaiaSource")


@pytest.mark.parametrize("delimiter", [" ", ","])
def test_ecsv_as_astropy_writes_it(tmp_path, delimiter):
    table = source()
    table.meta["note"] = ["kept", {"as": "it is"}]
    table["teff"] = MaskedColumn(table["teff"], np.arange(N) == 3, unit="K", description="long " * 40)
    table.write(tmp_path / "t.ecsv", delimiter=delimiter)
    np.testing.assert_array_equal(numbers(tmp_path / "t.ecsv", "teff")[0], table["teff"].filled(np.nan))
    found = Table.read(with_new(tmp_path / "t.ecsv", tmp_path / "out.ecsv"))
    assert found.colnames == [*table.colnames, "new", "bits"] and found.meta == table.meta
    assert found["new"].unit == "mas" and found["new"].mask.tolist() == (np.arange(N) == 1).tolist()
    for name in table.colnames:
        assert (found[name] == table[name]).all()


def test_ecsv_in_yaml_of_flow_style(tmp_path):
    (tmp_path / "t.ecsv").write_text(FLOW_ECSV.replace(" # Kelvin", ""))
    np.testing.assert_array_equal(numbers(tmp_path / "t.ecsv", "bp_rp")[0], [1, 2, 3])
    found = Table.read(with_new(tmp_path / "t.ecsv", tmp_path / "out.ecsv"))
    assert found.colnames == ["bp_rp", "teff", "new", "bits"] and found["new"].unit == "mas"


def test_comments_before_the_names_are_kept(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbf# made by hand\r\n#\r\n teff ,x\r\n4500,1\r\n4600,2\r\n")
    np.testing.assert_array_equal(numbers(tmp_path / "t.csv", "teff")[0], [4500, 4600])
    assert with_new(tmp_path / "t.csv", tmp_path / "out.csv").read_bytes() == (
        b"\xef\xbb\xbf# made by hand\r\n#\r\n teff ,x,new,bits\r\n4500,1,0,0\r\n4600,2,,1\r\n"
    )


def test_csv_that_cannot_be_read_is_refused(tmp_path):
    for content, part in (
        (b"teff,bp_rp\n1,2\n1,2,3\n", "between rows 1 and 2"),
        (b'teff,name\n1,"2\n1,2\n', "in row 1 "),
        (b'teff,"bp_rp\n1,2\n', "does not end"),
        (b"teff,bp_rp\n1,2\n1,2.", "cut short"),
        (b"teff,bp_rp\n1,2\n1,red\n", "'red'"),
        (b"teff,bp_rp\n1,2\n1,\xe9\n", "'bp_rp'"),
        (b"\n", "empty"),
        (b"# only\n# comments\n", "empty"),
        (b"teff" * 300_000, "does not end"),
        (b"# %ECSV 1.0\n# delimiter: '|'\nteff|bp_rp\n1|2\n", "delimiter '|'"),
    ):
        (tmp_path / "t.csv").write_bytes(content)
        fails(tmp_path / "t.csv", part)
    (tmp_path / "t.csv").write_bytes("bp_rp,teff,näme\n1,4500,Müller".encode("latin-1"))  # a text may end the file
    np.testing.assert_array_equal(numbers(tmp_path / "t.csv", "teff")[0], [4500])


# --- folders of Parquet files -----------------------------------------------------------------------------------------


def parts_of(table: Table, folder: Path, *names: str) -> Path:
    for name, rows in zip(names, np.array_split(np.arange(len(table)), len(names)), strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({key: np.asarray(table[key])[rows] for key in table.colnames}), folder / name)
    return folder


def test_a_folder_as_spark_writes_it(tmp_path):
    folder = parts_of(
        source(), tmp_path / "gaia.parquet", "part-00000-ab.snappy.parquet", "part-00001-ab.snappy.parquet"
    )
    parts_of(source(), folder, "_temporary/0/part-0.parquet", ".hidden/x.parquet", "_metadata", "_common_metadata")
    (folder / "_SUCCESS").touch()
    (folder / ".part-00000-ab.snappy.parquet.crc").write_bytes(b"crc")
    table = open_table(folder)
    assert table.n_rows == N and table.column_names == source().colnames and len(table.files) == 2
    for chunk in (1, 3, 100):
        np.testing.assert_array_equal(numbers(folder, "teff", chunk=chunk)[0], source()["teff"])
    found = pq.read_table(with_new(folder, tmp_path / "out.parquet"))
    assert found["source_id"].to_pylist() == source()["source_id"].tolist()
    assert found["bits"].to_pylist() == (np.arange(N) % 3).tolist()


def test_a_folder_as_dask_writes_it_keeps_the_order_of_rows(tmp_path):
    folder = parts_of(source(), tmp_path / "gaia", *(f"part.{i}.parquet" for i in range(7, 12)))
    np.testing.assert_array_equal(numbers(folder, "teff")[0], source()["teff"])


def test_a_hats_catalogue(tmp_path):
    names = ("Norder=2/Dir=0/Npix=9.parquet", "Norder=2/Dir=0/Npix=10.parquet", "Norder=3/Dir=10000/Npix=7/p0.snappy")
    folder = tmp_path / "gaia"
    with pytest.raises(TableFormatError, match="without Parquet files"):
        folder.mkdir()
        open_table(folder)
    parts_of(source(), folder / "dataset", *names[:2], "Norder=3/Dir=10000/Npix=7.parquet")
    parts_of(source(), folder / "dataset", "_metadata", "data_thumbnail.parquet")
    (folder / "partition_info.csv").write_text("Norder,Npix\n")
    (folder / "hats.properties").write_text("obs_collection=gaia")
    np.testing.assert_array_equal(numbers(folder, "teff")[0], source()["teff"])
    found = pq.read_table(with_new(folder, tmp_path / "out.parquet"))
    assert found["Norder"].to_pylist() == [2] * 6 + [3] * 2 and found["Dir"].to_pylist()[-1] == 10000
    (folder / "collection.properties").touch()
    fails(folder, "HATS collection")


def test_folders_that_are_no_table(tmp_path):
    folder = parts_of(source(), tmp_path / "gaia", "a.parquet", "b", "deep/c.pq")
    np.testing.assert_array_equal(numbers(folder, "teff")[0], source()["teff"])
    (folder / "d.parquet").symlink_to(folder / "a.parquet")
    fails(folder, "twice")
    (folder / "d.parquet").unlink()
    (folder / "d.parquet").write_bytes((folder / "b").read_bytes()[:-9])
    fails(folder, "d.parquet: not a whole Parquet file")
    (folder / "d.parquet").write_bytes(gzip.compress((folder / "b").read_bytes()))
    fails(folder, "d.parquet: not a whole Parquet file")
    other = source()
    other["teff"] = other["teff"].astype("f4")
    parts_of(other, folder, "d.parquet")
    fails(folder, "d.parquet: column 'teff' is not as in", "a.parquet")
    other.rename_column("teff", "TEFF")
    parts_of(other, folder, "d.parquet")
    fails(folder, "d.parquet: column 'TEFF'")
    (folder / "d.parquet").unlink()
    parts_of(source(), folder, "Norder=1/x.parquet")
    fails(folder, "lies in other folders")


def test_damage_inside_a_parquet_file_is_told(tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"teff": np.arange(2000.0)}), path, write_page_checksum=True, use_dictionary=False)
    content = bytearray(path.read_bytes())
    content[900] ^= 1
    path.write_bytes(content)
    fails(path, "not a whole Parquet file", "get it again")


# --- advice -----------------------------------------------------------------------------------------------------------


def votable(path: Path) -> None:
    table = source()
    table["bp_rp"] = MaskedColumn(table["bp_rp"], np.arange(N) == 2)
    table.write(path, format="votable")


def ascii_table(path: Path) -> None:
    columns = [fits.Column(name, "F12.6", array=np.asarray(source()[name])) for name in ("bp_rp", "teff")]
    fits.HDUList([fits.PrimaryHDU(), fits.TableHDU.from_columns(columns)]).writeto(path)


def plain(suffix: str, change=lambda content: content):
    def make(path: Path) -> None:
        whole = write(source(), path.with_name(f"whole.{suffix}"))
        path.write_bytes(change(whole.read_bytes()))
        whole.unlink()

    return make


NOT_ENDED = "source_id,teff\n" + "\n".join(f"{i},{teff}" for i, teff in enumerate(source()["teff"]))
# name -> how to make a file whose message advises a command that makes a table of it
ADVISED = {
    "my table.vot": votable,
    "votable.fits": votable,
    "it's ascii.fits": ascii_table,
    "table.txt": plain("csv"),
    "fits.csv": plain("fits"),
    "csv.fits.gz": plain("csv", gzip.compress),
    "no_suffix": plain("parquet"),
    "packed $HOME.parquet.gz": plain("parquet", gzip.compress),
    "packed.parquet": plain("parquet", gzip.compress),
    "twice.csv.gz": plain("csv", lambda content: gzip.compress(gzip.compress(content))),
    "excel.csv": plain("csv", lambda content: content.decode().encode("utf-16")),
    "old mac.csv": plain("csv", lambda content: content.replace(b"\n", b"\r")),
    "not_ended.csv": lambda path: path.write_text(NOT_ENDED),
}


def advice(message: str) -> str:
    return re.search("`(.*)`", message)[1]


@pytest.mark.parametrize("name", ADVISED)
def test_advised_commands_make_a_table(tmp_path, name):
    ADVISED[name](tmp_path / name)
    before = set(tmp_path.iterdir())
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = advice(fails(tmp_path / name))
    subprocess.run(["bash", "-ec", command], check=True, cwd=tmp_path, env=environment)
    made = set(tmp_path.iterdir()) - before
    (path,) = made or before  # a file may be mended in place
    np.testing.assert_allclose(numbers(path, "teff")[0], source()["teff"])


def test_every_advised_command_is_run(tmp_path):
    """All but `make all`, which trains a model again."""
    first_words = set()
    for module in (streamed_tables, gaia_tables):
        tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
        documented = {ast.get_docstring(node, clean=False) for node in ast.walk(tree) if isinstance(node, DOCUMENTED)}
        texts = [
            node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
        first_words |= {word for text in texts if text not in documented for word in re.findall("`([a-z]+) ", text)}
    run = set()
    for name, make in ADVISED.items():
        make(tmp_path / name)
        run.add(advice(fails(tmp_path / name)).split()[0])
    assert first_words == run | {"make"}


DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef)


def test_files_of_other_kinds_say_what_they_are(tmp_path):
    with zipfile.ZipFile(tmp_path / "zip", "w") as archive:
        archive.writestr("a.csv", "teff\n1\n")
    packed = (tmp_path / "zip").read_bytes()
    for content, part in (
        (packed, "compressed with zip: unpack it"),
        (bz2.compress(b"teff\n1\n"), "compressed with bzip2"),
        (lzma.compress(b"teff\n1\n"), "compressed with xz"),
        (b"<!DOCTYPE html><html>", "HTML"),
        (b"\x89HDF\r\n\x1a\n\0\0", "HDF5"),
        (bytes(3000), "zero bytes"),
        (b"", "empty"),
        (b"\x01\x02\0", "unknown format"),
    ):
        for name in ("t.csv", "t.fits", "t.parquet", "t.ecsv.gz", "t.dat"):
            (tmp_path / name).write_bytes(content)
            fails(tmp_path / name, part, "must be a .parquet, .fits, .csv or .ecsv")
            (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError, match="no such table"):
        open_table(tmp_path / "none.csv")
