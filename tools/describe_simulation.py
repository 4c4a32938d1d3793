"""Describe the simulated survey: the pictures, the numbers and the tables of docs/simulated_survey.md.

Draws the stars of the survey `mock` in memory (and of `mock-dr14`, to stand beside DR14), counts and draws what is in
them, and writes `numbers.json` and the pictures to docs/simulated_survey/; the marked blocks of the page are then
filled from `numbers.json` alone. Real files stand beside the simulated ones where the folder `--realdata` is there;
where it is not, the committed picture and numbers of the real files are kept.
"""

import argparse
import csv
import io
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from unittest import mock

import ledger
import matplotlib
import numpy as np
from astropy.coordinates import angular_separation
from astropy.io import fits
from astropy.table import Table
from PIL import Image

from apogaia import plots
from apogaia.files import atomic, read_json, write_json
from apogaia.formats.apstar import Status, read_apstar
from apogaia.formats.pixel_grid import element_window, gap_delete, wavelength_solution
from apogaia.physics import luminosity
from apogaia.plots import common
from apogaia.plots import simulation as figures
from apogaia.reduction import quality_cuts
from apogaia.reduction.continuum import apogee_continuum
from apogaia.reduction.crossmatch import cross_match
from apogaia.simulate import chemistry, evolution, lines, population, synthesis
from apogaia.simulate.design import Design, design_survey
from apogaia.simulate.fields import survey_fields
from apogaia.simulate.gaia import parallax_error_by_magnitude
from apogaia.simulate.imperfections import STARFLAG_BITS
from apogaia.simulate.run import has_file, observe_stars
from apogaia.simulate.spectrograph import BAD_ERROR, PIXMASK_BITS
from apogaia.survey import Survey, load_survey

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "simulated_survey.md"
FOLDER = ROOT / "docs" / "simulated_survey"
REALDATA = ROOT.parent / "shared" / "realdata"
DOTS_PER_INCH = 120
COLOURS = 256  # of a picture's palette: a third of the bytes, and no difference to see

# A real red-clump giant with Teff, log g and [Fe/H] published by SDSS (ASPCAP, DR12). C, N and O are those of a clump
# giant after dredge-up, turbulence and rotation the usual ones, for want of published values.
GIANT = {
    "apogee_id": "2M00004994+1621552",
    "file": "apStar-r5-2M00004994+1621552.fits",
    "teff": 4705.0,
    "logg": 2.58,
    "x_h": {"Fe": 0.05, "C": -0.08, "N": 0.25, "O": 0.02},
    "v_micro": 1.5,
    "v_broad": 2.5,
}
ZOOM = (15730.0, 15800.0)  # vacuum Angstrom
ZOOM_LINES = {"Mg I#1": 15745.02, "Mg I#2": 15753.29, "Mg I#3": 15770.15, "CO 4-1 head": 15779.5}

LABELS = "C CI N O Na Mg Al Si P S K Ca Ti TiII V Cr Mn Fe Co Ni".split()
ELEMENT_OF = {"CI": "C", "TiII": "Ti"}
MOLECULES = {"C": ("CO", "CN"), "N": ("CN",), "O": ("OH", "CO")}  # what shows these elements, for want of atomic lines
STEP_DEX = 0.3  # by which an element rises, to see where the flux answers

# Scales and means that the released models hold of their training stars (astroNN's parameter files), with units.
RELEASED: dict[str, tuple[float | None, str]] = {
    "training set: sd of the parallaxes": (1.41247, "mas"),
    "training set: mean Ks without extinction": (9.0606, "mag"),
    "training set: log g below 1.3": (None, "%"),
    "multivariate set, of the training set": (100 * 26_033 / 35_112, "%"),
    "multivariate set: mean G": (11.5825, "mag"),
    "multivariate set: sd of G": (1.18436, "mag"),
    "multivariate set: mean BP-RP": (1.34776, "mag"),
    "multivariate set: sd of BP-RP": (0.48275, "mag"),
    "multivariate set: mean Teff": (4851.59, "K"),
    "multivariate set: sd of Teff": (425.024, "K"),
    "multivariate set: sd of the parallaxes": (1.413, "mas"),
}

OBSERVED = 300  # stars whose pixels are counted
PIXELS = {
    "BADPIX": "bad columns of a fibre's traces (the same in every exposure), and cosmic-ray hits",
    "CRPIX": "cosmic-ray hits: an excess of flux",
    "BADDARK": "half of the bad columns",
    "BADFLAT": "the other half",
    "LITTROW_GHOST": "one stretch of the blue detector; no ghost in the flux",
    "PERSIST_HIGH": "the whole blue detector of a few stars, with light left over",
    "PERSIST_MED": "likewise, less light",
    "PERSIST_LOW": "likewise, least light",
    "SIG_SKYLINE": "OH lines of the night: residuals and larger errors, the more the fainter the star",
    "SIG_TELLURIC": "five fixed bands: a residual and a larger error",
    "NOT_ENOUGH_PSF": "edges of the detectors",
}


# --- numbers ---


def compare_giant(realdata: Path, survey: Survey) -> tuple[dict, np.ndarray, np.ndarray]:
    """The real giant beside its simulation: numbers, and both normalised spectra (7514,), NaN where the real is bad.

    The simulated flux goes through the same continuum normalisation with the real one's relative errors and mask.
    """
    star = read_apstar(realdata / GIANT["file"])
    real = np.ravel(apogee_continuum(star.flux, star.error, star.mask, settings=survey.spectra)[0])
    lit = star.flux > 0
    error = np.where(lit, star.error / np.where(lit, star.flux, 1.0), BAD_ERROR).astype(np.float32)
    usable = (gap_delete(error) < 0.05) & (real != 1)

    def simulate(x_h: Mapping[str, float]) -> np.ndarray:
        flux = synthesis.synthetic_flux(GIANT["teff"], GIANT["logg"], x_h, GIANT["v_micro"], GIANT["v_broad"])[0]
        return np.ravel(apogee_continuum(flux, error, star.mask, settings=survey.spectra)[0])

    def agreement(simulated: np.ndarray) -> dict:
        rms = np.sqrt(np.mean((simulated - real)[usable] ** 2))
        return {"correlation": np.corrcoef(simulated[usable], real[usable])[0, 1], "rms_difference": rms}

    simulated = simulate(GIANT["x_h"])
    with published_line_strengths():
        published = simulate(GIANT["x_h"])
    numbers = {
        **GIANT,
        "snr": star.header["snr"],
        "pixels": np.count_nonzero(usable),
        **agreement(simulated),
        "solar_ratios": agreement(simulate({"Fe": GIANT["x_h"]["Fe"]})),
        "published_line_strengths": agreement(published),
        "rms_noise_of_the_real": np.sqrt(np.mean(gap_delete(error)[usable] ** 2)),
        "mean_absorption": {"real": np.mean(1 - real[usable]), "simulated": np.mean(1 - simulated[usable])},
    }
    return numbers, np.where(usable, real, np.nan), np.where(usable, simulated, np.nan)


@contextmanager
def published_line_strengths() -> Iterator[None]:
    """Within this context spectra are made with the published log gf of atomic lines instead of the adjusted ones."""
    atoms, everything = published_lines(), lines.all_lines()
    molecules = everything[np.char.find(everything.species, " ") < 0]
    joined = lines.Lines(
        *(np.concatenate([getattr(part, name) for part in (atoms, molecules)]) for name in vars(atoms))
    )
    joined = joined[np.argsort(joined.wavelength, kind="stable")]
    synthesis._line_arrays.cache_clear()
    try:
        with mock.patch.object(synthesis, "all_lines", lambda: joined):
            yield
    finally:
        synthesis._line_arrays.cache_clear()


def published_lines() -> lines.Lines:
    """The atomic lines with their published log gf."""
    text = files("apogaia.simulate").joinpath("atomic_lines.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(row for row in text.splitlines() if not row.startswith("#"))
    atoms = lines.atomic_lines()
    log_gf = np.array([float(row["log_gf_source"]) for row in rows])
    return lines.Lines(atoms.species, atoms.wavelength, atoms.excitation, log_gf)


def element_responses() -> dict[str, np.ndarray]:
    """Loss of flux per pixel, (7514,), of the giant's spectrum at solar abundances as one element rises."""
    solar = {ELEMENT_OF.get(label, label): 0.0 for label in LABELS}
    responses = {}
    for label in LABELS:
        element = ELEMENT_OF.get(label, label)
        x_h = solar | {element: np.array([0.0, STEP_DEX])}
        flux = synthesis.synthetic_flux(
            np.full(2, GIANT["teff"]), GIANT["logg"], x_h, GIANT["v_micro"], GIANT["v_broad"]
        )
        responses[label] = gap_delete(flux[0] - flux[1]).astype(float)
    return responses


def label_lines(label: str) -> lines.Lines:
    """The lines in which a label shows: molecular ones of C, N and O, atomic ones of the others."""
    if label not in MOLECULES:
        return lines.element_lines(label)
    everything = lines.all_lines()
    return everything[np.isin(everything.species, MOLECULES[label])]


def element_numbers(responses: Mapping[str, np.ndarray]) -> list[dict]:
    """For each label: pixels of its window, lines in it, and how the flux answers there."""
    wavelengths = gap_delete(wavelength_solution())
    rows = []
    for label in LABELS:
        window, response = element_window(label), np.clip(responses[label], 0, None)
        found = label_lines(label).wavelength
        nearest = np.clip(np.searchsorted(wavelengths, found), 1, len(wavelengths) - 1)
        nearest -= found - wavelengths[nearest - 1] < wavelengths[nearest] - found
        on_pixel = np.abs(wavelengths[nearest] - found) < 0.15  # not in the gaps between the detectors
        rows.append(
            {
                "label": label,
                "window_pixels": np.count_nonzero(window),
                "lines": "atomic" if label not in MOLECULES else ", ".join(MOLECULES[label]),
                "lines_in_window": np.count_nonzero(window[nearest] & on_pixel),
                "lines_on_detectors": np.count_nonzero(on_pixel),
                "deepest_answer": response[window].max(),
                "share_of_answer_in_window": response[window].sum() / response.sum(),
            }
        )
    return rows


def observed_table(design: Design, survey: Survey) -> Table:
    """The columns of stars.h5 that the quality cuts read, as the reduction would find them in the files."""
    stars = design.stars
    index, _, count = cross_match(stars["ra"], stars["dec"], Table(design.sources), survey.sources)
    k_mag = np.where(stars["k_is_nan"] | stars["k_is_missing"], np.nan, stars["k_mag"])
    a_k_mag = np.where(stars["a_k_targ"] < survey.cuts.min_a_k_targ, np.nan, stars["a_k_targ"])
    usable = has_file(design) & (stars["spectrum_state"] == "")
    table = Table(
        {
            "apogee_id": stars["apogee_id"],
            "snr": stars["snr"],
            "v_scatter": stars["v_scatter"],
            "starflag": stars["starflag"],
            "status": np.where(usable, Status.OK, Status.NO_FILE),
            "k0_mag": luminosity.extinction_correction(k_mag, a_k_mag),
            "teff": np.where(stars["no_parameters"] | ~usable, np.nan, stars["teff"]),
            "gaia_index": index,
            "gaia_count": count,
        }
    )
    named = {"g_mag": "phot_g_mean_mag"} | {
        name: name for name in ("parallax", "parallax_error", "bp_rp", "visibility_periods_used")
    }
    for name, column in named.items():
        table[name] = np.where(index >= 0, design.sources[column][index], np.nan)
    fakemag = luminosity.mag_to_fakemag(np.asarray(table["k0_mag"]), np.asarray(table["parallax"]))
    table["log_luminosity"] = luminosity.fakemag_to_logsol(fakemag)
    return table


def faults(design: Design, table: Table, survey: Survey) -> list[dict]:
    """What is wrong, missing or doubtful in the catalogues and files: how it comes about, and in how many rows."""
    stars = design.stars
    found: list[tuple[str, str, str, np.ndarray]] = [
        (
            "allStar",
            "blend",
            "J, H, Ks and 4.5 µm are too bright together, 0.2 mag in the median and 2 at most; spectrum of one star",
            stars["contamination"] == "blend",
        ),
        ("allStar", "Ks is NaN", "drawn", stars["k_is_nan"]),
        ("allStar", "Ks is -9999.99", "drawn", stars["k_is_missing"]),
        (
            "allStar",
            "AK_TARG is -9999.99",
            "no 4.5 µm magnitude near the plane, or drawn",
            np.isnan(stars["a_k_targ"]),
        ),
        (
            "allStar",
            "AK_TARG from the SFD map",
            "no 4.5 µm magnitude, but far from the plane",
            stars["a_k_targ_method"] == "SFD",
        ),
        ("allStar", "AK_TARG is negative", "errors of H and 4.5 µm in RJCE", stars["a_k_targ"] < 0),
        ("allStar", "LOCATION_ID is 1", "drawn: a star of the 1-m telescope, no apStar file", stars["one_metre"]),
        (
            "allStar",
            "second row of a repeated star",
            "the same star and Gaia source under a field nearby, observed anew",
            stars["is_repeat"],
        ),
        ("allStar", "no ASPCAP parameters", "drawn", stars["no_parameters"]),
        ("allStar", "one visit only", "VSCATTER is 0 and says nothing", stars["n_visits"] == 1),
        (
            "allStar",
            f"VSCATTER above {survey.cuts.max_v_scatter:g} km/s",
            "orbits of binaries, and errors at low SNR and of hot stars",
            stars["v_scatter"] > survey.cuts.max_v_scatter,
        ),
        (
            "allStar",
            "companion brightens Ks by 0.1 mag or more",
            "unresolved binaries, most of them dwarfs",
            stars["companion_mag"] > 0.1,
        ),
        ("allStar", "STARFLAG is not 0", "any of the bits below", stars["starflag"] != 0),
    ]
    meaning = {
        "COMMISSIONING": "drawn; the spectrum is as good as any",
        "BRIGHT_NEIGHBOR": "a star 2.5 mag brighter in the next fibre: the more often the fainter; adds no light",
        "VERY_BRIGHT_NEIGHBOR": "likewise, 5 mag",
        "LOW_SNR": "SNR below 20",
        "PERSIST_HIGH": "drawn per star; see the pixels below",
        "PERSIST_MED": "likewise",
        "PERSIST_LOW": "likewise",
        "SUSPECT_RV_COMBINATION": "VSCATTER above 8 km/s",
        "SUSPECT_BROAD_LINES": "rotation or macroturbulence above 11 km/s",
    }
    for name, bit in STARFLAG_BITS.items():
        found.append(("allStar", f"STARFLAG {name}", meaning[name], (stars["starflag"] >> bit & 1).astype(bool)))
    matched = np.asarray(table["gaia_index"]) >= 0
    parallax = np.asarray(table["parallax"])
    found += [
        (
            "Gaia",
            "wrong match",
            "parallax, its error, G and BP-RP are another star's",
            stars["contamination"] == "wrong match",
        ),
        (
            "Gaia",
            "wrong parallax",
            "off by more than 3 of its errors either way, with the tail of Student's t",
            stars["contamination"] == "wrong parallax",
        ),
        ("Gaia", "no source within the match radius", "lost at random, more often fast stars", ~matched),
        (
            "Gaia",
            "nearest source is not the star's own",
            "a duplicated source, or a neighbour where the proper motion is unknown",
            matched & (np.asarray(table["gaia_index"]) != stars["gaia_row"]),
        ),
        (
            "Gaia",
            "more than one source within the match radius",
            "neighbours and duplicated sources",
            np.asarray(table["gaia_count"]) > 1,
        ),
        (
            "Gaia",
            "source without parallax",
            "two-parameter solutions: drawn, duplicated sources, and G above 20.5",
            matched & np.isnan(parallax),
        ),
        ("Gaia", "parallax is negative", "errors, and the zero point", parallax < 0),
        ("Gaia", "no BP-RP", "drawn", matched & np.isnan(np.asarray(table["bp_rp"]))),
        (
            "Gaia",
            f"at most {survey.cuts.min_visibility_periods} visibility periods",
            "few scans, mostly near the ecliptic; the parallax error is larger for it",
            matched & (np.asarray(table["visibility_periods_used"]) <= survey.cuts.min_visibility_periods),
        ),
        (
            "Gaia",
            f"parallax error of {survey.cuts.max_parallax_error:g} mas or more",
            "faint stars",
            np.asarray(table["parallax_error"]) >= survey.cuts.max_parallax_error,
        ),
    ]
    how = {
        "missing": "the file is not there",
        "cut": "5 to 55 % of its bytes",
        "blank": "flux 0 everywhere, errors 1e10, every pixel bad",
        "NaN errors": "flux and mask as they should be",
    }
    for state, reason in how.items():
        found.append(("apStar file", state, reason, ~stars["one_metre"] & (stars["spectrum_state"] == state)))
    return [
        {"where": where, "fault": fault, "how": reason, "rows": int(rows.sum()), "percent": 100.0 * rows.mean()}
        for where, fault, reason, rows in found
    ]


def pixel_rates(error: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """Percentage of the 7514 pixels of the detectors that bear each bit, or an error of 1e10."""
    error, mask = gap_delete(error), gap_delete(mask).astype(int)
    rates = {name: 100.0 * np.mean(mask >> bit & 1) for name, bit in PIXMASK_BITS.items()}
    return rates | {"error 1e10": 100.0 * np.mean(error >= 0.1 * BAD_ERROR)}


def simulated_pixels(design: Design) -> dict:
    """Mean rates over visits, and over the globally weighted combinations, of stars drawn at random."""
    whole = np.flatnonzero(has_file(design) & (design.stars["spectrum_state"] == ""))
    rows = np.random.default_rng(design.seed).choice(whole, min(OBSERVED, len(whole)), replace=False)
    return _mean_rates([(one.error, one.mask) for one in observe_stars(design, rows)])


def real_pixels(realdata: Path) -> dict:
    """The same of the real apStar files."""
    spectra = []
    for path in sorted(realdata.glob("apStar-*.fits")):
        with fits.open(path) as hdus:
            spectra.append((np.asarray(hdus[2].data), np.asarray(hdus[3].data)))
    return _mean_rates(spectra)


def _mean_rates(spectra: Sequence[tuple[np.ndarray, np.ndarray]]) -> dict:
    visits, combined = [], []
    for error, mask in spectra:
        if error.ndim == 1:  # one visit, which is all there is
            visits.append(pixel_rates(error, mask))
            continue
        visits += [pixel_rates(*pair) for pair in zip(error[2:], mask[2:], strict=True)]
        combined.append(pixel_rates(error[1], mask[1]))
    return {
        "stars": len(spectra),
        "visits": len(visits),
        "per_visit": {name: np.mean([one[name] for one in visits]) for name in visits[0]},
        "combined": {name: np.mean([one[name] for one in combined]) for name in visits[0]} if combined else {},
    }


def population_numbers(stars: Mapping[str, np.ndarray]) -> dict:
    """Who the stars are, and the relations that were put in, measured on them."""
    radius = np.hypot(stars["x_kpc"], stars["y_kpc"])
    thin = (stars["component"] == 0) & (np.abs(stars["z_kpc"]) < 0.5)
    outer = thin & (radius > 6) & (radius < 14)
    inside = (stars["component"] == 2) & (radius < 4)
    mg_fe = stars["mg_h"] - stars["fe_h"]
    poor = (stars["fe_h"] > -0.6) & (stars["fe_h"] < -0.2)
    mixed = mixed_giants(stars)
    log_mass, c_n = np.log10(stars["mass_msun"][mixed]), (stars["c_h"] - stars["n_h"])[mixed]
    slope, level = np.polyfit(log_mass, c_n, 1)
    return {
        "stages": {name: np.mean(stars["stage"] == k) for k, name in enumerate(evolution.STAGES)},
        "components": {name: np.mean(stars["component"] == k) for k, name in enumerate(population.COMPONENTS)},
        "percentiles_5_50_95": {
            name: np.percentile(stars[name], [5, 50, 95])
            for name in ("teff", "logg", "fe_h", "age_gyr", "mass_msun", "distance_kpc", "a_k_true_mag", "snr")
        },
        "fe_h_peak_radius_kpc": chemistry.PEAK_RADIUS_KPC,
        "fe_h_slope_outside_dex_per_kpc": np.polyfit(radius[outer], stars["fe_h"][outer], 1)[0],
        "fe_h_bar_inside_4_kpc": np.median(stars["fe_h"][inside]),
        "mg_fe_thin": np.median(mg_fe[poor & (stars["component"] == 0)]),
        "mg_fe_thick": np.median(mg_fe[poor & (stars["component"] == 1)]),
        "c_n_slope_with_log_mass": slope,
        "c_n_scatter_dex": np.std(c_n - slope * log_mass - level),
        "hidden_scatter_mag": np.std(stars["hidden_mag"]),
    }


def mixed_giants(stars: Mapping[str, np.ndarray]) -> np.ndarray:
    """Giants past the first dredge-up."""
    return (stars["stage"] >= 2) & (stars["logg"] < 3.4)


def selection_numbers(stars: Mapping[str, np.ndarray]) -> list[dict]:
    """The bins of H from which stars are drawn."""
    bins = np.stack([stars["cohort_min_h_mag"], stars["cohort_max_h_mag"]], axis=1)
    rows = []
    for bright, faint in np.unique(bins, axis=0):
        mine = (bins == (bright, faint)).all(axis=1)
        rows.append(
            {
                "bright_h_mag": bright,
                "faint_h_mag": faint,
                "stars": np.count_nonzero(mine),
                "median_snr": np.median(stars["snr"][mine]),
                "median_distance_kpc": np.median(stars["distance_kpc"][mine]),
                "giants": np.mean(stars["logg"][mine] < 3.5),
            }
        )
    return rows


def parallax_numbers(design: Design) -> dict:
    """Parallax errors by magnitude, and the zero point as it stands in the stars' own, unspoilt sources."""
    stars, sources = design.stars, design.sources
    rows = stars["gaia_row"]
    good = (rows >= 0) & ~stars["is_repeat"] & ~np.isin(stars["contamination"], ["wrong match", "wrong parallax"])
    good &= np.isfinite(sources["parallax"][rows])
    error = sources["parallax_error"][rows[good]]
    difference = sources["parallax"][rows[good]] - 1 / stars["distance_kpc"][good]
    g_mag = sources["phot_g_mean_mag"][rows[good]]
    edges = np.array([8, 10, 12, 13, 14, 15, 16, 17, 18, 21])
    weight = error**-2.0
    return {
        "by_magnitude": [
            {"g_bright": a, "g_faint": b, "stars": mine.sum(), "median_error_mas": np.median(error[mine])}
            for a, b in pairwise(edges)
            if (mine := (g_mag >= a) & (g_mag < b)).any()
        ],
        "injected_uas": 1000 * np.average(stars["zero_point"][good], weights=weight),
        "sky_error_uas": 1000 * np.std(stars["sky_error"][good]),
        "mean_difference_uas": 1000 * np.average(difference, weights=weight),
        "error_of_mean_uas": 1000 * weight.sum() ** -0.5,
        "sd_of_difference_in_errors": np.std((difference - stars["zero_point"][good]) / error),
    }


def shortcomings(stars: Mapping[str, np.ndarray]) -> dict:
    """Numbers of what the simulation does otherwise than the real survey."""
    fields = {field.location_id: (field.glon, field.glat) for field in survey_fields()}
    again = stars["is_repeat"] & ~stars["one_metre"]
    places = np.array([fields[location] for location in stars["location_id"][again].tolist()])
    away = angular_separation(*np.deg2rad((stars["glon"][again], stars["glat"][again], places[:, 0], places[:, 1])))
    atoms = published_lines().log_gf - lines.atomic_lines().log_gf
    return {
        "repeats_median_deg_from_their_field": np.median(np.rad2deg(away)),
        "repeats_nearest_deg_from_their_field": np.min(np.rad2deg(away)),
        "below_snr_30": np.mean(stars["snr"] < 30),
        "hottest_k": stars["teff"].max(),
        "log_gf_changed": np.count_nonzero(atoms),
        "log_gf_rms_change_dex": np.sqrt(np.mean(atoms**2)),
        "atomic_lines": len(atoms),
    }


def beside_dr14(survey: Survey) -> list[dict]:
    """What is published of DR14's stars and of those that trained the paper's models, and ours of the same size."""
    design = design_survey(survey)
    table = observed_table(design, survey)
    chosen = quality_cuts.select(table, survey)
    train, both = table[chosen.training], table[chosen.training_multivariate]
    known = np.isfinite(table["parallax"]) & np.isfinite(table["k0_mag"])
    here = {
        "stars with a Gaia parallax and Ks": 100 * known.mean(),
        "median parallax SNR of these": np.median(np.asarray(table["parallax"] / table["parallax_error"])[known]),
        "training set": 100 * len(train) / len(table),
        "test set": 100 * len(chosen.test) / len(table),
        "training set: sd of the parallaxes": np.std(train["parallax"]),
        "training set: mean Ks without extinction": np.mean(train["k0_mag"]),
        "training set: log g below 1.3": 100 * np.mean(design.stars["logg"][chosen.training] < 1.3),
        "multivariate set, of the training set": 100 * len(both) / len(train),
    }
    for name, column in (("G", "g_mag"), ("BP-RP", "bp_rp"), ("Teff", "teff")):
        here[f"multivariate set: mean {name}"] = np.mean(both[column])
        here[f"multivariate set: sd of {name}"] = np.std(both[column])
    here["multivariate set: sd of the parallaxes"] = np.std(both["parallax"])
    return [{"quantity": name, "here": value, **_of_dr14(name)} for name, value in here.items()]


def _of_dr14(quantity: str) -> dict:
    """The published value, its unit and where it is published; None where it is not."""
    published = {entry.quantity: entry.paper for entry in ledger.ENTRIES}
    if quantity in RELEASED:
        value, unit = RELEASED[quantity]
        return {"dr14": value, "unit": unit, "source": "released model" if value is not None else "not published"}
    if quantity.startswith("median"):
        return {"dr14": published[quantity], "unit": "", "source": "paper"}
    value = 100 * published[quantity] / published["stars in the catalogue"]
    return {"dr14": value, "unit": "%", "source": "paper"}


# --- pictures ---


def save(drawn, name: str) -> None:
    """Write a picture with a palette, in which it takes a third of the bytes."""
    figure = np.ravel(np.asarray(drawn, dtype=object))[0].figure
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    with atomic(FOLDER / f"{name}.png") as temporary:
        Image.open(content).convert("RGB").quantize(COLOURS).save(temporary, optimize=True)
    figures.plt.close(figure)


def draw(design: Design, survey: Survey, responses: Mapping[str, np.ndarray]) -> None:
    """Every picture but the real giant's."""
    stars, sources = design.stars, design.sources
    rows = stars["gaia_row"][stars["gaia_row"] >= 0]
    kiel = common.panels(None, 1, 2, plots.PAGE_WIDTH, 2.9).ravel()
    plots.kiel_diagram(stars["teff"], stars["logg"], axes=kiel[0])
    plots.kiel_diagram(stars["teff"], stars["logg"], stars["fe_h"], axes=kiel[1])
    save(kiel, "kiel")
    label = r"true $A_{K_s}$ [mag]"
    save(figures.sky_distribution(stars["glon"], stars["glat"], stars["a_k_true_mag"], label=label), "sky")
    save(figures.galactic_distribution(stars["x_kpc"], stars["y_kpc"], stars["z_kpc"], survey.maps), "galaxy")
    radius = np.hypot(stars["x_kpc"], stars["y_kpc"])
    abundances = stars["fe_h"], stars["mg_h"] - stars["fe_h"], radius, stars["mass_msun"], stars["c_h"] - stars["n_h"]
    save(figures.abundance_trends(*abundances, giant=mixed_giants(stars)), "abundances")
    save(
        figures.parallax_errors(
            sources["phot_g_mean_mag"][rows],
            sources["parallax_error"][rows],
            parallax_error_by_magnitude,
            limit=survey.cuts.max_parallax_error,
        ),
        "parallax_error",
    )
    save(
        figures.cohort_histograms(
            stars["h_mag"],
            stars["snr"],
            stars["cohort_min_h_mag"],
            stars["cohort_max_h_mag"],
            split=survey.cuts.snr_split,
        ),
        "selection",
    )
    windows = {label: element_window(label) for label in LABELS}
    atoms = {label: [] if label in MOLECULES else label_lines(label).wavelength for label in LABELS}
    save(figures.element_windows(windows, responses, atoms), "element_windows")


# --- the page ---


def markdown_table(header: Sequence[str], rows: Sequence[Sequence]) -> str:
    lines_ = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(str(cell) for cell in line)} |\n" for line in lines_)


def _giant_block(numbers: Mapping) -> str:
    giant = numbers["giant"]
    cases = {
        "the simulation as it is": giant,
        "with solar ratios of C, N and O instead": giant["solar_ratios"],
        "with the published line strengths instead": giant["published_line_strengths"],
    }
    rows = [(name, f"{case['correlation']:.3f}", f"{case['rms_difference']:.3f}") for name, case in cases.items()]
    absorbed = giant["mean_absorption"]
    return (
        f"Star {giant['apogee_id']}: Teff {giant['teff']:.0f} K, log g {giant['logg']:.2f}, [Fe/H]"
        f" {giant['x_h']['Fe']:+.2f} (DR12), SNR {giant['snr']:.0f}; {giant['pixels']:,} good pixels.\n\n"
        + markdown_table(("real giant against", "correlation", "rms difference"), rows)
        + f"\nThe real spectrum's noise is {giant['rms_noise_of_the_real']:.4f} rms. Lines take"
        f" {100 * absorbed['real']:.1f} % of its light, and {100 * absorbed['simulated']:.1f} % of that of the"
        " simulated one.\n"
    )


def _population_block(numbers: Mapping) -> str:
    population_ = numbers["population"]
    shares = [
        (name, f"{100 * population_[kind][name]:.1f} %")
        for kind, names in (("stages", evolution.STAGES), ("components", population.COMPONENTS))
        for name in names
    ]
    names = {
        "teff": ("Teff [K]", ".0f"),
        "logg": ("log g [dex]", ".2f"),
        "fe_h": ("[Fe/H] [dex]", "+.2f"),
        "age_gyr": ("age [Gyr]", ".1f"),
        "mass_msun": ("mass [solar masses]", ".2f"),
        "distance_kpc": ("distance [kpc]", ".2f"),
        "a_k_true_mag": ("extinction A_Ks [mag]", ".3f"),
        "snr": ("SNR", ".0f"),
    }
    percentiles = [
        (name, *(format(value, style) for value in population_["percentiles_5_50_95"][key]))
        for key, (name, style) in names.items()
    ]
    return (
        markdown_table(("stage or component", "stars"), shares)
        + "\n"
        + markdown_table(("quantity", "5 %", "median", "95 %"), percentiles)
    )


def _abundances_block(numbers: Mapping) -> str:
    found = numbers["population"]
    rows = [
        (
            "[Fe/H] of the thin disc, 6 to 14 kpc from the centre",
            f"{found['fe_h_slope_outside_dex_per_kpc']:+.3f} dex per kpc",
        ),
        ("[Fe/H] is highest (put in)", f"{found['fe_h_peak_radius_kpc']:g} kpc from the centre"),
        ("[Fe/H] of the bar within 4 kpc, median", f"{found['fe_h_bar_inside_4_kpc']:+.2f} dex"),
        (
            "[Mg/Fe] of thin and thick disc, [Fe/H] -0.6 to -0.2, medians",
            f"{found['mg_fe_thin']:+.2f} and {found['mg_fe_thick']:+.2f} dex",
        ),
        ("[C/N] of giants, per dex of mass", f"{found['c_n_slope_with_log_mass']:+.2f} dex"),
        ("scatter about this line", f"{found['c_n_scatter_dex']:.3f} dex"),
        ("luminosity scatter that no spectrum shows, rms", f"{found['hidden_scatter_mag']:.2f} mag"),
    ]
    return markdown_table(("relation", "as measured on the stars"), rows)


def _selection_block(numbers: Mapping) -> str:
    rows = [
        (
            f"{one['bright_h_mag']:g} to {one['faint_h_mag']:g}",
            f"{one['stars']:,}",
            f"{one['median_snr']:.0f}",
            f"{one['median_distance_kpc']:.2f}",
            f"{100 * one['giants']:.0f} %",
        )
        for one in numbers["selection"]
    ]
    header = ("bin of H [mag]", "stars", "median SNR", "median distance [kpc]", "log g below 3.5")
    return markdown_table(header, rows)


def _dr14_block(numbers: Mapping) -> str:
    rows = [
        (
            one["quantity"],
            *(_value(one[side], one["unit"]) for side in ("dr14", "here")),
            one["source"],
        )
        for one in numbers["beside_dr14"]
    ]
    return markdown_table(("share of all rows, or value", "DR14", "`mock-dr14`", "source"), rows)


def _value(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    digits = {"mag": 2, "mas": 2, "K": 0}.get(unit, 1)
    return f"{value:.{digits}f} {unit}".strip()


def _parallax_block(numbers: Mapping) -> str:
    found = numbers["parallax"]
    rows = [
        (f"{one['g_bright']} to {one['g_faint']}", f"{one['stars']:,}", f"{one['median_error_mas']:.3f}")
        for one in found["by_magnitude"]
    ]
    return (
        markdown_table(("G [mag]", "stars", "median parallax error [mas]"), rows)
        + f"\nGaia minus true parallax, mean weighted by 1 / error^2: {found['mean_difference_uas']:.1f} +-"
        f" {found['error_of_mean_uas']:.1f} uas (injected, with the same weights: {found['injected_uas']:.1f} uas, of"
        f" which neighbours on the sky share {found['sky_error_uas']:.0f} uas rms); the residuals scatter by"
        f" {found['sd_of_difference_in_errors']:.2f} of the quoted errors.\n"
    )


def _elements_block(numbers: Mapping) -> str:
    rows = [
        (
            figures.ELEMENT_NAMES.get(one["label"], one["label"]),
            f"{one['window_pixels']:,}",
            one["lines"],
            f"{one['lines_in_window']:,} of {one['lines_on_detectors']:,}",
            f"{one['deepest_answer']:.3f}",
            f"{100 * one['share_of_answer_in_window']:.0f} %",
        )
        for one in numbers["elements"]
    ]
    header = (
        "label",
        "pixels of its window",
        "lines",
        "of them in the window",
        f"deepest answer there to +{STEP_DEX} dex",
        "share of the whole answer",
    )
    return markdown_table(header, rows)


def _faults_block(numbers: Mapping) -> str:
    rows = [
        (one["where"], one["fault"], one["how"], f"{one['rows']:,}", f"{one['percent']:.2f}")
        for one in numbers["faults"]
    ]
    return markdown_table(("where", "what", "how it comes about", "rows", "per cent of the rows"), rows)


def _pixels_block(numbers: Mapping) -> str:
    ours, real = numbers["pixels"]["simulated"], numbers["pixels"]["real"]
    rows = []
    for name, how in {**PIXELS, "error 1e10": "what is bad in every way"}.items():
        cells = (side[kind][name] for kind in ("per_visit", "combined") for side in (ours, real))
        rows.append((name, how, *(f"{cell:.2f}" for cell in cells)))
    header = ("bit", "how it comes about", "visits, simulated", "visits, real", "combined, simulated", "combined, real")
    return (
        f"Per cent of the pixels on the detectors: means over {ours['visits']} visits of {ours['stars']} simulated"
        f" stars, and over {real['visits']} visits of {real['stars']} real ones (three of them faint and cool: another"
        " mixture). Combined: the globally weighted spectra of stars with several visits.\n\n"
    ) + markdown_table(header, rows)


def _shortcomings_block(numbers: Mapping) -> str:
    found = numbers["shortcomings"]
    return (
        f"* The log gf of {found['log_gf_changed']} of the {found['atomic_lines']} atomic lines were adjusted (by"
        f" {found['log_gf_rms_change_dex']:.2f} dex rms) to the giant of the first picture itself: its correlation is"
        " not an independent check. That with the published strengths is closer to one, but the strength of CN and the"
        " layer's temperatures were chosen with the same star in view, and no second real giant is available.\n"
        "* Fields do not overlap: the stars of repeated rows lie"
        f" {found['repeats_nearest_deg_from_their_field']:.0f} deg or more from the field that the row names (median"
        f" {found['repeats_median_deg_from_their_field']:.0f} deg).\n"
        f"* {100 * found['below_snr_30']:.1f} % of the stars are below SNR 30, a round number without a source; none is"
        f" hotter than {found['hottest_k']:.0f} K.\n"
    )


def _survey_block(numbers: Mapping) -> str:
    survey = numbers["survey"]
    return (
        f"All numbers and pictures are of the survey `{survey['name']}`: {survey['simulation']['n_stars']:,} rows, seed"
        f" {survey['simulation']['seed']}, {survey['gaia_sources']:,} Gaia sources, spectra at R ="
        f" {survey['resolving_power']:,}.\n"
    )


BLOCKS = {
    "survey": _survey_block,
    "giant": _giant_block,
    "population": _population_block,
    "abundances": _abundances_block,
    "selection": _selection_block,
    "dr14": _dr14_block,
    "parallax": _parallax_block,
    "elements": _elements_block,
    "faults": _faults_block,
    "pixels": _pixels_block,
    "shortcomings": _shortcomings_block,
}


def fill(text: str, numbers: Mapping) -> str:
    """The page with each of its blocks written from the numbers."""
    for name, block in BLOCKS.items():
        text = ledger.replace_block(text, name, block(numbers))
    return text


def rounded(value):
    """Numbers to five significant digits, so that another machine's last bits change nothing."""
    if isinstance(value, Mapping):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(item) for item in value]
    if isinstance(value, np.ndarray):
        return rounded(value.tolist())
    if isinstance(value, (float, np.floating)):
        return float(f"{value:.5g}")
    return value


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--realdata", type=Path, default=REALDATA, help="folder of the real APOGEE files")
    realdata = parser.parse_args(arguments).realdata
    matplotlib.use("Agg")
    plots.use_style()
    survey = load_survey("mock")
    design = design_survey(survey)
    table = observed_table(design, survey)
    responses = element_responses()
    numbers = {
        "survey": {
            "name": survey.name,
            "simulation": survey.settings("simulation")["simulation"],
            "gaia_sources": len(design.sources["source_id"]),
            "resolving_power": synthesis.RESOLVING_POWER,
        },
        "population": population_numbers(design.stars),
        "selection": selection_numbers(design.stars),
        "beside_dr14": beside_dr14(load_survey("mock-dr14")),
        "parallax": parallax_numbers(design),
        "elements": element_numbers(responses),
        "faults": faults(design, table, survey),
        "pixels": {"simulated": simulated_pixels(design)},
        "shortcomings": shortcomings(design.stars),
    }
    if realdata.is_dir():
        numbers["giant"], real, simulated = compare_giant(realdata, survey)
        numbers["pixels"]["real"] = real_pixels(realdata)
        save(figures.spectrum_comparison(real, simulated, zoom=ZOOM, zoom_lines=ZOOM_LINES), "giant")
    else:
        print(f"{realdata} is not here: the committed picture and numbers of the real files are kept")
        earlier = read_json(FOLDER / "numbers.json")
        numbers["giant"], numbers["pixels"]["real"] = earlier["giant"], earlier["pixels"]["real"]
    draw(design, survey, responses)
    write_json(FOLDER / "numbers.json", rounded(numbers))
    with atomic(PAGE) as temporary:
        text = fill(PAGE.read_text(encoding="utf-8"), read_json(FOLDER / "numbers.json"))
        temporary.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
