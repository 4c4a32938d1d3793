"""Two catalogues of distances, star by star: matched, cut as in the paper's Figure 9, and compared (section 5.2)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from astropy import units as u
from astropy.table import Table

from apogaia.arguments.takes import takes
from apogaia.formats.distance_catalogues import DistanceCatalogue
from apogaia.physics.comparison import RobustAgreement, agreement_by, robust_agreement
from apogaia.physics.luminosity import absmag_to_fakemag, extinction_correction, fakemag_to_pc
from apogaia.physics.radii import radius_to_absmag
from apogaia.reduction.crossmatch import cross_match
from apogaia.survey import ComparisonsSettings, SourcesSettings, Survey

__all__ = [
    "PAPER",
    "Pair",
    "against_truth",
    "match",
    "overview",
    "pair_all",
    "pair_up",
    "recovered",
    "summary_rows",
]

QUANTITIES = ("dist_kpc", "logg", "snr")

# Section 5.2 of the paper, in per cent, as printed: median offset and robust scatter.
PAPER = {
    "apogee_rc": ("below 1", "about 6"),
    "bpg": ("about 5, BPG longer", "just over 10"),
    "hogg_eilers_rix": ("about 3", "about 10"),
}


@dataclass(frozen=True)
class Pair:
    """Stars in both catalogues that pass the cuts: both distances, and the quantities for bins.

    Attributes
    ----------
    dist, dist_error
        Of the first catalogue (n,) [pc].
    reference, reference_error
        Of the second (n,) [pc].
    quantities
        dist_kpc, logg and snr, each (n,); NaN where neither catalogue has it. The distance is the mean of both: in bins
        of one catalogue's, its errors alone would make stars that look far too far.
    groups
        Names of the clusters that stars belong to, or None.
    matched, left_out
        Stars in both catalogues with a distance in both; how many of them each cut left out, by its name.
    """

    title: str
    reference_title: str
    dist: np.ndarray = field(repr=False)
    dist_error: np.ndarray = field(repr=False)
    reference: np.ndarray = field(repr=False)
    reference_error: np.ndarray = field(repr=False)
    quantities: Mapping[str, np.ndarray] = field(repr=False)
    groups: np.ndarray | None = field(repr=False)
    matched: int
    left_out: Mapping[str, int]

    def agreement(self) -> RobustAgreement:
        """Offset, scatter and contaminants of all stars."""
        return robust_agreement(self.dist, self.reference, self.dist_error, self.reference_error, self.groups)

    def agreement_by(self) -> dict[str, list[dict]]:
        """Median offset and scatter in bins of each quantity."""
        return {
            name: agreement_by(values, self.dist, self.reference, self.groups)
            for name, values in self.quantities.items()
        }

    def numbers(self) -> dict[str, Any]:
        """Everything above, for a JSON file."""
        found = dataclasses.asdict(self.agreement())
        found["absolute_median_offset_percent"] = abs(found["median_offset_percent"])
        return {
            **found,
            "first": self.title,
            "second": self.reference_title,
            "matched": self.matched,
            "cut": dict(self.left_out),
            "by": self.agreement_by(),
        }


def match(
    first: DistanceCatalogue, second: DistanceCatalogue, sources: SourcesSettings
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of two catalogues that are the same star: by name if both have names, else by position.

    Each star counts once: of several rows of one name that with a distance and the highest SNR, else the first.

    Parameters
    ----------
    sources
        For the match radius, and Gaia's epoch for catalogues whose positions are at it.

    Returns
    -------
    rows, other_rows
        Of the first and of the second catalogue, each (n,).
    """
    names, other_names = (np.asarray(one.table["apogee_id"]) for one in (first, second))
    if (names != "").any() and (other_names != "").any():
        place = {name: row for row, name in zip(_once(second), other_names[_once(second)].tolist(), strict=True)}
        rows = [(row, place[name]) for row, name in zip(_once(first), names[_once(first)].tolist(), strict=True)
                if name in place]  # fmt: skip
        made = np.array(rows, dtype=int).reshape(-1, 2)
        return made[:, 0], made[:, 1]
    return _by_position(first, second, sources)


def _once(catalogue: DistanceCatalogue) -> np.ndarray:
    """Rows of the stars that have a name, the best of each."""
    table = catalogue.table
    names, snr = np.asarray(table["apogee_id"]), np.asarray(table["snr"], float)
    known = np.isfinite(np.asarray(table[catalogue.quantity], float))
    order = np.lexsort((np.arange(len(names)), -np.nan_to_num(snr, nan=-1.0), ~known))
    order = order[names[order] != ""]
    _, first = np.unique(names[order], return_index=True)
    return np.sort(order[first])


def _by_position(
    first: DistanceCatalogue, second: DistanceCatalogue, sources: SourcesSettings
) -> tuple[np.ndarray, np.ndarray]:
    tables, epochs = (first.table, second.table), (first.form.epoch, second.form.epoch)
    sources = dataclasses.replace(sources, apogee_epoch=epochs[0], gaia_epoch=epochs[1])
    ra, dec = (np.asarray(tables[0][name], float) for name in ("ra", "dec"))
    other = Table({name: np.asarray(tables[1][name], float) for name in ("ra", "dec", "pmra", "pmdec")})
    index, separation, _ = cross_match(ra, dec, other, sources)
    known = np.isfinite(np.asarray(tables[0][first.quantity], float))
    rows = np.flatnonzero(index >= 0)
    rows = rows[np.lexsort((separation[rows], ~known[rows]))]
    _, nearest = np.unique(index[rows], return_index=True)
    rows = np.sort(rows[nearest])
    return rows, index[rows]


def pair_up(
    first: DistanceCatalogue, second: DistanceCatalogue, sources: SourcesSettings, settings: ComparisonsSettings
) -> Pair:
    """Match two catalogues and apply the paper's cuts.

    These are stars with a relative error above the limit in either catalogue (Figure 9; an unknown error passes), and
    stars of APOGEE-RC whose log g there differs from the other catalogue's (section 5.2). Seismic radii become
    distances with Ks, extinction and Teff of the other catalogue.

    Raises
    ------
    ValueError
        If no star has a distance in both; the message says how they were matched.
    """
    rows, other_rows = match(first, second, sources)
    one, other = first.table[rows], second.table[other_rows]
    dist, dist_error = _distances(first, one, other)
    reference, reference_error = _distances(second, other, one)
    known = np.isfinite(dist) & np.isfinite(reference) & (dist > 0) & (reference > 0)
    if not known.any():
        raise ValueError(
            f"{first.path} and {second.path} share no star with a distance in both ({len(rows)} stars match by"
            " APOGEE_ID, or by position where one has no names)"
        )
    cuts = {"relative error": np.zeros(len(rows), bool), "log g": np.zeros(len(rows), bool)}
    for value, error in ((dist, dist_error), (reference, reference_error)):
        cuts["relative error"] |= known & (error > settings.max_relative_error * value)
    if "apogee_rc" in (first.form.kind, second.form.kind):
        difference = np.abs(np.asarray(one["logg"], float) - np.asarray(other["logg"], float))
        cuts["log g"] = known & (difference > settings.max_logg_difference)
    kept = known & ~np.logical_or.reduce(list(cuts.values()))
    quantities = {"dist_kpc": _mean_distance(dist, dist_error, reference, reference_error) / 1000}
    for name in QUANTITIES[1:]:
        values = np.asarray(one[name], float)
        quantities[name] = np.where(np.isfinite(values), values, np.asarray(other[name], float))
    groups = next((np.asarray(table["cluster"]) for table in (one, other) if "cluster" in table.colnames), None)
    return Pair(
        first.title,
        second.title,
        dist[kept],
        dist_error[kept],
        reference[kept],
        reference_error[kept],
        {name: values[kept] for name, values in quantities.items()},
        None if groups is None else groups[kept],
        int(known.sum()),
        {name: int(cut.sum()) for name, cut in cuts.items()},
    )


def _mean_distance(
    dist: np.ndarray, dist_error: np.ndarray, reference: np.ndarray, reference_error: np.ndarray
) -> np.ndarray:
    """Mean of ln distance, weighted by the errors where both are known: what the two differ by tells nothing of it."""
    relative, other = dist_error / dist, reference_error / reference
    share = other**2 / (relative**2 + other**2)
    share = np.where(np.isfinite(share), share, 0.5)
    with np.errstate(invalid="ignore", divide="ignore"):
        return dist**share * reference ** (1 - share)


def _distances(catalogue: DistanceCatalogue, own: Table, other: Table) -> tuple[np.ndarray, np.ndarray]:
    """Distances and errors [pc] of matched rows; from seismic radii with the photometry of the other catalogue."""
    if catalogue.quantity == "dist":
        return tuple(np.asarray(own[name], float) for name in ("dist", "dist_error"))  # type: ignore[return-value]
    radius, error = (np.asarray(own[name], float) for name in ("radius", "radius_error"))
    k_mag, a_k_mag, teff = (np.asarray(other[name], float) for name in ("k_mag", "a_k_mag", "teff"))
    k0_mag = extinction_correction(k_mag, a_k_mag)
    dist = fakemag_to_pc(absmag_to_fakemag(radius_to_absmag(radius, teff)), k0_mag)
    return dist, dist * error / radius


@takes(true_dist=u.pc, true_radius=u.R_sun)
def against_truth(
    catalogue: DistanceCatalogue, ours: DistanceCatalogue, true_dist, true_radius, sources: SourcesSettings
) -> RobustAgreement:
    """Agreement of a simulated survey's catalogue with the truth: the injected values should be recovered.

    Parameters
    ----------
    catalogue
        Any catalogue of the survey's stars.
    ours
        The survey's own catalogue, row by row as allStar, for names and positions.
    true_dist, true_radius
        Of each row (n,): distance [pc] and radius [Rsun].
    sources
        As for `match`.
    """
    true = np.asarray(true_radius if catalogue.quantity == "radius" else true_dist, float)
    stars = Table({name: ours.table[name] for name in ("apogee_id", "ra", "dec", "snr")} | {"dist": true})
    form = dataclasses.replace(ours.form, quantity="dist")
    rows, other_rows = match(DistanceCatalogue(ours.path, form, stars), catalogue, sources)
    table = catalogue.table[other_rows]
    value, error = (np.asarray(table[name], float) for name in (catalogue.quantity, f"{catalogue.quantity}_error"))
    groups = np.asarray(table["cluster"]) if "cluster" in table.colnames else None
    return robust_agreement(value, true[rows], error, groups=groups)


def pair_all(
    ours: DistanceCatalogue,
    catalogues: Iterable[DistanceCatalogue],
    sources: SourcesSettings,
    settings: ComparisonsSettings,
) -> tuple[dict[str, Pair], dict[str, str]]:
    """Compare a catalogue with each of the others by `pair_up`.

    Returns
    -------
    pairs, failed
        By the catalogue's kind, with the file's name where there are two of a kind; and why one cannot be compared.
    """
    pairs: dict[str, Pair] = {}
    failed: dict[str, str] = {}
    for other in catalogues:
        kind = other.form.kind
        name = kind if kind not in pairs else f"{kind} {other.path.name}"
        try:
            pairs[name] = pair_up(ours, other, sources, settings)
        except ValueError as fault:
            failed[name] = str(fault)
    return pairs, failed


@takes(true_dist=u.pc, true_radius=u.R_sun)
def recovered(
    catalogue: DistanceCatalogue, ours: DistanceCatalogue, true_dist, true_radius, survey: Survey
) -> dict[str, float]:
    """Values injected into a simulated catalogue, and those that `against_truth` recovers.

    Returns
    -------
    dict
        The names of `RobustAgreement`, and injected_offset_percent, injected_contaminants_percent and, since the stars
        are drawn, injected_contaminants_error; offset_sigma, contaminants_sigma: found minus put in, in these errors.
    """
    found = dataclasses.asdict(against_truth(catalogue, ours, true_dist, true_radius, survey.sources))
    offset, _, share = getattr(survey.comparisons, catalogue.form.kind)
    drawn = 100 * np.sqrt(share * (1 - share) / max(found["stars"], 1))
    error = np.hypot(found["contaminants_error"], drawn)
    return {
        **found,
        "injected_offset_percent": 100 * offset,
        "injected_contaminants_percent": 100 * share,
        "injected_contaminants_error": float(drawn),
        "offset_sigma": (found["offset_percent"] - 100 * offset) / found["offset_error"],
        "contaminants_sigma": float((found["contaminants_percent"] - 100 * share) / error),
    }


def overview(compared: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A line for each comparison: stars, median offset and scatter with errors, and the paper's if it gives them."""
    lines = [
        f"{'catalogue':20s} {'stars':>7s}  {'median offset [%]':>18s}  {'scatter [%]':>16s}  paper: offset, scatter [%]"
    ]
    for name, one in compared.items():
        offset, scatter = (
            f"{one[f'{key}_percent']:+7.2f} +- {one[f'{key}_error']:5.2f}"
            for key in ("median_offset", "robust_scatter")
        )
        paper = ", ".join(PAPER[name]) if name in PAPER else "-"
        lines.append(f"{one['second']:20s} {one['stars']:7d}  {offset:>18s}  {scatter:>16s}  {paper}")
    return lines


def summary_rows(numbers: Mapping[str, Any]) -> list[str]:
    """A comparison's numbers with errors as lines of a table, followed by those in bins."""
    lines = [
        f"{numbers['first']} against {numbers['second']}: {numbers['stars']} of {numbers['matched']} stars with both"
        f" distances" + "".join(f"; {count} left out by {name}" for name, count in numbers["cut"].items() if count),
        f"  {'median offset':24s} {_with_error(numbers, 'median_offset')}",
        f"  {'robust scatter':24s} {_with_error(numbers, 'robust_scatter')}",
    ]
    if numbers["offset_percent"] is not None and np.isfinite(numbers["offset_percent"]):
        lines += [
            f"  {'offset excl. contaminants':26s} {_with_error(numbers, 'offset')}",
            f"  {'contaminants':24s} {_with_error(numbers, 'contaminants')}",
            f"  {'scatter / stated errors':24s} {numbers['error_scale']:7.2f}",
        ]
    for quantity, bins in numbers["by"].items():
        for one in bins:
            lines.append(
                f"  {quantity:9s} {one['low']:9.2f} to {one['high']:9.2f}  {one['stars']:6d} stars"
                f"  {_with_error(one, 'median_offset')}  {_with_error(one, 'robust_scatter')}"
            )
    return lines


def _with_error(numbers: Mapping[str, Any], name: str) -> str:
    return f"{numbers[f'{name}_percent']:+7.2f} +- {numbers[f'{name}_error']:.2f} %"
