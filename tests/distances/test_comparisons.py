"""Two catalogues star by star: who is matched with whom, what is left out, radii as distances, what is printed."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table

from apogaia.distances.comparisons import against_truth, match, overview, pair_all, pair_up, summary_rows
from apogaia.formats.distance_catalogues import FORMS, DistanceCatalogue
from apogaia.physics.radii import radius_to_absmag
from apogaia.survey import load_survey

DR14 = load_survey("dr14")
FORM = {form.kind: form for form in FORMS}
UNKNOWN = ("ra", "dec", "pmra", "pmdec", "teff", "logg", "snr", "k_mag", "a_k_mag")


def catalogue(kind: str, names, **columns) -> DistanceCatalogue:
    names = np.array(names)
    table = Table({"apogee_id": names, "flags": np.zeros(len(names), int)})
    for name in UNKNOWN:
        table[name] = columns.pop(name, np.full(len(names), np.nan))
    for name, values in columns.items():
        table[name] = np.array(values)
    for name in ("dist", "radius"):
        if name in table.colnames and f"{name}_error" not in table.colnames:
            table[f"{name}_error"] = 0.05 * np.asarray(table[name])
    return DistanceCatalogue(Path(f"{kind}.fits"), FORM[kind], table)


def test_stars_are_matched_by_name_each_once_by_its_best_row():
    ours = catalogue("apogaia", ["a", "b", "b", "b", "", "c"], dist=[1.0, np.nan, 2.0, 3.0, 4.0, 5.0],
                     snr=np.array([9.0, 90, 50, 80, 9, 9]))  # fmt: skip
    other = catalogue("bpg", ["c", "b", "b", "d", ""], dist=[5.0, np.nan, 2.5, 1.0, 1.0])
    rows, others = match(ours, other, DR14.sources)
    assert [(row, place) for row, place in zip(rows.tolist(), others.tolist(), strict=True)] == [(3, 2), (5, 0)]


def test_stars_without_names_are_matched_by_position_at_the_epoch_of_the_catalogue():
    years, ra, dec = 15.5, np.array([10.0, 20.0, 30.0]), np.array([0.0, 40.0, -60.0])
    ours = catalogue("apogaia", ["a", "b", "c"], dist=[1.0, 2.0, 3.0], ra=ra, dec=dec)
    pm = 1000.0  # mas/yr: 15 arcsec, far beyond the radius of 2
    moved = dec + pm * years / 3.6e6
    stars = {"ra": ra[::-1].copy(), "dec": moved[::-1].copy(), "pmra": np.zeros(3), "pmdec": np.full(3, pm)}
    other = catalogue("clusters", ["", "", ""], dist=[3.0, 2.0, 1.0], cluster=["x", "x", "y"], **stars)
    rows, others = match(ours, other, DR14.sources)
    assert rows.tolist() == [0, 1, 2] and others.tolist() == [2, 1, 0]
    assert pair_up(ours, other, DR14.sources, DR14.comparisons).groups.tolist() == ["y", "x", "x"]
    still = catalogue("clusters", ["", "", ""], dist=[3.0, 2.0, 1.0], **(stars | {"pmdec": np.full(3, np.nan)}))
    assert not len(match(ours, still, DR14.sources)[0])


def test_the_paper_s_cuts_are_made_and_counted():
    names = list("abcdef")
    error = np.array([0.1, 0.3, 0.1, 0.1, np.nan, 0.1]) * 1000
    ours = catalogue("apogaia", names, dist=np.full(6, 1000.0), dist_error=error, logg=np.full(6, 2.5))
    theirs = {"dist_error": np.array([100.0, 100, 300, 100, 100, 100])}
    logg = np.array([2.6, 2.5, 2.5, 2.71, 2.5, np.nan])
    clump = catalogue("apogee_rc", names, dist=np.full(6, 1000.0), logg=logg, **theirs)
    pair = pair_up(ours, clump, DR14.sources, DR14.comparisons)
    assert pair.dist.size == 3 and pair.matched == 6  # unknown errors and log g pass
    assert dict(pair.left_out) == {"relative error": 2, "log g": 1}
    bpg = catalogue("bpg", names, dist=np.full(6, 1000.0), logg=logg, **theirs)
    assert dict(pair_up(ours, bpg, DR14.sources, DR14.comparisons).left_out) == {"relative error": 2, "log g": 0}
    every = dataclasses.replace(DR14.comparisons, max_relative_error=np.inf)
    assert pair_up(ours, bpg, DR14.sources, every).dist.size == 6


def test_seismic_radii_become_distances_with_the_other_s_photometry():
    dist, radius, teff, a_k = np.array([800.0, 2500.0]), np.array([9.0, 20.0]), np.array([4900.0, 4300.0]), 0.2
    k_mag = radius_to_absmag(radius, teff) + 5 * np.log10(dist / 10) + a_k
    ours = catalogue("apogaia", ["a", "b"], dist=1.1 * dist, k_mag=k_mag, a_k_mag=np.full(2, a_k), teff=teff)
    seismic = catalogue("apokasc", ["b", "a"], radius=radius[::-1])
    pair = pair_up(ours, seismic, DR14.sources, DR14.comparisons)
    np.testing.assert_allclose(pair.reference, dist)
    np.testing.assert_allclose(pair.reference_error, 0.05 * dist)
    back = pair_up(seismic, ours, DR14.sources, DR14.comparisons)
    np.testing.assert_allclose(sorted(back.dist), sorted(dist))


def test_bins_of_distance_show_no_trend_that_the_errors_make():
    rng = np.random.default_rng(4)
    n = 6000
    true = rng.normal(1, 0.3, n)
    first, second = (np.exp(true + sigma * rng.normal(size=n)) for sigma in (0.05, 0.2))
    names = [f"star{i}" for i in range(n)]
    every = dataclasses.replace(DR14.comparisons, max_relative_error=np.inf)
    one = catalogue("apogaia", names, dist=1000 * first, dist_error=50 * first)
    other = catalogue("bpg", names, dist=1000 * second, dist_error=200 * second)
    bins = pair_up(one, other, DR14.sources, every).agreement_by()["dist_kpc"]
    assert all(abs(each["median_offset_percent"]) < 4 * each["median_offset_error"] for each in bins)


def test_two_catalogues_without_a_common_star_are_told():
    ours, other = catalogue("apogaia", ["a"], dist=[1.0]), catalogue("bpg", ["b"], dist=[1.0])
    with pytest.raises(ValueError, match=r"apogaia.fits and bpg.fits share no star"):
        pair_up(ours, other, DR14.sources, DR14.comparisons)
    pairs, failed = pair_all(ours, [other], DR14.sources, DR14.comparisons)
    assert not pairs and "share no star" in failed["bpg"]


def test_numbers_and_lines_say_the_same_and_stand_beside_the_paper_s():
    rng = np.random.default_rng(2)
    names, true = [f"star{i}" for i in range(400)], rng.uniform(500, 5000, 400)
    ours = catalogue(
        "apogaia", names, dist=0.95 * true * np.exp(0.05 * rng.normal(size=400)), snr=rng.uniform(50, 500, 400)
    )
    catalogues = [catalogue("bpg", names, dist=true), catalogue("bpg", names, dist=true)]
    pairs, failed = pair_all(ours, catalogues, DR14.sources, DR14.comparisons)
    assert list(pairs) == ["bpg", "bpg bpg.fits"] and not failed
    numbers = pairs["bpg"].numbers()
    assert numbers["median_offset_percent"] == pytest.approx(-5, abs=4 * numbers["median_offset_error"])
    assert numbers["absolute_median_offset_percent"] == -numbers["median_offset_percent"]
    assert len(numbers["by"]["snr"]) == 6 and not numbers["by"]["logg"]
    assert "left_out" not in numbers  # by which results say that something was not made
    lines = summary_rows(numbers)
    assert lines[0].startswith("this work against BPG: 400 of 400 stars")
    assert f"{numbers['median_offset_percent']:+7.2f} +- {numbers['median_offset_error']:.2f} %" in lines[1]
    assert "about 5, BPG longer, just over 10" in overview({"bpg": numbers})[1]


def test_a_catalogue_is_compared_with_the_truth_in_its_own_quantity():
    names, dist, radius = [f"star{i}" for i in range(60)], np.full(60, 1000.0), np.full(60, 10.0)
    ours = catalogue("apogaia", names, dist=dist)
    for kind, quantity, value in (("bpg", "dist", 1100.0), ("apokasc", "radius", 9.0)):
        other = catalogue(kind, names[::-1], **{quantity: np.full(60, value)})
        found = against_truth(other, ours, dist, radius, DR14.sources)
        assert found.stars == 60 and found.median_offset_percent == pytest.approx(10 if kind == "bpg" else -10)
