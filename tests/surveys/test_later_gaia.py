"""A later release of Gaia is one survey file."""

import numpy as np
import pytest
from astropy.table import Table

from apogaia.archive.gaia import gaia_query
from apogaia.reduction import reduce
from apogaia.reduction.stars_h5 import open_stars
from apogaia.simulate import run
from apogaia.survey import SurveyError, load_survey
from apogaia.workspace import Workspace

DR4 = """
extends = "smoke-dr17"
title = "Gaia DR4, simulated"
[sources]
gaia_release = "dr4"
gaia_epoch = "2017.5 yr"
parallax_zero_point = "none"
[simulation]
n_stars = 60
zero_point = "constant"
"""


def test_one_file_is_enough(tmp_path):
    path = tmp_path / "my_dr4.toml"
    path.write_text(DR4)
    survey = load_survey(path)
    workspace = Workspace(survey, tmp_path)
    run.simulate_survey(survey, workspace, processes=1, progress=False)
    assert (workspace.raw / "gaia_dr4_sources.fits").is_file()
    with open_stars(reduce.reduce_survey(survey, workspace, processes=1, progress=False)) as stars:
        table = stars.table
    assert np.mean(np.isfinite(table["parallax"])) > 0.9 and np.nanmedian(table["ruwe"]) > 0.9
    truth = Table.read(workspace.truth)
    known = np.asarray(truth["gaia_source_id"]) != 0
    assert np.mean((table["gaia_source_id"] == truth["gaia_source_id"])[known]) > 0.95
    query = gaia_query(survey)
    assert "JOIN gaiadr4.gaia_source AS g" in query and "g.ruwe" in query and " + 17.500000 * SQRT" in query


def test_the_zero_point_of_edr3_is_not_subtracted_from_it(tmp_path):
    path = tmp_path / "my_dr4.toml"
    path.write_text(DR4.replace('"none"', '"lindegren2021"'))
    with pytest.raises(SurveyError, match="lindegren2021' is for Gaia EDR3 alone, whose parallaxes are DR3's"):
        load_survey(path)
    path.write_text(DR4.replace('"none"', '"lindegren2021"').replace("dr4", "dr3"))
    assert load_survey(path).sources.gaia_release == "dr3"
