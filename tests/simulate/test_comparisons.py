"""Catalogues of distances of a simulated survey: columns, a random stream of their own, what was put in found again."""

import dataclasses
import hashlib

import numpy as np
import pytest
from astropy.table import Table

from apogaia.distances.comparisons import recovered
from apogaia.formats.distance_catalogues import FORMS, DistanceCatalogue, catalogues_in
from apogaia.formats.survey_tables import read_allstar
from apogaia.simulate.comparisons import FILES, simulate_comparisons
from apogaia.simulate.design import design_survey
from apogaia.simulate.files import write_tables
from apogaia.survey import load_survey
from apogaia.workspace import Workspace

KINDS = {name for name in FILES if name != "cluster_distances"}


def tables_of(survey, root) -> Workspace:
    """The survey's tables without its spectra."""
    workspace = Workspace(survey, root)
    write_tables(design_survey(survey), workspace)
    return workspace


def digests(workspace) -> dict[str, str]:
    paths = [path for path in workspace.raw.iterdir() if not path.name.startswith(".")]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in [*paths, workspace.truth]}


def rows_of(workspace) -> DistanceCatalogue:
    """The rows of allStar with their names and positions, as the survey's own catalogue has them."""
    allstar = read_allstar(workspace.allstar, workspace.release)
    stars = Table({"apogee_id": allstar["apogee_id"], "ra": allstar["ra_apogee"], "dec": allstar["dec_apogee"]})
    stars["snr"] = allstar["snr"]
    return DistanceCatalogue(workspace.catalogue, FORMS[0], stars)


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    survey = load_survey("smoke")
    return survey, tables_of(survey, tmp_path_factory.mktemp("smoke"))


def test_the_other_files_stay_bit_for_bit_the_same_and_current_ones_are_kept(smoke):
    survey, workspace = smoke
    before = digests(workspace)
    paths = simulate_comparisons(survey, workspace)
    after = digests(workspace)
    assert {name: after[name] for name in before} == before
    assert {path.name for path in paths} == set(after) - set(before) == set(FILES.values())
    times = [path.stat().st_mtime_ns for path in paths]
    assert [path.stat().st_mtime_ns for path in simulate_comparisons(survey, workspace)] == times
    changed = dataclasses.replace(survey.comparisons, bpg=(0.2, 0.15, 0.03))
    simulate_comparisons(dataclasses.replace(survey, comparisons=changed), workspace)
    differs = {name for name, digest in digests(workspace).items() if digest != after[name]}
    assert differs == {FILES["bpg"]}
    simulate_comparisons(survey, workspace)
    assert digests(workspace) == after


def test_what_was_put_into_the_smoke_survey_s_catalogues_is_found_within_the_errors(smoke):
    survey, workspace = smoke
    simulate_comparisons(survey, workspace)
    catalogues, not_read = catalogues_in(workspace.raw, survey.comparisons.min_membership, {workspace.allstar.name})
    assert not not_read and {one.form.kind for one in catalogues} == KINDS
    truth, ours = Table.read(workspace.truth), rows_of(workspace)
    for catalogue in catalogues:
        found = recovered(catalogue, ours, truth["distance_kpc"], truth["radius_rsun"], survey)
        off = (found["median_offset_percent"] - found["injected_offset_percent"]) / found["median_offset_error"]
        assert abs(off) < 4, catalogue.title
        if catalogue.form.kind != "clusters":  # of which there are too few stars here
            assert abs(found["offset_sigma"]) < 3.5 and abs(found["contaminants_sigma"]) < 3.5, catalogue.title


def test_what_was_put_in_is_found_for_several_seeds(smoke):
    """The pulls of offset and share scatter as their errors say."""
    base, workspace = smoke
    truth, ours, pulls = Table.read(workspace.truth), rows_of(workspace), []
    for seed in range(5):
        survey = dataclasses.replace(base, simulation=dataclasses.replace(base.simulation, seed=seed))
        simulate_comparisons(survey, workspace)
        for catalogue in catalogues_in(workspace.raw, 0.7, {workspace.allstar.name})[0]:
            if catalogue.form.kind != "clusters":
                found = recovered(catalogue, ours, truth["distance_kpc"], truth["radius_rsun"], survey)
                pulls.append([found["offset_sigma"], found["contaminants_sigma"]])
    simulate_comparisons(base, workspace)
    assert len(pulls) == 5 * (len(KINDS) - 1)
    assert np.abs(pulls).max() < 4
    assert np.all(np.sqrt(np.mean(np.square(pulls), axis=0)) < 1.5)  # 30 pulls: 1 give or take 0.13


@pytest.mark.parametrize("name", ["smoke-dr17", "smoke-dr19"])
def test_surveys_of_other_releases_have_them_too(tmp_path, name):
    survey = load_survey(name)
    workspace = tables_of(survey, tmp_path)
    simulate_comparisons(survey, workspace)
    catalogues, not_read = catalogues_in(workspace.raw, 0.7, {workspace.allstar.name})
    assert not not_read and {one.form.kind for one in catalogues} == KINDS


def test_a_real_survey_has_none_of_them(tmp_path):
    survey = load_survey("dr14")
    assert simulate_comparisons(survey, Workspace(survey, tmp_path)) == []
