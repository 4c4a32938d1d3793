"""Zero points for tables: values, formats, missing inputs, chunks, killed runs, messages."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import mutated_tables
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import Table
from offset_model import RANGES, offset_model, save_offset_model

from apogaia.cli.commands import main
from apogaia.formats.streamed_tables import open_table
from apogaia.model.model_file import save_model
from apogaia.model.model_origin import read_provenance
from apogaia.survey import load_survey
from apogaia.zero_point import gaia_tables, offset_posterior
from apogaia.zero_point.gaia_tables import (
    ColumnNames,
    ZeroPointFlags,
    add_zero_point,
    add_zero_point_to_file,
    load_zero_point,
)

N = 23
SUFFIXES = ("parquet", "fits", "csv")
ADDED = ("zero_point", "zero_point_error", "zero_point_domain", "parallax_corrected")


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    return save_offset_model(tmp_path_factory.mktemp("models") / "multivariate.keras")


@pytest.fixture(scope="module")
def constant_path(tmp_path_factory):
    return save_offset_model(tmp_path_factory.mktemp("models") / "constant.keras", "constant")


@pytest.fixture(scope="module")
def tabulated(model_path):
    return load_zero_point(model_path)


@pytest.fixture
def surface(tabulated, monkeypatch):
    """The model's zero point, loaded once for all tests."""
    monkeypatch.setattr(gaia_tables, "load_zero_point", lambda *_, **__: tabulated)
    return tabulated


def sources() -> Table:
    """A table as Gaia gives it, with one of each fault and columns that have nothing to do with it."""
    rng = np.random.default_rng(5)
    low, high = np.transpose(list(RANGES.values()))
    g_mag, bp_rp, teff = rng.uniform(low, high, (N, 3)).T
    parallax = rng.normal(1, 0.5, N)
    g_mag[2] = bp_rp[3] = teff[4] = np.nan
    g_mag[5], bp_rp[6], teff[7] = 20.0, 0.1, 9000.0
    g_mag[8], teff[8] = np.nan, 3000.0
    parallax[9] = np.nan
    return Table(
        {
            "source_id": np.arange(N) + 2**60,
            "name": [f'star, "{i}"' for i in range(N)],
            "phot_g_mean_mag": g_mag.astype("f4"),
            "bp_rp": bp_rp.astype("f4"),
            "teff_val": teff.astype("f4"),
            "parallax": parallax,
        }
    )


DOMAIN = np.zeros(N, int)
DOMAIN[2:9] = [1, 2, 4, 8, 16, 32, 1 + 32]


def write(table: Table, path: Path) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.table({name: np.asarray(table[name]) for name in table.colnames}), path)
    else:
        formats = {".fits": "fits", ".csv": "ascii.csv", ".ecsv": "ascii.ecsv"}
        table.write(path, format=formats[path.suffix], overwrite=True)
    return path


def read(path: Path) -> dict[str, np.ndarray]:
    """Numbers as arrays of float64 or int64, NaN where unknown."""
    if path.suffix == ".fits":
        with fits.open(path) as hdus:
            return {name: np.array(hdus[1].data[name]) for name in hdus[1].columns.names}
    if path.suffix == ".ecsv":
        table = Table.read(path)
        return {name: np.ma.filled(table[name], 0 if name == "name" else np.nan) for name in table.colnames}
    table = pq.read_table(path) if path.suffix == ".parquet" else pa.csv.read_csv(path)
    return {name: table[name].to_numpy() for name in table.column_names}


def run(table: Path, output: Path, model: Path, **options) -> dict[str, np.ndarray]:
    add_zero_point_to_file(table, output, model, progress=False, **options)
    return read(output)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_keeps_rows_and_columns_and_adds_the_right_numbers(tmp_path, model_path, suffix):
    table = sources()
    path = write(table, tmp_path / f"gaia.{suffix}")
    before = path.read_bytes()
    found = run(path, tmp_path / f"out.{suffix}", model_path, exact=True)
    assert path.read_bytes() == before
    assert list(found) == [*table.colnames, *ADDED]
    for name in table.colnames:
        np.testing.assert_array_equal(found[name], np.asarray(table[name]))
    np.testing.assert_array_equal(found["zero_point_domain"], DOMAIN)
    inputs = [np.asarray(table[name], float) for name in ("phot_g_mean_mag", "bp_rp", "teff_val")]
    survey_draws, survey_seed = 100, 8634  # of the smoke survey
    value, error = offset_posterior.zero_point(offset_model(), *inputs, draws=survey_draws, seed=survey_seed)
    value[DOMAIN != 0] = error[DOMAIN != 0] = np.nan
    np.testing.assert_allclose(found["zero_point"], value, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found["zero_point_error"], error, rtol=1e-6)
    np.testing.assert_array_equal(
        found["parallax_corrected"], np.asarray(table["parallax"]) - found["zero_point"].astype("f4")
    )
    assert np.isnan(found["parallax_corrected"][9]) and np.isfinite(found["zero_point"][9])
    assert os.listdir(tmp_path) and not list(tmp_path.glob(".*"))  # no parts are left


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_grid_differs_from_the_network_by_less_than_a_tenth_of_a_microarcsecond(tmp_path, model_path, suffix):
    path = write(sources(), tmp_path / f"gaia.{suffix}")
    exact = run(path, tmp_path / f"exact.{suffix}", model_path, exact=True)
    fast = run(path, tmp_path / f"fast.{suffix}", model_path)
    for name in ("zero_point", "zero_point_error", "parallax_corrected"):
        np.testing.assert_allclose(fast[name], exact[name], atol=1e-4, rtol=0)
        np.testing.assert_array_equal(np.isnan(fast[name]), np.isnan(exact[name]))
    np.testing.assert_array_equal(fast["zero_point_domain"], exact["zero_point_domain"])
    assert np.nanmax(np.abs(exact["zero_point"])) > 0.02  # so that 1e-4 means something


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_chunks_change_nothing(tmp_path, model_path, suffix):
    path = write(sources(), tmp_path / f"gaia.{suffix}")
    outputs = {chunk: tmp_path / f"out_{chunk}.{suffix}" for chunk in (1, 7, N)}
    found = {chunk: run(path, output, model_path, chunk=chunk) for chunk, output in outputs.items()}
    for chunk in (1, 7):
        for name, values in found[N].items():
            np.testing.assert_array_equal(found[chunk][name], values, err_msg=f"{name}, chunk {chunk}")
    if suffix != "parquet":  # whose row groups are the chunks
        assert outputs[1].read_bytes() == outputs[7].read_bytes() == outputs[N].read_bytes()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_table_without_rows(tmp_path, model_path, suffix):
    path = write(sources()[:0], tmp_path / f"gaia.{suffix}")
    counts = add_zero_point_to_file(path, tmp_path / f"out.{suffix}", model_path, progress=False)
    assert counts["rows"] == 0 and open_table(tmp_path / f"out.{suffix}").column_names[-4:] == list(ADDED)


def test_parquet_says_units_and_origin_and_keeps_types_and_metadata(tmp_path, model_path):
    kinds = {
        "list": pa.array([[1, 2], None, []]),
        "category": pa.array(["a", "b", "a"]).dictionary_encode(),
        "when": pa.array([1, 2, None], pa.timestamp("us", "UTC")),
        "phot_g_mean_mag": pa.array([12.0, None, 13.0]),
        "bp_rp": pa.array([1.0, 1.0, 1.0], pa.float32()),
        "teff_gspphot": pa.array([4500, 4600, None], pa.int32()),
        "parallax": pa.array([1.0, 2.0, 3.0]),
    }
    table = pa.table(kinds).replace_schema_metadata({"theirs": "kept"})
    pq.write_table(table, tmp_path / "gaia.parquet", compression="zstd", row_group_size=2)
    # the category ends a batch of pyarrow with the row group, other columns do not
    add_zero_point_to_file(tmp_path / "gaia.parquet", tmp_path / "out.parquet", model_path, progress=False)
    found = pq.read_table(tmp_path / "out.parquet")
    assert found.select(list(kinds)).equals(table)
    assert found["zero_point_domain"].to_pylist() == [0, ZeroPointFlags.MISSING_G, ZeroPointFlags.MISSING_TEFF]
    for name in ("zero_point", "zero_point_error", "parallax_corrected"):
        assert found.schema.field(name).metadata[b"unit"] == b"mas"
    assert b"outside the training range" in found.schema.field("zero_point_domain").metadata[b"description"]
    assert found.schema.metadata[b"theirs"] == b"kept"
    origin = json.loads(found.schema.metadata[b"apogaia"])
    assert origin["model"] == "multivariate.keras" and origin["draws"] == 100
    assert origin["range"] == RANGES and origin["interpolation_error_uas"] < 0.1
    assert pq.ParquetFile(tmp_path / "out.parquet").metadata.row_group(0).column(0).compression == "ZSTD"


def test_memory_does_not_grow_with_a_parquet_file(tmp_path):
    rows, names = 3_000_000, ["parallax", "bp_rp"]
    values = np.random.default_rng(1).normal(size=rows)
    pq.write_table(pa.table(dict.fromkeys(names, values)), tmp_path / "long.parquet", row_group_size=1_000_000)
    before, held = pa.total_allocated_bytes(), []
    for column, _ in open_table(tmp_path / "long.parquet").numbers(names, 50_000):
        held.append(pa.total_allocated_bytes() - before)
        assert len(column) == 50_000
    assert len(held) == 60 and max(held) < 10e6 < (tmp_path / "long.parquet").stat().st_size / 4


def test_model_files_state_the_range_of_their_training_set():
    from apogaia.model import model_file
    from apogaia.model.training_set import TrainingSet
    from apogaia.survey import load_survey

    rng = np.random.default_rng(1)
    columns = rng.uniform(0, 100, (6, 4000))
    columns[:, 0] = 1e6  # one far star does not count
    sample = TrainingSet(np.ones((4000, 2), "f4"), *columns)
    stated = model_file.provenance(load_survey("smoke"), sample, "multivariate")["training_range"]
    assert list(stated) == ["g_mag", "bp_rp", "teff"]
    np.testing.assert_allclose(list(stated.values()), [[0.5, 99.5]] * 3, atol=0.4)


def test_fits_says_units_and_keeps_heap_scaling_and_other_hdus(tmp_path, model_path):
    table = sources()
    columns = [
        fits.Column("phot_g_mean_mag", "E", array=np.where(np.arange(N) == 1, -9999, table["phot_g_mean_mag"])),
        fits.Column("visits", "PJ()", array=np.array([np.arange(i % 4) for i in range(N)], dtype=object)),
        fits.Column("bp_rp", "D", unit="mag", array=np.asarray(table["bp_rp"], float)),
        fits.Column("teff_val", "I", array=np.arange(-400, -400 + N)),
        fits.Column("parallax", "D", unit="mas", array=np.where(np.arange(N) == 0, -9999, table["parallax"])),
    ]
    image = fits.ImageHDU(np.arange(5), name="IMAGE")
    path = tmp_path / "gaia.fits"
    hdus = fits.HDUList([fits.PrimaryHDU(), image, fits.BinTableHDU.from_columns(columns, name="STARS"), image.copy()])
    hdus["STARS"].header["TSCAL4"], hdus["STARS"].header["TZERO4"] = 0.5, 5000.0
    hdus.writeto(path, checksum=True)
    add_zero_point_to_file(path, tmp_path / "out.fits", model_path, chunk=4, progress=False)
    with fits.open(path) as old, fits.open(tmp_path / "out.fits", checksum=True) as new:
        new.verify("exception")
        assert [hdu.name for hdu in new] == [hdu.name for hdu in old]
        np.testing.assert_array_equal(new[3].data, np.arange(5))
        for name in ("phot_g_mean_mag", "bp_rp", "teff_val", "parallax"):
            np.testing.assert_array_equal(new["STARS"].data[name], old["STARS"].data[name])
        for found, expected in zip(new["STARS"].data["visits"], old["STARS"].data["visits"], strict=True):
            np.testing.assert_array_equal(found, expected)
        units = {column.name: column.unit for column in new["STARS"].columns}
        assert [units[name] for name in ADDED] == ["mas", "mas", None, "mas"] and units["bp_rp"] == "mag"
        assert new["STARS"].data["zero_point_domain"][1] == ZeroPointFlags.MISSING_G
        assert np.isnan(new["STARS"].data["parallax_corrected"][0])
        np.testing.assert_array_equal(new["STARS"].data["teff_val"], 4800 + 0.5 * np.arange(N))
        assert "multivariate.keras" in str(new["STARS"].header["HISTORY"])
    assert Table.read(tmp_path / "out.fits", hdu="STARS")["zero_point"].unit == "mas"


def test_csv_keeps_every_line_as_it_is_and_takes_blanks_for_unknown(tmp_path, model_path):
    lines = [
        b"source_id, phot_g_mean_mag,bp_rp,teff_val,parallax,note",
        b'1,12.50,1.0,4500,0.1000,"a, ""b"""',
        b"2,,1.0,4500,1.0,",
        b"3, 12.0 , 1.0 ,null,1.0,x",
        b'4,12.0,1.0,4500,,"two',
        b'lines"',
        b"5,12.0,nan,,NaN,\xe2\x98\x86",
        b'6,"12.0",1.0,4500,1.0,end',
    ]
    path = tmp_path / "gaia.csv"
    for end in (b"\n", b"\r\n"):
        path.write_bytes(end.join(lines))  # without a line end at the end
        add_zero_point_to_file(path, tmp_path / "out.csv", model_path, chunk=2, progress=False)
        content = (tmp_path / "out.csv").read_bytes()
        assert content.endswith(end)
        found = content.split(end)[:-1]
        assert found[0] == lines[0] + b"," + ",".join(ADDED).encode()
        for line, new in zip(lines[1:], found[1:], strict=True):
            assert new.startswith(line)
        added = [line.rsplit(b",", 4)[1:] for line in (*found[1:4], found[5], *found[6:])]
        assert [row[2] for row in added] == [b"0", b"1", b"4", b"0", b"6", b"0"]
        assert added[1] == [b"", b"", b"1", b""] and added[4] == [b"", b"", b"6", b""]
        assert added[3][0] != b"" and added[3][3] == b""
        zero_point = np.float32(added[0][0].decode())
        assert float(added[0][3]) == 0.1 - zero_point


def test_a_constant_model_gives_every_row_the_constant(tmp_path, constant_path):
    table = sources()["source_id", "parallax"]
    constant = offset_posterior.constant_zero_point(offset_model("constant"), draws=100, seed=8634)
    for suffix in SUFFIXES:
        found = run(write(table, tmp_path / f"gaia.{suffix}"), tmp_path / f"out.{suffix}", constant_path, chunk=10)
        np.testing.assert_array_equal(found["zero_point"].astype("f4"), np.float32(constant.value))
        np.testing.assert_array_equal(found["zero_point_error"].astype("f4"), np.float32(constant.error))
        assert not found["zero_point_domain"].any()
        np.testing.assert_array_equal(np.isnan(found["parallax_corrected"]), np.isnan(table["parallax"]))


def test_data_frames_and_partitions(model_path, constant_path):
    pandas = pytest.importorskip("pandas")
    frame = sources().to_pandas().set_index("source_id")
    surface = pickle.loads(pickle.dumps(load_zero_point(model_path)))  # as it travels to workers
    whole = add_zero_point(frame, surface)
    assert list(frame.columns) + list(ADDED) == list(whole.columns)
    np.testing.assert_array_equal(whole["zero_point_domain"], DOMAIN)
    parts = pandas.concat([add_zero_point(frame.iloc[i : i + 5], surface) for i in range(0, N, 5)])
    pandas.testing.assert_frame_equal(whole, parts)
    empty = add_zero_point(frame.iloc[:0], surface)  # from which Dask infers the types
    assert (empty.dtypes == whole.dtypes).all() and len(empty) == 0
    columns = ["phot_g_mean_mag", "bp_rp", "teff_val", "parallax"]
    arrow = frame[columns].convert_dtypes(dtype_backend="pyarrow")  # as LSDB has them, with NA
    pandas.testing.assert_frame_equal(add_zero_point(arrow, surface)[list(ADDED)], whole[list(ADDED)])
    constant = add_zero_point(frame[["parallax"]], load_zero_point(constant_path))
    assert constant["zero_point"].nunique() == 1
    with pytest.raises(ValueError, match="already"):
        add_zero_point(whole, surface)
    odd = frame.iloc[9:15].rename(columns=str.upper)
    odd = odd.assign(PHOT_G_MEAN_MAG=["null", 1e20, 12.0, "12.5", None, -9999], BP_RP=1.0, TEFF_VAL=4500.0)
    assert list(add_zero_point(odd, surface)["zero_point_domain"]) == [1, 1, 0, 0, 1, 1]
    with pytest.raises(ValueError, match=r"'BP_RP' is not a number everywhere"):
        add_zero_point(odd.assign(BP_RP="red"), surface)
    with pytest.raises(ValueError, match=r"columns 3 .*'bp_rp'.* rename or drop"):
        add_zero_point(frame.assign(BP_RP=1.0), surface)


SLOWLY = """
import sys, time
from apogaia.zero_point import gaia_tables
quick = gaia_tables._records
gaia_tables._records = lambda *given: time.sleep(0.1) or quick(*given)
gaia_tables.add_zero_point_to_file(*sys.argv[1:], exact=True, chunk=2, progress=False)
"""


def test_a_killed_run_goes_on_and_gives_the_same_bytes(tmp_path, model_path, monkeypatch):
    path = write(sources(), tmp_path / "gaia.parquet")
    output, parts = tmp_path / "out.parquet", tmp_path / ".out.parquet.parts"
    options = {"exact": True, "chunk": 2, "progress": False}
    add_zero_point_to_file(path, tmp_path / "undisturbed.parquet", model_path, **options)
    killed = subprocess.Popen([sys.executable, "-c", SLOWLY, path, output, model_path])
    give_up = time.monotonic() + 60
    while len(list(parts.glob("0*.npy"))) < 4 and killed.poll() is None and time.monotonic() < give_up:
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    done = len(list(parts.glob("0*.npy")))
    assert 4 <= done < 12 and not output.exists()
    computed = count_computed(monkeypatch)
    add_zero_point_to_file(path, output, model_path, **options)
    assert len(computed) == 12 - done
    assert output.read_bytes() == (tmp_path / "undisturbed.parquet").read_bytes()
    assert not parts.exists()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_run_that_dies_while_it_writes_goes_on(tmp_path, model_path, suffix, monkeypatch):
    path = write(sources(), tmp_path / f"gaia.{suffix}")
    output, undisturbed = tmp_path / f"out.{suffix}", tmp_path / f"undisturbed.{suffix}"
    options = {"exact": True, "chunk": 2, "progress": False}
    add_zero_point_to_file(path, undisturbed, model_path, **options)
    kind = type(open_table(path))
    with monkeypatch.context() as patch:
        patch.setattr(kind, "write", interrupted(kind.write))
        with pytest.raises(KeyboardInterrupt):
            add_zero_point_to_file(path, output, model_path, **options)
    assert not output.exists()
    computed = count_computed(monkeypatch)
    add_zero_point_to_file(path, output, model_path, **options)
    assert not computed and output.read_bytes() == undisturbed.read_bytes()


def count_computed(monkeypatch) -> list:
    computed, original = [], gaia_tables._records
    monkeypatch.setattr(gaia_tables, "_records", lambda *given: computed.append(1) or original(*given))
    return computed


def interrupted(write):
    def first_part_only(self, path, additions, *others):
        def two_of(additions):
            for i, addition in enumerate(additions):
                if i == 2:
                    raise KeyboardInterrupt
                yield addition

        write(self, path, two_of(additions), *others)

    return first_part_only


def test_parts_of_another_table_or_model_are_not_used(tmp_path, model_path, constant_path):
    path = write(sources(), tmp_path / "gaia.csv")
    fresh = run(path, tmp_path / "fresh.csv", model_path, chunk=5)
    stale = tmp_path / ".out.csv.parts"
    stale.mkdir()
    np.save(stale / "00000000.npy", np.zeros(5, gaia_tables.RECORD))
    (stale / "key").write_text("of another run")
    found = run(path, tmp_path / "out.csv", model_path, chunk=5)
    np.testing.assert_array_equal(found["zero_point"], fresh["zero_point"])


def test_messages_name_the_remedy(tmp_path, model_path, constant_path):
    table = sources()

    def fails(match, table, suffix="csv", model=model_path, **options):
        path = write(table, tmp_path / f"gaia.{suffix}")
        with pytest.raises(ValueError, match=match):
            add_zero_point_to_file(path, tmp_path / f"out.{suffix}", model, progress=False, **options)
        path.unlink()
        assert not (tmp_path / f"out.{suffix}").exists()

    without = table.copy()
    without.remove_column("teff_val")
    for suffix in SUFFIXES:
        fails(r"teff_gspphot nor teff_val.*--teff.*--constant", without, suffix)
    both = table.copy()
    both["teff_gspphot"] = both["teff_val"]
    fails(r"choose .*--teff", both)
    fails(r"no column 'G' \(G\).*--g-mag", table, columns=ColumnNames(g_mag="G"))
    twice = table.copy()
    twice["zero_point"] = 0.0
    fails("already: rename", twice)
    fails("chunk", table, chunk=0)
    text = table.copy()
    text.replace_column("bp_rp", ["red"] * N)
    fails("'bp_rp' is not a number", text)
    fails("2 or more", table, draws=1)
    fails("--draws and --seed", table, model=save_offset_model(tmp_path / "bare.keras", settings={}))
    calibrated, origin = tmp_path / "calibrated.keras", read_provenance(model_path)
    save_model(offset_model(), calibrated, origin | {"offset": "calibrated", "training_range": {}})
    fails("give multivariate.keras, or constant.keras", table, model=calibrated)
    fails("does not state the range", table, model=save_offset_model(tmp_path / "old.keras", training_range={}))
    path = write(table, tmp_path / "gaia.csv")
    with pytest.raises(ValueError, match="is the table itself"):
        add_zero_point_to_file(path, path, model_path, progress=False)
    with pytest.raises(ValueError, match=r"must end in \.csv"):
        add_zero_point_to_file(path, tmp_path / "out.fits", model_path, progress=False)
    with pytest.raises(ValueError, match=r"must end in \.parquet as"):
        add_zero_point_to_file(tmp_path, tmp_path / "out.parquet.gz", model_path, progress=False)
    with pytest.raises(ValueError, match="would become part of it"):
        add_zero_point_to_file(tmp_path, tmp_path / "out.parquet", model_path, progress=False)
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ValueError, match="is a folder"):
        add_zero_point_to_file(path, tmp_path / "folder.csv", model_path, progress=False)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("bad", [1e20, -9999, -9999.99, np.inf, np.nan])
def test_placeholders_say_unknown_in_the_domain_bits(tmp_path, surface, model_path, suffix, bad):
    table = sources()[9:14]
    for i, name in enumerate(("phot_g_mean_mag", "bp_rp", "teff_val", "parallax")):
        table[name][i] = bad
    found = run(write(table, tmp_path / f"gaia.{suffix}"), tmp_path / f"out.{suffix}", model_path)
    bits = ZeroPointFlags
    assert list(found["zero_point_domain"]) == [bits.MISSING_G, bits.MISSING_BP_RP, bits.MISSING_TEFF, 0, 0]
    assert np.isnan(found["zero_point"][:3]).all() and np.isfinite(found["zero_point"][3:]).all()
    assert list(np.isnan(found["parallax_corrected"])) == [True, True, True, True, False]


@pytest.mark.parametrize("suffix", [*SUFFIXES, "ecsv"])
def test_columns_are_found_in_any_case_and_must_be_there_once(tmp_path, surface, model_path, suffix):
    table = sources()
    expected = run(write(table, tmp_path / f"gaia.{suffix}"), tmp_path / f"lower.{suffix}", model_path)
    upper = table.copy()
    upper.rename_columns(table.colnames, [name.upper() for name in table.colnames])
    found = run(write(upper, tmp_path / f"gaia.{suffix}"), tmp_path / f"out.{suffix}", model_path)
    assert list(found) == [*upper.colnames, *ADDED]
    for name in ADDED:
        np.testing.assert_array_equal(found[name], expected[name])
    table["BP_RP"] = table["bp_rp"]
    if suffix == "fits":  # whose names have no case for astropy
        table.rename_column("BP_RP", "XP_RP")
    path = write(table, tmp_path / f"twice.{suffix}")
    path.write_bytes(path.read_bytes().replace(b"XP_RP", b"BP_RP"))
    with pytest.raises(ValueError, match=rf"twice.{suffix}: columns 4 \('bp_rp'\) and 7 \('BP_RP'\) .*rename or drop"):
        add_zero_point_to_file(path, tmp_path / f"none.{suffix}", model_path, progress=False)
    assert not (tmp_path / f"none.{suffix}").exists()


def test_columns_that_a_table_names_badly(tmp_path, surface, model_path):
    path = write(sources(), tmp_path / "gaia.fits")
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"TTYPE4  =", b"COMMENT  "))
    with pytest.raises(
        ValueError, match=r"gaia.fits: no column 'bp_rp'.*\(no name\).*column 4 its name \(in FITS: TTYPE4\)"
    ):
        add_zero_point_to_file(path, tmp_path / "out.fits", model_path, progress=False)
    path.write_bytes(whole.replace(b"TTYPE1  =", b"COMMENT  "))  # which nobody needs
    assert add_zero_point_to_file(path, tmp_path / "out.fits", model_path, progress=False)["rows"] == N
    (tmp_path / "gaia.csv").write_text("parallax,bp_rp,bp_rp,phot_g_mean_mag,teff_val\n")
    with pytest.raises(ValueError, match=r"gaia.csv: columns 2 \('bp_rp'\) and 3 \('bp_rp'\)"):
        add_zero_point_to_file(tmp_path / "gaia.csv", tmp_path / "out.csv", model_path, progress=False)


def test_a_bad_table_leaves_nothing_behind(tmp_path, surface, model_path):
    (tmp_path / "gaia.csv").write_text("parallax,bp_rp,phot_g_mean_mag,teff_val\n" + "1,1,12,4500\n" * 9 + "1,1,1\n")
    with pytest.raises(ValueError, match="between rows"):
        add_zero_point_to_file(tmp_path / "gaia.csv", tmp_path / "out.csv", model_path, chunk=2, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["gaia.csv"]


def test_a_folder_of_parquet_files_is_one_table(tmp_path, surface, model_path, capsys, monkeypatch):
    whole = run(write(sources(), tmp_path / "gaia.parquet"), tmp_path / "out.parquet", model_path)
    folder = tmp_path / "gaia_dr2"
    folder.mkdir()
    for i in range(0, N, 6):
        write(sources()[i : i + 6], folder / f"part-{i:05d}.parquet")
    monkeypatch.chdir(folder)
    assert main(["zeropoint", ".", "--model", str(model_path)]) == 0
    assert "16 of 23 stars" in capsys.readouterr().out
    found = read(tmp_path / "gaia_dr2_zero_point.parquet")
    for name, values in whole.items():
        np.testing.assert_array_equal(found[name], values)
    parts = gaia_tables._parts_folder(open_table(folder).files, tmp_path / "out.parquet", model_path, {})
    (parts / "00000000.npy").touch()
    write(sources()[:5], folder / "part-00000.parquet")  # the folder itself is as old as it was
    assert not list(
        gaia_tables._parts_folder(open_table(folder).files, tmp_path / "out.parquet", model_path, {}).glob("*.npy")
    )


@pytest.mark.parametrize(
    ("table", "output"),
    [("a.csv", "a_zero_point.csv"), ("a.csv.gz", "a_zero_point.csv.gz"), ("a.b.FITS", "a.b_zero_point.FITS")],
)
def test_the_output_has_the_name_of_the_table(table, output):
    assert gaia_tables.default_output(Path("x") / table) == Path("x") / output


@pytest.mark.parametrize("kind", mutated_tables.CHANGES)
def test_damaged_tables_are_refused_by_name_or_give_no_wrong_number(tmp_path, surface, model_path, kind):
    """One hundred of each kind: a message with the file, or in each row the right numbers or a domain bit."""
    table = mutated_tables.sources()
    right = gaia_tables._records(
        surface, *(np.asarray(table[name]) for name in ("parallax", "phot_g_mean_mag", "bp_rp", "teff_val"))
    )
    assert not right["zero_point_domain"].any()
    outcomes = set()
    for number in range(100):
        path, output = tmp_path / f"{number}.{kind}", tmp_path / f"out.{kind}"
        case = f"{kind} {number}: {mutated_tables.write_mutated(kind, number, path)}"
        try:
            add_zero_point_to_file(path, output, model_path, progress=False)
        except ValueError as error:
            assert str(path) in str(error) and "\n" not in str(error) and not isinstance(error, UnicodeError), case
            assert {other.name for other in tmp_path.iterdir()} == {path.name}, case
            outcomes.add((case.split()[-1], "refused"))
        else:
            names = ("zero_point", "zero_point_domain", "parallax_corrected")
            pieces = list(open_table(output).numbers(names, 100))
            rows = len(pieces[0][0]) if pieces else 0
            assert rows == mutated_tables.N or ("_cut" in case and kind in ("csv", "ecsv")), (
                case
            )  # at the end of a line
            for value, domain, corrected in pieces:
                valid = domain == 0
                np.testing.assert_allclose(value[valid], right["zero_point"][:rows][valid], atol=2e-4, err_msg=case)
                assert np.isnan(value[~valid]).all(), case
                known = ~np.isnan(corrected)
                expected = right["parallax_corrected"][:rows][known]
                np.testing.assert_allclose(corrected[known], expected, atol=2e-4, err_msg=case)
            outcomes.add((case.split()[-1], "read"))
            output.unlink()
        path.unlink()
    assert len(outcomes) > 5  # each kind of damage but one is both read and refused


def test_tables_that_cannot_be_read(tmp_path):
    for name, content, match in (
        ("a.txt", b"", "must be a .parquet, .fits, .csv or .ecsv"),
        ("a.parquet", b"PAR1 half", "not a whole Parquet"),
        ("a.fits", b"SIMPLE no", "not a FITS"),
        ("a.csv", b"", "empty"),
        ("b.csv", b"# %ECSV 1.0\n", "empty"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=match):
            open_table(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        open_table(tmp_path / "none.csv")
    whole = write(sources(), tmp_path / "whole.fits").read_bytes()
    (tmp_path / "cut.fits").write_bytes(whole[:-2880])
    with pytest.raises(ValueError, match="cut short"):
        open_table(tmp_path / "cut.fits")
    (tmp_path / "c.csv").write_bytes(b"a,b\n1,2\n1\n")
    with pytest.raises(ValueError, match="between rows 1 and 2"):
        list(open_table(tmp_path / "c.csv").numbers(["a"], 10))


def test_the_command(tmp_path, model_path, constant_path, capsys):
    table = sources()
    table.rename_columns(["phot_g_mean_mag", "teff_val"], ["G", "T"])
    path = write(table, tmp_path / "gaia.parquet")
    arguments = ["zeropoint", str(path), "--model", str(model_path)]
    assert main(arguments) == 2
    assert "teff_gspphot" in capsys.readouterr().err
    assert main([*arguments, "--g-mag", "G", "--teff", "T"]) == 0
    said = capsys.readouterr().out
    assert "16 of 23 stars" in said and "domain 32: 2 stars, Teff outside" in said
    np.testing.assert_array_equal(read(tmp_path / "gaia_zero_point.parquet")["zero_point_domain"], DOMAIN)
    assert main([*arguments, "--constant"]) == 2
    assert "not constant" in capsys.readouterr().err
    constant = [*arguments[:2], "--model", str(constant_path), "--constant", "--output", str(tmp_path / "c.parquet")]
    assert main(constant) == 0
    table["G"] = np.float32(30)
    dark = write(table, tmp_path / "dark.parquet")
    assert main(["zeropoint", str(dark), *arguments[2:], "--g-mag", "G", "--teff", "T", "--exact"]) == 1
    assert main(["zeropoint", str(dark), "--model", str(tmp_path / "none.keras")]) == 2


def test_a_model_of_corrected_parallaxes_is_refused(tmp_path):
    path = save_offset_model(tmp_path / "model.keras", settings=load_survey("smoke-dr17").settings())
    with pytest.raises(ValueError, match="lindegren2021, so it knows what this leaves over"):
        load_zero_point(path)
