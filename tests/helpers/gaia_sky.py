"""What the tests of Gaia's archive share: surveys that ask a stand-in, short waits, made-up sources."""

from dataclasses import replace

import numpy as np

from apogaia.archive.gaia import fetch_gaia, source_types
from apogaia.archive.tap_jobs import Patience
from apogaia.formats.releases import GaiaRelease
from apogaia.survey import load_survey
from apogaia.workspace import Workspace

DR2, EDR3 = GaiaRelease("dr2"), GaiaRelease("edr3")
QUICK = Patience(job=30, first_poll=0.003, longest_poll=0.02, first_back_off=0.003, longest_back_off=0.02)


def survey_for(url, release="dr2", **archive):
    """A survey that is fetched from `url`; cones wide enough for every simulated source, and short waits."""
    survey = load_survey("smoke" if release == "dr2" else "dr17")
    archive = {"gaia_chunk": 50, "gaia_radius": 7.0, "attempts": 4, "timeout": 10.0} | archive
    return replace(survey, name="fetched", archive=replace(survey.archive, gaia_tap=f"{url}/tap", **archive))


def fetch(survey, root, ra, dec, patience=QUICK):
    return fetch_table(survey, root, ra, dec, patience).path


def fetch_table(survey, root, ra, dec, patience=QUICK):
    return fetch_gaia(survey, Workspace(survey, root), ra, dec, progress=False, patience=patience)


def a_source(n=1, release=DR2, **columns):
    """Rows with a number in every column but those given."""
    types = source_types(release)
    rows = {name: np.full(n, 7, dtype=types[name]) for name in types.names}
    rows["source_id"] = np.arange(1, n + 1, dtype=np.int64) * 2**35 + 10**18
    for name in ("pmra", "pmdec"):
        rows[name] = np.zeros(n)
    return rows | {name: np.broadcast_to(np.asarray(values, types[name]), n).copy() for name, values in columns.items()}
