"""DR17 and EDR3: simulated in their own layout and columns, read, corrected for a zero point, cut, and resumed."""

import dataclasses
import json
import re
import warnings

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table
from zero_point import zpt

from apogaia.formats import fits_columns, survey_tables
from apogaia.formats.apstar import Status
from apogaia.formats.pixel_grid import bitmask_boolean, gap_delete
from apogaia.formats.releases import GaiaRelease
from apogaia.physics import lindegren
from apogaia.reduction import quality_cuts, reduce
from apogaia.reduction.stars_h5 import open_stars
from apogaia.simulate import gaia, run, truth
from apogaia.simulate.design import design_survey
from apogaia.simulate.fields import survey_fields
from apogaia.survey import SurveyError, load_survey
from apogaia.workspace import Workspace

PLACE = ("apogee_id", "location_id", "telescope", "field", "spectrum_file")


def small_survey(n_stars, **sources):
    survey = load_survey("smoke-dr17")
    return dataclasses.replace(
        survey,
        simulation=dataclasses.replace(survey.simulation, n_stars=n_stars),
        sources=dataclasses.replace(survey.sources, **sources),
    )


@pytest.fixture(scope="module")
def design():
    return design_survey(small_survey(6000))


@pytest.fixture(scope="module")
def reduced(tmp_path_factory):
    survey = small_survey(60)
    workspace = Workspace(survey, tmp_path_factory.mktemp("dr17"))
    run.simulate_survey(survey, workspace, processes=1, progress=False)
    reduce.reduce_survey(survey, workspace, processes=1, progress=False)
    with open_stars(workspace.stars) as stars:
        table, finite = stars.table, np.isfinite(stars.spectra[:]).all(axis=1)
    return survey, workspace, table, finite


# --- layout and names -------------------------------------------------------------------------------------------------


def test_a_field_belongs_to_one_telescope_by_its_declination(design):
    stars = design.stars
    south = stars["telescope"] == "lco25m"
    assert 0.15 < south.mean() < 0.3
    assert np.array_equal(stars["telescope"] == "apo1m", stars["location_id"] == 1)
    own = ~stars["is_repeat"] & (stars["location_id"] != 1)
    # a field is 1.4 deg in radius
    assert stars["dec"][own & south].max() < -28.5 and stars["dec"][own & ~south].min() > -31.5
    for name in np.unique(stars["field"]):
        assert len(set(stars["telescope"][own & (stars["field"] == name)])) <= 1
    northern, both = survey_fields(), survey_fields(southern=True)
    assert both[: len(northern)] == northern and len({field.location_id for field in both}) == len(both)


def test_spectra_lie_where_the_release_has_them(reduced):
    _, workspace, table, _ = reduced
    allstar = Table.read(workspace.allstar)
    files = sorted(path.relative_to(workspace.raw).as_posix() for path in workspace.raw.rglob("a[ps]Star-dr17-*"))
    assert len(files) == 58  # of 60: one is missing, one of the 1-m telescope
    expected = [f"{row['TELESCOPE']}/{row['FIELD']}/{row['FILE']}" for row in allstar]
    assert set(files) < set(expected)
    south = [name for name in files if name.startswith("lco25m/")]
    assert len(south) >= 8 and all(
        re.fullmatch(r"lco25m/\d{3}[+-]\d\d/asStar-dr17-2M\d{8}[+-]\d{7}.fits", s) for s in south
    )
    north = set(files) - set(south)
    assert north and all(re.fullmatch(r"apo25m/\d{3}[+-]\d\d/apStar-dr17-2M\d{8}[+-]\d{7}.fits", s) for s in north)
    assert list(table["spectrum_file"]) == list(allstar["FILE"])
    with fits.open(workspace.raw / max(south, key=lambda name: (workspace.raw / name).stat().st_size)) as hdus:
        assert "TELESCOP" not in hdus[0].header and hdus[0].header["SFILE1"].startswith("asVisit-dr17-")
        assert all(name.strip().endswith(".fits") for name in hdus[9].data["FILE"].ravel())
        assert hdus[9].data["FILE"].ravel()[0].strip() == hdus[0].header["SFILE1"]


def test_spectra_have_the_rows_and_masks_that_the_pipeline_writes(reduced):
    survey, workspace, table, _ = reduced
    n_rows = set()
    with open_stars(workspace.stars) as stars:
        for i in np.flatnonzero(np.asarray(table["status"]) == Status.OK).tolist():
            path = workspace.apstar(*(table[name][i].item() for name in PLACE))
            with fits.open(path) as hdus:
                flux, error, mask = (np.array(hdus[k].data) for k in (1, 2, 3))
                n_visits = hdus[0].header["NVISITS"]
            n_rows.add((n_visits, len(flux)))
            assert mask[0].any() and not mask[1].any() and mask[2:].any(axis=1).all()
            assert np.isnan(flux[0, :100]).all() and not error[0, :100].any()
            if n_visits == 1:
                assert not flux[1].any() and not error[1].any()
            else:
                assert error[0].max() > 2 * error[1].max()  # row 1 is not marked by large errors
            masked = bitmask_boolean(gap_delete(mask[0]), survey.spectra.masked_bits)
            assert masked.any() and (stars.spectra[i][masked] == 1).all()
    assert {(1, 2), (3, 5)} <= n_rows


def test_allstar_has_the_columns_of_the_release(reduced):
    _, workspace, _, _ = reduced
    columns = fits.open(workspace.allstar)[1].columns
    names = columns.names
    assert names[:8] == [
        "FILE",
        "APOGEE_ID",
        "TARGET_ID",
        "APSTAR_ID",
        "ASPCAP_ID",
        "TELESCOPE",
        "LOCATION_ID",
        "FIELD",
    ]
    assert {"GAIAEDR3_SOURCE_ID", "GAIAEDR3_PARALLAX", "MEMBERFLAG", "MEMBER", "RV_FLAG", "YB_FE_SPEC"} <= set(names)
    assert not {"COMMISS", "VISITS", "REDUCTION_ID", "X_H", "RB_FE", "K_IS_NAN", "APOGEE_TARGET3"} & set(names)
    assert {name: columns[name].format for name in ("LOCATION_ID", "STARFLAG", "GAIAEDR3_SOURCE_ID", "RA", "K")} == {
        "LOCATION_ID": "J",
        "STARFLAG": "K",
        "GAIAEDR3_SOURCE_ID": "K",
        "RA": "D",
        "K": "E",
    }
    table = Table.read(workspace.allstar)
    assert (np.asarray(table["K"]) > 90).any() and np.isnan(np.asarray(table["TEFF"], float)).any()
    assert not (np.asarray(table["TEFF"]) < -9000).any() and (np.asarray(table["AK_TARG"]) < -9000).any()
    row = np.asarray(table["TELESCOPE"]) == "lco25m"
    assert all(str(name).startswith("apogee.lco25m.stars.") for name in table["APSTAR_ID"][row])


def test_gaia_columns_in_the_archives_order(reduced):
    _, workspace, _, _ = reduced
    columns = fits.open(workspace.gaia)[1].columns
    assert columns.names == list(GaiaRelease("edr3").columns)
    whole = ("source_id", "astrometric_n_good_obs_al", "ipd_frac_multi_peak", "visibility_periods_used")
    assert {column.name for column in columns if column.format in "JK"} == {*whole, "astrometric_params_solved"}
    assert {columns[name].unit for name in ("nu_eff_used_in_astrometry", "pseudocolour")} == {"um-1"}


def test_every_fault_is_a_flagged_row(reduced):
    _, workspace, table, finite = reduced
    known = truth.read_truth(workspace)
    state = np.asarray(known["spectrum_state"])
    expected = {
        "missing": Status.NO_FILE,
        "cut": Status.UNREADABLE,
        "blank": Status.BLANK,
        "NaN errors": Status.BAD_ERRORS,
    }
    status = np.asarray(table["status"])
    one_metre = np.asarray(table["location_id"]) == 1
    assert set(state[~one_metre]) == {*expected, "whole"} and one_metre.sum() == 1
    for name, code in expected.items():
        assert set(status[(state == name) & ~one_metre]) == {code}
    assert np.array_equal(status == Status.OK, (state == "whole") & ~one_metre)
    assert np.array_equal(status == Status.OK, finite)
    assert table["reason"][one_metre][0] == "LOCATION_ID 1 (1-m telescope): no apStar file in the survey's folders"
    np.testing.assert_array_equal(np.isnan(table["k_mag"]), np.asarray(Table.read(workspace.allstar)["K"]) > 90)
    matched = np.asarray(table["gaia_source_id"]) != 0
    assert matched.mean() > 0.9
    assert np.mean(table["gaia_source_id"][matched] == known["gaia_source_id"][matched]) > 0.95


def test_an_interrupted_survey_goes_on_to_the_same_bytes(tmp_path):
    survey = small_survey(24)
    workspace = Workspace(survey, tmp_path)
    run.simulate_survey(survey, workspace, processes=1, progress=False)
    before = {path: path.read_bytes() for path in workspace.data.rglob("*") if path.is_file()}
    southern = [path for path in before if path.name.startswith("asStar-") and len(before[path]) > 300_000]
    kept, lost = southern[:2]
    stamp = kept.stat().st_mtime_ns
    lost.unlink()
    half = lost.parent / f".{lost.name}.123"
    half.write_bytes(b"half")
    manifest = json.loads(workspace.raw_manifest.read_text())
    workspace.raw_manifest.unlink()
    workspace.raw_manifest.with_name("started.json").write_text(
        json.dumps({"kind": "simulated", "fingerprint": manifest["fingerprint"]})
    )
    run.simulate_survey(survey, workspace, processes=1, progress=False)
    assert {path: path.read_bytes() for path in workspace.data.rglob("*") if path.is_file()} == before
    assert kept.stat().st_mtime_ns == stamp and not half.exists()


# --- stellar parameters -----------------------------------------------------------------------------------------------


def test_simulated_labels_arrive(reduced):
    _, workspace, table, _ = reduced
    known = truth.read_truth(workspace)
    assert 0.05 < np.isnan(table["teff"]).mean() < 0.2
    for name in ("teff", "logg", "fe_h", "ci_h", "tiii_h"):
        expected = known[{"ci_h": "c_h", "tiii_h": "ti_h"}.get(name, name)]
        pull = (table[name] - expected) / table[f"{name}_error"]
        assert np.nanstd(pull) == pytest.approx(1, abs=0.35) and abs(np.nanmean(pull)) < 0.5


# --- Gaia EDR3 --------------------------------------------------------------------------------------------------------


def own_sources(design):
    row = design.stars["gaia_row"]
    seen = (row >= 0) & (design.stars["contamination"] == "")
    sources = {name: values[row[seen]] for name, values in design.sources.items()}
    solved = np.isfinite(sources["parallax"])
    stars = {name: values[seen][solved] for name, values in design.stars.items()}
    return stars, {name: values[solved] for name, values in sources.items()}


def test_solutions_have_five_or_six_parameters(design):
    sources = design.sources
    five, six = (sources["astrometric_params_solved"] == number for number in (31, 95))
    assert set(sources["astrometric_params_solved"]) == {3, 31, 95}
    np.testing.assert_array_equal(np.isfinite(sources["parallax"]), five | six)
    np.testing.assert_array_equal(np.isfinite(sources["nu_eff_used_in_astrometry"]), five)
    np.testing.assert_array_equal(np.isfinite(sources["pseudocolour"]), six)
    own, seen = own_sources(design)
    assert 0.9 < np.mean(seen["astrometric_params_solved"] == 31) < 0.99
    # Lindegren et al. (2021): BP - RP = 0.15 and 3.0 are 1.72 and 1.24 per um
    assert gaia.effective_wavenumber(np.array([0.15, 3.0])) == pytest.approx([1.72, 1.24], abs=0.005)
    five = seen["astrometric_params_solved"] == 31
    expected = gaia.effective_wavenumber(own["bp_rp_true_mag"])
    assert np.std((seen["nu_eff_used_in_astrometry"] - expected)[five]) < 0.02


def test_ecliptic_latitudes(design):
    place = SkyCoord(design.stars["ra_true"][:300] * u.deg, design.stars["dec_true"][:300] * u.deg)
    ours = gaia.ecliptic_latitude(design.stars["ra_true"][:300], design.stars["dec_true"][:300])
    np.testing.assert_allclose(ours, place.barycentricmeanecliptic.lat.deg, atol=1e-4)


def test_parallaxes_are_more_precise_than_dr2s_and_scatter_by_their_errors(design):
    stars, seen = own_sources(design)
    for low, high, least, most in ((9, 12, 0.015, 0.03), (13, 15, 0.015, 0.03), (16.5, 17.5, 0.05, 0.09)):
        rows = (seen["phot_g_mean_mag"] > low) & (seen["phot_g_mean_mag"] < high)
        assert least < np.median(seen["parallax_error"][rows]) < most
    bright = seen["phot_g_mean_mag"] < 15
    ratio = (seen["parallax_error"] / gaia.parallax_error_by_magnitude(stars["g_true_mag"]))[bright]
    assert np.median(ratio) == pytest.approx(0.8, abs=0.02)
    pull = (seen["parallax"] - 1 / stars["distance_kpc"] - stars["zero_point"]) / seen["parallax_error"]
    pull = pull[~stars["binary"]]
    assert pull.std() == pytest.approx(1, abs=0.03) and abs(pull.mean()) < 0.05


def test_quality_cuts_remove_doubles_and_near_binaries(design):
    survey = load_survey("mock-dr17")
    stars, seen = own_sources(design)
    table = Table({name: seen[name] for name in ("ruwe", "ipd_frac_multi_peak", "ipd_gof_harmonic_amplitude")})
    kept = {cut.name: cut.keep(table) for cut in quality_cuts.cuts(survey) if cut.name.split()[0] in table.colnames}
    assert len(kept) == 3
    for name, rows in kept.items():
        assert 0.9 < rows.mean() < 0.99, name
    ruwe = kept["ruwe < 1.4"]
    binary, near = stars["binary"], stars["distance_kpc"] < 1
    assert ruwe[~binary].mean() > 0.95 > ruwe[binary].mean() > 0.6
    assert ruwe[binary & near].mean() < ruwe[binary & ~near].mean() - 0.1
    assert np.median(seen["ruwe"]) == pytest.approx(1, abs=0.05)


# --- the zero point ---------------------------------------------------------------------------------------------------


def test_the_injected_zero_point_is_lindegrens_and_the_constant(design):
    stars, seen = own_sources(design)
    inputs = [seen[name].astype(float) for name in ("phot_g_mean_mag", *lindegren.ONLY_EDR3)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        expected = zpt.get_zpt(*inputs)
    np.testing.assert_allclose(stars["zero_point"], expected + 0.015 + stars["sky_error"], atol=1e-9)
    assert np.std(expected) > 0.005


def test_parallaxes_are_corrected_and_what_was_subtracted_is_kept(reduced):
    survey, workspace, table, _ = reduced
    source = Table.read(workspace.gaia)
    row = {int(source["source_id"][i]): i for i in range(len(source))}
    subtracted = np.asarray(table["parallax_zero_point"])
    corrected = 0
    for star, zero_point in zip(table, subtracted, strict=True):
        if star["gaia_source_id"] == 0:
            assert np.isnan(zero_point) and np.isnan(star["parallax"])
            continue
        published = source[row[int(star["gaia_source_id"])]]
        if published["astrometric_params_solved"] == 3:
            assert np.isnan(zero_point) and np.isnan(star["parallax"])
        elif np.isnan(zero_point):
            assert star["parallax"] == published["parallax"]
        else:
            assert star["parallax"] == pytest.approx(published["parallax"] - zero_point, abs=1e-12)
            corrected += 1
    assert corrected > 50
    left = truth.zero_point_left(truth.read_truth(workspace), table)
    clean = np.asarray(truth.read_truth(workspace)["contamination"]) == "none"
    found = np.isfinite(subtracted) & clean & (np.asarray(table["n_gaia_matches"]) == 1)
    np.testing.assert_allclose(left[found], 0.015 + truth.read_truth(workspace)["sky_error"][found], atol=1e-6)
    assert truth.constant_zero_point_left(survey) == pytest.approx(15)


def test_without_a_correction_the_parallax_is_gaias(reduced):
    survey, workspace, table, _ = reduced
    plain = dataclasses.replace(survey, sources=dataclasses.replace(survey.sources, parallax_zero_point="none"))
    other = reduce.star_table(survey_tables.read_allstar(workspace.allstar), plain, Workspace(plain, workspace.root))
    assert np.all(np.asarray(other["parallax_zero_point"]) == 0)
    shift = np.asarray(other["parallax"] - table["parallax"])
    known = np.isfinite(table["parallax_zero_point"])
    np.testing.assert_allclose(shift[known], table["parallax_zero_point"][known], atol=1e-12)
    assert np.all(shift[~known & np.isfinite(shift)] == 0)
    assert truth.constant_zero_point_left(plain) is None
    assert "zero point" not in {cut.name for cut in quality_cuts.cuts(plain)}
    assert "zero point" in {cut.name for cut in quality_cuts.cuts(survey)}


@pytest.mark.parametrize("name", [*lindegren.ONLY_EDR3, "ruwe"])
def test_a_gaia_table_that_lacks_a_column_of_edr3_is_refused(reduced, tmp_path, name):
    _, workspace, _, _ = reduced
    table = Table.read(workspace.gaia)
    table.remove_column(name)
    path = tmp_path / "gaia_edr3_sources.fits"
    table.write(path)
    with pytest.raises(fits_columns.ReductionError, match=f"no column {name.upper()}"):
        survey_tables.read_gaia(path, "edr3")
    assert len(survey_tables.read_gaia(path)) == len(table)


def test_lindegrens_zero_point_needs_edr3(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('extends = "mock"\n[simulation]\nzero_point = "lindegren2021"\n')
    with pytest.raises(SurveyError, match=r"simulation\.zero_point.*EDR3"):
        load_survey(path)


def test_needs_extinction_is_a_cut_of_its_own(reduced):
    survey, _, table, _ = reduced
    flow = quality_cuts.cut_flow(table, survey)
    row = flow[flow["name"] == "A_Ks"]
    assert len(row) == 1 and row["removed"][0] > 0 and row["reason"][0] == "no extinction"
    off = dataclasses.replace(survey, cuts=dataclasses.replace(survey.cuts, needs_extinction=False))
    assert "A_Ks" not in set(quality_cuts.cut_flow(table, off)["name"])
    chosen = quality_cuts.select(table, survey)
    assert np.isfinite(table["a_k_mag"][np.union1d(chosen.training, chosen.test)]).all()
