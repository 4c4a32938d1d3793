"""Other catalogues of distances that a simulated survey has, made from its truth in their real columns.

Each has the offset, scatter and contaminants that the survey file states, unknown values, and no rows for some stars.
They are drawn from a random stream of their own, so that all other files of the survey are the same with and without.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from astropy.table import Table

from apogaia import files
from apogaia.formats.fits_columns import MISSING
from apogaia.formats.survey_tables import read_allstar, write_table
from apogaia.simulate.truth import read_truth
from apogaia.survey import ComparisonsSettings, Survey
from apogaia.workspace import Workspace

__all__ = ["FILES", "simulate_comparisons"]

STREAM = 90  # of the survey's seed; the simulation itself uses smaller numbers
# names as they are published; clusters are two tables
FILES = {
    "apogee_rc": "apogee-rc-DR14.fits",
    "bpg": "apogee_distances-DR14.fits",
    "hogg_eilers_rix": "data_HoggEilersRix2018.fits",
    "starhorse": "APOGEE_DR17_EDR3_STARHORSE_v2.fits",
    "astronn": "apogee_dr14_nn_dist.fits",
    "apokasc": "APOKASC_cat_v6.7.2.fits",
    "clusters": "cantat_gaudin_2020_members.fits",
    "cluster_distances": "cantat_gaudin_2020_clusters.fits",
}
CLUMP_ABSMAG = -1.61  # M_Ks of the red clump
CONTAMINANT_SPREAD = 0.5  # of ln distance, in addition to the scatter
NOT_A_CLUMP = 0.5  # [mag] from the clump's luminosity from which a giant counts as a contaminant of APOGEE-RC
UNKNOWN_SHARE = 0.02
CLUSTER_DEPTH = 0.04  # of ln distance, within which neighbours count as a simulated cluster
MOST_CLUSTERS = 60
Columns = dict[str, np.ndarray]


def simulate_comparisons(survey: Survey, workspace: Workspace) -> list[Path]:
    """Write the catalogues of a simulated survey into its raw folder, and return their paths; current ones are kept.

    Raises
    ------
    FileNotFoundError
        If the survey's truth or allStar is missing.
    """
    simulation = survey.simulation
    if simulation is None:
        return []
    tables = functools.cache(partial(_tables, survey, workspace))
    made = []
    for number, (kind, name) in enumerate(FILES.items()):
        path = workspace.raw / name
        stated = "clusters" if kind == "cluster_distances" else kind
        make = partial(
            _write, tables=tables, stated=survey.comparisons, kind=kind, seed=[simulation.seed, STREAM, number]
        )
        settings = {"kind": kind, "seed": simulation.seed, "stated": getattr(survey.comparisons, stated)}
        made.append(files.kept(path, make, settings, [workspace.truth, workspace.allstar]))
    return made


def _tables(survey: Survey, workspace: Workspace) -> tuple[Table, Table]:
    """The truth and allStar, row by row."""
    truth = read_truth(workspace)
    if truth is None:
        raise ValueError(f"survey {survey.name} is not simulated: it has no truth to make catalogues from")
    return truth, read_allstar(workspace.allstar, workspace.release)


def _write(
    path: Path,
    tables: Callable[[], tuple[Table, Table]],
    stated: ComparisonsSettings,
    kind: str,
    seed: list[int],
) -> None:
    truth, allstar = tables()
    if kind in ("clusters", "cluster_distances"):  # two files of one draw
        seed = [*seed[:2], list(FILES).index("clusters")]
        both = _clusters(np.random.default_rng(seed), truth, allstar, stated)
        columns = both[kind == "cluster_distances"]
    else:
        columns = _MAKERS[kind](np.random.default_rng(seed), truth, allstar, getattr(stated, kind))
    write_table(path, columns, _UNITS.get(kind, {}))


def _first_rows(truth: Table) -> np.ndarray:
    """Rows of stars, each once."""
    return np.flatnonzero(~np.asarray(truth["is_repeat"], bool) & (np.asarray(truth["apogee_id"]) != ""))


def _measured(rng: np.random.Generator, true: np.ndarray, stated: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Values with offset, scatter and contaminants about true ones, and their errors, which differ from star to star.

    The errors say what an ordinary star's are; a contaminant does not show itself.
    """
    offset, scatter, share = stated
    relative = scatter * np.exp(0.3 * rng.normal(size=len(true)))
    logarithm = np.log1p(offset) + relative * rng.normal(size=len(true))
    contaminants = rng.random(len(true)) < share
    logarithm += np.where(contaminants, CONTAMINANT_SPREAD * rng.normal(size=len(true)), 0.0)
    value = true * np.exp(logarithm)
    return value, relative * value


def _sparse(rng: np.random.Generator, *columns: np.ndarray, unknown: float = np.nan) -> list[np.ndarray]:
    """The columns as single precision, unknown in a few rows, the same in all."""
    lost = rng.random(len(columns[0])) < UNKNOWN_SHARE
    return [np.where(lost, unknown, column).astype(np.float32) for column in columns]


def _apogee_rc(rng: np.random.Generator, truth: Table, allstar: Table, stated: tuple[float, ...]) -> Columns:
    """Clump stars at distances of a clump star's luminosity, among them giants of other luminosities."""
    first = _first_rows(truth)
    stage, absmag = np.asarray(truth["stage"])[first], np.asarray(truth["k_abs_mag"], float)[first]
    clump = first[stage == "red clump"]
    other = first[(stage == "giant branch") & (np.abs(absmag - CLUMP_ABSMAG) > NOT_A_CLUMP)]
    wanted = rng.binomial(len(clump), min(1.0, stated[2] / (1 - stated[2])))
    other = rng.permutation(other)[:wanted]
    rows = np.sort(np.concatenate([clump, other]))
    dist = np.asarray(truth["distance_kpc"], float)[rows]
    wrong = np.isin(rows, other)
    dist = np.where(wrong, dist * 10 ** (0.2 * (np.asarray(truth["k_abs_mag"])[rows] - CLUMP_ABSMAG)), dist)
    found = dist * (1 + stated[0]) * np.exp(stated[1] * rng.normal(size=len(rows)))  # no errors of single stars
    logg = np.where(wrong, 2.45, np.asarray(truth["logg"], float)[rows]) + rng.normal(0, 0.05, len(rows))
    columns = _identity(allstar, rows)
    return columns | {
        "TEFF": np.asarray(truth["teff"], np.float32)[rows],
        "LOGG": logg.astype(np.float32),
        "ADDL_LOGG_CUT": np.ones(len(rows), np.int32),
        "RC_DIST": found,
        "RC_DM": 5 * np.log10(found) + 10,
    }


def _bpg(rng: np.random.Generator, truth: Table, allstar: Table, stated: tuple[float, ...]) -> Columns:
    """Percentiles of a posterior for each row of allStar; repeated rows of a star have its values."""
    dist, error = _measured(rng, np.asarray(truth["distance_kpc"], float), stated)
    low, middle, high = _sparse(rng, dist - error, dist, dist + error)
    columns = {"APOGEE_ID": np.asarray(allstar["apogee_id"]), "BPG_dist16": low, "BPG_dist50": middle}
    return columns | {"BPG_dist84": high, "BPG_meandist": middle, "BPG_diststd": (high - low) / 2}


def _hogg_eilers_rix(rng: np.random.Generator, truth: Table, allstar: Table, stated: tuple[float, ...]) -> Columns:
    """Parallaxes of luminous giants from their spectra."""
    first = _first_rows(truth)
    rows = first[np.asarray(truth["logg"], float)[first] < 2.2]
    dist, error = _measured(rng, np.asarray(truth["distance_kpc"], float)[rows], stated)
    return {
        "2MASS_ID": np.asarray(truth["apogee_id"])[rows],
        "Gaia_parallax": np.round(np.asarray(truth["parallax_true"] + truth["zero_point"], float)[rows], 4),
        "Gaia_parallax_err": np.full(len(rows), 0.03),
        "spec_parallax": np.round(1 / dist, 4),
        "spec_parallax_err": np.round(error / dist**2, 4),
        "training_set": np.ones(len(rows), np.int64),
        "sample": rng.choice(["A", "B"], len(rows)),
    }


def _starhorse(rng: np.random.Generator, truth: Table, allstar: Table, stated: tuple[float, ...]) -> Columns:
    rows = _first_rows(truth)
    dist, error = _measured(rng, np.asarray(truth["distance_kpc"], float)[rows], stated)
    low, middle, high = _sparse(rng, dist - error, dist, dist + error)
    return _identity(allstar, rows) | {"dist16": low, "dist50": middle, "dist84": high}


def _astronn(rng: np.random.Generator, truth: Table, allstar: Table, stated: tuple[float, ...]) -> Columns:
    """A network's distances [pc], one row per allStar row, -9999 for unknown."""
    dist, error = _measured(rng, 1000 * np.asarray(truth["distance_kpc"], float), stated)
    dist, error = (column.astype(float) for column in _sparse(rng, dist, error))
    columns = {
        "nn_parallax": 1000 / dist,
        "nn_parallax_error": 1000 * error / dist**2,
        "dist": dist,
        "dist_error": error,
        "weighted_dist": dist,
        "weighted_dist_error": error,
    }
    columns = {name: np.where(np.isfinite(values), values, MISSING) for name, values in columns.items()}
    identity = _identity(allstar, np.arange(len(allstar)))
    names = ("apogee_id", "ra_apogee", "dec_apogee")
    return dict(zip(names, identity.values(), strict=True)) | columns


def _apokasc(rng: np.random.Generator, truth: Table, allstar: Table, stated: tuple[float, ...]) -> Columns:
    """Seismic radii of a third of the giants that oscillate at a measurable frequency."""
    first = _first_rows(truth)
    logg = np.asarray(truth["logg"], float)[first]
    rows = first[(logg > 1.5) & (logg < 3.3) & (rng.random(len(first)) < 1 / 3)]
    radius, error = _measured(rng, np.asarray(truth["radius_rsun"], float)[rows], stated)
    lost = rng.random(len(rows)) < UNKNOWN_SHARE
    identity = _identity(allstar, rows)
    radius, error = (np.where(lost, MISSING, column) for column in (radius, error))
    columns = {"2MASS_ID": identity.pop("APOGEE_ID"), **identity}
    return columns | {"APOKASC2_RADIUS": radius, "APOKASC2_RADIUS_RANERR": error}


def _clusters(
    rng: np.random.Generator, truth: Table, allstar: Table, settings: ComparisonsSettings
) -> tuple[Columns, Columns]:
    """Stars of the same field at about the same distance, taken for clusters, and the clusters' distances."""
    offset, scatter, share = settings.clusters
    first = _first_rows(truth)
    dist = 1000 * np.asarray(truth["distance_kpc"], float)
    ra, dec = (np.asarray(allstar[name], float) for name in ("ra_apogee", "dec_apogee"))
    members: list[np.ndarray] = []
    cluster: list[str] = []
    names: list[str] = []
    distances: list[float] = []
    fields = np.asarray(truth["location_id"])[first]
    for place in rng.permutation(np.unique(fields))[:MOST_CLUSTERS]:
        rows = first[fields == place]
        rows = rows[np.isfinite(ra[rows] + dec[rows])]
        rows = rows[np.argsort(dist[rows])]
        ends = np.searchsorted(dist[rows], dist[rows] * np.exp(CLUSTER_DEPTH), "right")
        sizes = ends - np.arange(len(rows))
        if not sizes.size or sizes.max() < 2:
            continue
        richest = int(np.argmax(sizes))
        members.append(rows[richest : ends[richest]])
        names.append(f"Simulated_{len(names) + 1}")
        cluster += [names[-1]] * len(members[-1])
        distances.append(float(np.exp(np.log(dist[members[-1]]).mean())))
    inside = np.concatenate([*members, np.zeros(0, int)]).astype(int)
    foreign = np.flatnonzero(rng.random(len(inside)) < share)  # what belongs to another cluster than is said
    label = np.array(cluster, dtype=str)
    if len(names) > 1:
        label[foreign] = rng.choice(names, len(foreign))
    found = np.array(distances) * (1 + offset) * np.exp(scatter * rng.normal(size=len(names)))
    years = 15.5  # to Gaia DR2's epoch
    pmra, pmdec = (np.asarray(truth[name], float)[inside] for name in ("pmra_true", "pmdec_true"))
    cos_dec = np.cos(np.radians(dec[inside]))
    stars = {
        "RA_ICRS": ra[inside] + pmra * years / 3.6e6 / cos_dec,
        "DE_ICRS": dec[inside] + pmdec * years / 3.6e6,
        "GaiaDR2": np.asarray(truth["gaia_source_id"], np.int64)[inside],
        "pmRA": pmra,
        "pmDE": pmdec,
        "Proba": rng.choice([0.7, 0.8, 0.9, 1.0], len(inside)),
        "Cluster": label,
    }
    return stars, {"Cluster": np.array(names, dtype=str), "DistPc": found, "DMNN": 5 * np.log10(found) - 5}


def _identity(allstar: Table, rows: np.ndarray) -> Columns:
    named = {"APOGEE_ID": np.asarray(allstar["apogee_id"])[rows]}
    return named | {name.upper(): np.asarray(allstar[f"{name}_apogee"], float)[rows] for name in ("ra", "dec")}


_MAKERS: dict[str, Callable[[np.random.Generator, Table, Table, tuple[float, ...]], Columns]] = {
    "apogee_rc": _apogee_rc,
    "bpg": _bpg,
    "hogg_eilers_rix": _hogg_eilers_rix,
    "starhorse": _starhorse,
    "astronn": _astronn,
    "apokasc": _apokasc,
}
_UNITS = {
    "bpg": dict.fromkeys(("BPG_dist16", "BPG_dist50", "BPG_dist84", "BPG_meandist", "BPG_diststd"), "kpc"),
    "starhorse": dict.fromkeys(("dist16", "dist50", "dist84"), "kpc"),
    "astronn": {"dist": "pc", "dist_error": "pc", "weighted_dist": "pc", "weighted_dist_error": "pc"},
    "clusters": {"RA_ICRS": "deg", "DE_ICRS": "deg", "pmRA": "mas / yr", "pmDE": "mas / yr"},
    "cluster_distances": {"DistPc": "pc"},
}
