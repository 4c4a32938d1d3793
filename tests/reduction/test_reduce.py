"""Raw files to stars.h5: every fault a flagged row, killed runs resumed to the same bytes, cross-match against all."""

import os
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import tiny_survey as tiny
from astropy import units as u
from astropy.io import fits
from astropy.table import Table

from apogaia import files
from apogaia.formats import apstar, survey_tables
from apogaia.formats.apstar import Status
from apogaia.formats.fits_columns import ReductionError
from apogaia.formats.stars_h5_columns import COLUMNS
from apogaia.reduction import continuum, reduce, stars_h5
from apogaia.reduction.labelled_stars import LABEL_COLUMNS
from apogaia.reduction.reduce import reduce_survey
from apogaia.reduction.stars_h5 import open_stars, status_counts
from apogaia.survey import load_survey
from apogaia.workspace import Workspace


@pytest.fixture(scope="module")
def reduced(tmp_path_factory):
    survey, workspace = tiny.write_tiny_survey(tmp_path_factory.mktemp("tiny"))
    reduce_survey(survey, workspace, processes=1, progress=False)
    return survey, workspace


@pytest.fixture
def raw(tmp_path):
    return tiny.write_tiny_survey(tmp_path)


# --- the product ------------------------------------------------------------------------------------------------------


def test_every_star_has_its_row_status_and_reason(reduced):
    _, workspace = reduced
    expected = {
        tiny.MISSING: Status.NO_FILE,
        tiny.CUT: Status.UNREADABLE,
        tiny.BLANK: Status.BLANK,
        tiny.NAN_ERRORS: Status.BAD_ERRORS,
        tiny.OTHER_STAR: Status.WRONG_STAR,
        tiny.OUTSIDE: Status.NO_FILE,
        tiny.DEAD_DETECTOR: Status.TOO_FEW_PIXELS,
    }
    with open_stars(workspace.stars) as stars:
        table = stars.table
        assert len(table) == tiny.N_STARS and stars.spectra.shape == (tiny.N_STARS, 7514)
        np.testing.assert_array_equal(table["apogee_id"], fits.getdata(workspace.allstar)["APOGEE_ID"])
        assert {i: Status(s) for i, s in enumerate(table["status"].tolist()) if s} == expected
        np.testing.assert_array_equal(np.isnan(stars.spectra[:, 0]), table["status"] != 0)
        np.testing.assert_array_equal(np.isnan(stars.spectra[:]).any(axis=1), table["status"] != 0)
        np.testing.assert_array_equal(table["reason"] == "", table["status"] == 0)
        assert table["reason"][tiny.OUTSIDE] == "LOCATION_ID 1 (1-m telescope): no apStar file in the survey's folders"
        assert table["reason"][tiny.CUT].startswith("apStar-r8-")
        assert not any(str(workspace.root) in reason for reason in table["reason"])
        counts = status_counts(table)
        assert dict(zip(counts["status"], counts["stars"].tolist(), strict=True)) == {
            "OK": 13,
            "NO_FILE": 2,
            "UNREADABLE": 1,
            "WRONG_STAR": 1,
            "BLANK": 1,
            "BAD_ERRORS": 1,
            "TOO_FEW_PIXELS": 1,
        }


def test_spectra_are_those_of_their_rows(reduced):
    survey, workspace = reduced
    with open_stars(workspace.stars) as stars:
        for i in np.flatnonzero(stars.table["status"] == 0):
            row = stars.table[i]
            star = apstar.read_apstar(workspace.apstar(row["apogee_id"], row["location_id"]))
            expected, _ = continuum.apogee_continuum(star.flux, star.error, star.mask, settings=survey.spectra)
            np.testing.assert_allclose(stars.spectra[i], expected, rtol=5e-7)


def test_a_spectrum_without_a_continuum_is_flagged(reduced, tmp_path):
    survey, workspace = reduced
    flux, error, mask = tiny.spectrum(np.random.default_rng(3))
    path = tmp_path / "apStar-r8-2M1.fits"
    tiny.write_apstar(path, "2M1", flux - 400, error, mask)
    good = workspace.apstar("2M00000000+0000000", 4400)
    normalised, status, reason = reduce.reduce_spectra([path, good], survey.spectra)
    assert status.tolist() == [Status.NO_CONTINUUM, Status.OK]
    assert reason == ["apStar-r8-2M1.fits: the continuum is not positive", ""]
    assert np.isnan(normalised[0]).all() and np.isfinite(normalised[1]).all()


def test_columns_are_complete_and_described(reduced):
    _, workspace = reduced
    with open_stars(workspace.stars) as stars:
        assert stars.table.colnames == [column.name for column in COLUMNS]
        for column in COLUMNS:
            stored = stars.table[column.name]
            assert stored.dtype.kind == column.kind[0] and stored.dtype.isnative
            assert stored.description == column.description
            assert str(stored.unit or "") == str(u.Unit(column.unit))
            if column.kind[0] == "f":
                assert not np.any(np.asarray(stored) < -9000)


def test_placeholders_are_nan(reduced):
    _, workspace = reduced
    with open_stars(workspace.stars) as stars:
        table = stars.table
    assert np.flatnonzero(np.isnan(table["k_mag"])).tolist() == [tiny.NO_K]
    assert np.isnan(table["j_mag"][tiny.NO_K])
    assert np.isnan(table["aspcap_teff"]).all() and (table["aspcap_logg"] == 2.5).all()
    assert np.flatnonzero(np.isnan(table["a_k_mag"])).tolist() == [tiny.NO_EXTINCTION]
    assert np.flatnonzero(np.isnan(table["parallax"])).tolist() == [tiny.NO_GAIA]
    assert table["gaia_source_id"][tiny.NO_GAIA] == 0 and table["visibility_periods_used"][tiny.NO_GAIA] == 0
    assert np.isnan(table["ruwe"]).all()


def test_stellar_parameters_go_to_their_names(reduced):
    _, workspace = reduced
    with open_stars(workspace.stars) as stars:
        table = stars.table
    row = 100 * np.arange(tiny.N_STARS)
    for name, place in (("teff", 0), ("logg", 1), ("c_h", 2), ("ci_h", 3), ("o_h", 5), ("tiii_h", 15), ("ni_h", 21)):
        np.testing.assert_array_equal(table[name], row + place)
        np.testing.assert_allclose(table[f"{name}_error"], 0.05)
    assert np.isnan(table["n_h"]).all()


def test_luminosities_follow_from_magnitude_extinction_and_parallax(reduced):
    _, workspace = reduced
    with open_stars(workspace.stars) as stars:
        table = stars.table
    k0 = table["k_mag"].astype(float) - 0.1
    k0[tiny.NO_EXTINCTION] += 0.1
    np.testing.assert_allclose(table["k0_mag"], k0, atol=1e-6)
    np.testing.assert_allclose(table["fakemag"], table["parallax"] * 10 ** (0.2 * k0), rtol=1e-6)
    np.testing.assert_allclose(table["fakemag_error"], table["parallax_error"] * 10 ** (0.2 * k0), rtol=1e-6)
    absmag = k0 + 5 * np.log10(np.where(table["parallax"] > 0, table["parallax"], np.nan)) - 10
    np.testing.assert_allclose(table["log_luminosity"], 0.4 * (3.27 - absmag), atol=1e-6)
    assert np.isnan(table["log_luminosity"][tiny.NEGATIVE_PARALLAX]) and table["fakemag"][tiny.NEGATIVE_PARALLAX] < 0


def test_gaia_sources_are_found_by_their_motion(reduced):
    _, workspace = reduced
    with open_stars(workspace.stars) as stars:
        table = stars.table
    expected = 10**17 + np.arange(tiny.N_STARS)
    expected[tiny.NO_GAIA] = 0
    expected[tiny.REPEATED[1]] = expected[tiny.REPEATED[0]]
    np.testing.assert_array_equal(table["gaia_source_id"], expected)
    assert np.nanmax(table["match_distance"]) < 0.02
    assert table["n_gaia_matches"].tolist() == [2 if i == 0 else int(i != tiny.NO_GAIA) for i in range(tiny.N_STARS)]


def test_the_real_files_as_a_survey(realdata, tmp_path):
    """Four real apStar files, with an allStar of their headers' cards, through the whole reduction."""
    survey = replace(load_survey("dr14"), name="four")
    workspace = Workspace(survey, tmp_path)
    rows = []
    for path in sorted(realdata.glob("apStar-*.fits")):
        card = fits.getheader(path)
        target = workspace.apstar(card["OBJID"], card["LOCID"], card["TELESCOP"])
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
        names = ("OBJID", "TELESCOP", "LOCID", "FIELD", "J", "H", "K", "RA", "DEC", "GLON", "GLAT", "NVISITS", "SNR")
        rows.append([card[name] for name in (*names, "STARFLAG", "VHELIO", "VSCATTER")] + [-9999.99])
    names = "APOGEE_ID TELESCOPE LOCATION_ID FIELD J H K RA DEC GLON GLAT NVISITS SNR STARFLAG VHELIO_AVG VSCATTER"
    allstar = dict(zip([*names.split(), "AK_TARG"], map(np.array, zip(*rows, strict=True)), strict=True))
    gaia = {name: np.full(4, 0.1) for name in survey_tables.GAIA_COLUMNS.values()}
    gaia |= {"source_id": np.arange(1, 5), "ra": allstar["RA"], "dec": allstar["DEC"], "parallax": np.full(4, 0.82)}
    tiny.write_raw_tables(workspace, allstar, gaia)
    files.write_json(workspace.raw_manifest, {})
    reduce_survey(survey, workspace, progress=False)
    expected = np.load(realdata / "expected_normalised.npz")
    with open_stars(workspace.stars) as stars:
        assert stars.table["status"].tolist() == [0, 0, 0, 0]
        assert stars.table["gaia_source_id"].tolist() == [1, 2, 3, 4]
        assert stars.table["starflag"].tolist() == [0, 131584, 512, 0]
        np.testing.assert_allclose(stars.table["k0_mag"], [8.328, 12.313, 13.647, 11.899], atol=1e-5)
        for apogee_id, spectrum in zip(stars.table["apogee_id"], stars.spectra, strict=True):
            np.testing.assert_allclose(spectrum, expected[f"{apogee_id}_dr14"], atol=1e-6)


def test_ks_is_preferred_where_k_may_be_something_else(raw):
    _, workspace = raw
    table = Table.read(workspace.allstar)
    table["KS"], table["K"] = table["K"].copy(), 77.0
    table.write(workspace.allstar, overwrite=True)
    np.testing.assert_array_equal(survey_tables.read_allstar(workspace.allstar)["k_mag"][:5], table["KS"][:5])


def test_spectra_of_survey_and_commissioning_of_one_star_are_told_apart(raw):
    """A star with two rows in one folder: FILE alone says which spectrum is whose."""
    survey, workspace = raw
    table = Table.read(workspace.allstar)
    both = list(tiny.REPEATED)
    table["LOCATION_ID"][both] = 4402
    ids = [str(name) for name in table["APOGEE_ID"]]
    table["FILE"] = [f"apStar{'C' if i == both[1] else ''}-r8-{name}.fits" for i, name in enumerate(ids)]
    table.write(workspace.allstar, overwrite=True)
    expected = []
    for seed, i in enumerate(both):
        path = workspace.raw / "apo25m" / "4402" / table["FILE"][i]
        tiny.write_apstar(path, ids[i], *tiny.spectrum(np.random.default_rng(seed)))
        expected.append(reduce.reduce_spectra([path], survey.spectra)[0][0])
    assert not np.allclose(*expected)
    with open_stars(reduce_survey(survey, workspace, processes=1, progress=False)) as stars:
        assert stars.table["status"][both].tolist() == [0, 0]
        assert stars.table["spectrum_file"][both].tolist() == [f"apStar{c}-r8-{ids[both[0]]}.fits" for c in ("", "C")]
        np.testing.assert_allclose(stars.spectra[both[0]], expected[0], atol=1e-6)
        np.testing.assert_allclose(stars.spectra[both[1]], expected[1], atol=1e-6)


def test_a_commissioning_spectrum_of_another_star_is_noticed(tmp_path):
    path = tmp_path / "apStarC-r8-2M00000001+0000001.fits"
    tiny.write_apstar(path, "2M00000002+0000002", *tiny.spectrum(np.random.default_rng(0)))
    _, status, _ = reduce.reduce_spectra([path], tiny.tiny_survey().spectra)
    assert status.tolist() == [Status.WRONG_STAR]


@pytest.mark.parametrize("name", ["allStar-l31c.2-rows-DR14-binaries.fits", "allStar-rows-DR16.fits"])
@pytest.mark.filterwarnings("ignore::astropy.io.fits.verify.VerifyWarning")
def test_real_allstar_rows(realdata, name):
    table = survey_tables.read_allstar(realdata / name)
    data = fits.getdata(realdata / name)
    ks = data["KS" if "KS" in data.names else "K"]  # in the joined table, K is a velocity
    good = ks < 90
    np.testing.assert_array_equal(table["k_mag"][good], ks[good].astype("f4"))
    assert good.all() and np.isfinite(table["k_mag"]).all() and (np.abs(table["k_mag"] - table["h_mag"]) < 2).all()
    assert all(not column.startswith(" ") and column.strip() == column for column in table["apogee_id"])
    np.testing.assert_array_equal(np.isnan(table["aspcap_teff"]), data["TEFF"] < 0)
    np.testing.assert_array_equal(np.isnan(table["a_k_mag"]), data["AK_TARG"] < -9000)
    assert all(table[column].dtype.isnative for column in table.colnames)


# --- reuse and resumption ---------------------------------------------------------------------------------------------


def test_a_current_product_is_left_alone_and_a_changed_input_is_not(raw):
    survey, workspace = raw
    path = reduce_survey(survey, workspace, processes=1, progress=False)
    before = path.stat().st_mtime_ns
    assert reduce_survey(survey, workspace, processes=1, progress=False).stat().st_mtime_ns == before
    assert sorted(p.name for p in workspace.data.iterdir()) == [".stars.h5.fingerprint", "raw", "stars.h5"]

    allstar = fits.getdata(workspace.allstar)
    missing = workspace.apstar(allstar["APOGEE_ID"][tiny.MISSING], 4400)
    flux, error, mask = tiny.spectrum(np.random.default_rng(0))
    tiny.write_apstar(missing, str(allstar["APOGEE_ID"][tiny.MISSING]), flux, error, mask)
    with open_stars(reduce_survey(survey, workspace, processes=1, progress=False)) as stars:
        assert stars.table["status"][tiny.MISSING] == 0

    changed = replace(survey, spectra=replace(survey.spectra, continuum_pixels="dr17"))
    with open_stars(path) as stars:
        before = stars.spectra[0]
    with open_stars(reduce_survey(changed, workspace, processes=1, progress=False)) as stars:
        assert not np.array_equal(stars.spectra[0], before)


@pytest.mark.parametrize("stop_at", ["part", "assembly", "note"])
def test_a_killed_run_goes_on_and_gives_the_same_bytes(raw, monkeypatch, stop_at):
    survey, workspace = raw
    monkeypatch.setattr(reduce, "CHUNK_ROWS", 6)
    whole = reduce_survey(survey, workspace, processes=1, progress=False).read_bytes()
    for path in (workspace.stars, workspace.data / ".stars.h5.fingerprint"):
        path.unlink()

    trap = {
        "part": "count = [0]; real = reduce._reduce_part\n"
        "def stop(*a):\n    count[0] += 1\n    return kill() if count[0] == 3 else real(*a)\n"
        "reduce._reduce_part = stop\n",
        "assembly": "real = stars_h5.write_stars\n"
        "def stop(path, *a):\n    real(path, *a); kill()\nstars_h5.write_stars = stop\n",
        "note": "reduce.shutil.rmtree = lambda *a, **k: kill()\n",
    }[stop_at]
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nsys.path.insert(0, sys.argv[2])\n"
        "from apogaia.reduction import reduce, stars_h5\nfrom apogaia.workspace import Workspace\n"
        "from tiny_survey import tiny_survey\n"
        "kill = lambda: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"{trap}reduce.CHUNK_ROWS = 6\nsurvey = tiny_survey()\n"
        "reduce.reduce_survey(survey, Workspace(survey, Path(sys.argv[1])), processes=1, progress=False)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, workspace.root, os.path.dirname(tiny.__file__)], timeout=60, check=False
    )
    assert run.returncode == -signal.SIGKILL
    left = len(list((workspace.data / "stars.parts").glob("[0-9]*.npz")))
    assert left == {"part": 2, "assembly": 4, "note": 4}[stop_at]

    done = []
    real = reduce._reduce_part
    monkeypatch.setattr(reduce, "_reduce_part", lambda part, *rest: done.append(part.name) or real(part, *rest))
    assert reduce_survey(survey, workspace, processes=1, progress=False).read_bytes() == whole
    assert len(done) == 4 - left
    assert sorted(p.name for p in workspace.data.iterdir()) == [".stars.h5.fingerprint", "raw", "stars.h5"]


def test_parts_of_other_settings_are_not_used(raw, monkeypatch):
    survey, workspace = raw
    other = replace(survey, spectra=replace(survey.spectra, continuum_pixels="dr17"))
    expected = reduce_survey(survey, workspace, processes=1, progress=False).read_bytes()

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stars_h5, "write_stars", stop)
        with pytest.raises(KeyboardInterrupt):
            reduce_survey(other, workspace, processes=1, progress=False)
    assert (workspace.data / "stars.parts").is_dir()
    workspace.stars.unlink()
    assert reduce_survey(survey, workspace, processes=1, progress=False).read_bytes() == expected


def test_the_same_bytes_from_a_process_pool_in_another_folder(reduced, tmp_path, monkeypatch):
    survey, first = reduced
    other = Workspace(survey, tmp_path)
    tiny.write_tiny_survey(tmp_path)
    assert reduce_survey(survey, other, processes=1, progress=False).read_bytes() == first.stars.read_bytes()

    monkeypatch.setattr(reduce, "CHUNK_ROWS", 7)
    products = []
    for processes in (1, 2):
        other.stars.unlink()
        products.append(reduce_survey(survey, other, processes=processes, progress=False).read_bytes())
    assert products[0] == products[1]


def test_a_process_that_dies_ends_the_run_with_a_remedy(raw, monkeypatch):
    survey, workspace = raw
    monkeypatch.setattr(reduce, "CHUNK_ROWS", 6)
    monkeypatch.setattr(reduce, "_reduce_part", tiny.die)
    with pytest.raises(ReductionError, match="run again, perhaps with fewer processes"):
        reduce_survey(survey, workspace, processes=2, progress=False)
    assert not workspace.stars.exists()


# --- where labels come from -------------------------------------------------------------------------------------------


def labelled_from(survey, source):
    return replace(survey, labels=replace(survey.labels, source=source))


@pytest.mark.parametrize("source", ["own", "aspcap"])
def test_another_source_of_labels_reads_no_spectrum_again(raw, source, monkeypatch):
    survey, workspace = raw
    content = reduce_survey(survey, workspace, processes=1, progress=False).read_bytes()
    monkeypatch.setattr(reduce, "_reduce_parts", lambda *_: pytest.fail("spectra are read again"))
    changed = labelled_from(survey, source)
    again = reduce_survey(changed, Workspace(changed, workspace.root), progress=False)
    assert again == workspace.stars and again.read_bytes() == content


def test_the_stellar_parameter_catalogue_is_needed_by_nothing_but_its_labels(reduced, raw):
    survey, workspace = raw
    workspace.stellar_parameters.unlink()
    changed = labelled_from(survey, "own")
    reduce_survey(changed, Workspace(changed, workspace.root), processes=1, progress=False)
    with open_stars(workspace.stars) as stars, open_stars(reduced[1].stars) as whole:
        for name in whole.table.colnames:
            if name in LABEL_COLUMNS:
                assert np.isnan(stars.table[name]).all(), name
            else:
                np.testing.assert_array_equal(stars.table[name], whole.table[name], err_msg=name)
        np.testing.assert_array_equal(stars.spectra[:], whole.spectra[:])


# --- raw tables that cannot be used -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["allstar", "gaia", "stellar_parameters", "raw_manifest"])
def test_a_missing_raw_file_is_named_with_its_remedy(raw, name):
    survey, workspace = raw
    path = getattr(workspace, name)
    path.unlink()
    with pytest.raises(ReductionError, match=r"is missing: run `apogaia data` for this survey") as caught:
        reduce_survey(survey, workspace, progress=False)
    assert str(path) in str(caught.value)


def test_a_broken_raw_table_is_named(raw):
    survey, workspace = raw
    workspace.gaia.write_bytes(b"<html>504</html>" * 300)
    with pytest.raises(ReductionError, match=r"gaia_dr2_sources\.fits cannot be read"):
        reduce_survey(survey, workspace, progress=False)


@pytest.mark.parametrize(("name", "column"), [("allstar", "AK_TARG"), ("gaia", "parallax"), ("allstar", "K")])
def test_a_missing_column_is_named(raw, name, column):
    survey, workspace = raw
    path = getattr(workspace, name)
    table = Table.read(path)
    table.remove_column(column)
    table.write(path, overwrite=True)
    with pytest.raises(ReductionError, match=column.upper()):
        reduce_survey(survey, workspace, progress=False)


def test_stellar_parameters_must_be_row_by_row(raw):
    survey, workspace = raw
    table = Table.read(workspace.stellar_parameters)
    table[:-1].write(workspace.stellar_parameters, overwrite=True)
    with pytest.raises(ReductionError, match="19 rows, allStar 20"):
        reduce_survey(survey, workspace, progress=False)
    table[::-1].write(workspace.stellar_parameters, overwrite=True)
    with pytest.raises(ReductionError, match="row by row"):
        reduce_survey(survey, workspace, progress=False)


def test_open_stars_says_what_makes_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="apogaia reduce"), open_stars(tmp_path / "stars.h5"):
        pass
