"""Every public function takes masked arrays, quantities, pandas, big-endian and object arrays as it takes plain ones.

The first test walks over the public functions: a new one states with `takes` what its arguments are, or is excused
here with a reason, and has an example here. The ids of the tests (`pytest -v`) are the list of what is walked over.
"""

import dataclasses
import functools
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.table import Column, MaskedColumn, QTable, Table
from astropy.utils.masked import Masked

from apogaia.arguments import plain
from apogaia.arguments.takes import takes
from apogaia.distances.catalogue import COLUMNS as CATALOGUE_COLUMNS
from apogaia.formats import stars_h5_columns
from apogaia.model.error_calibration import ErrorCalibration, Prediction
from apogaia.model.training_domain import TrainingDomain
from apogaia.parameters.predictions import LabelPrediction
from apogaia.physics.galaxy import MAP_ELEMENTS
from apogaia.physics.literature import PAPER_SUMMARIES, PUBLISHED
from apogaia.survey import load_survey
from apogaia.zero_point.dependence import ZeroPointPlane
from apogaia.zero_point.offset_posterior import OffsetPosterior
from apogaia.zero_point.surface import ZeroPointSurface

# What users are told of: the names that `import apogaia` gives, and these parts. Plot functions take what these return;
# archive, simulate, refit, closure and cli take settings, names and each other's results.
WALKED = (
    *("physics", "zero_point", "distances", "formats", "trained_model", "survey", "workspace"),
    *(f"reduction.{name}" for name in "continuum crossmatch quality_cuts normalised_spectra stars_h5".split()),
    *(f"model.{name}" for name in "inference jacobian model_file offset_draws training_domain".split()),
    *(f"parameters.{name}" for name in "inference parameters_model recovery".split()),
    "model.error_calibration",
)

# Annotations of arguments that hold no numbers and no paths from outside; array-like ones are arrays or bare
NO_DATA = re.compile(
    r"(str|int|bool|None|slice|bytes|Sequence\[(str|int)\]|Iterable\[str\]|Survey|\w+Settings|Release|ColumnNames"
    r"|keras\.Model|ErrorCalibration|OffsetPosterior|Placement)( \| (None|str|int|bool))*"
)

# function, or function:argument -> why it is not stated with `takes`
EXCUSED = {
    "distances.catalogue.provenance:zero_point": "a number, or the name of a model",
    "distances.catalogue.write_catalogue:provenance": "a mapping of texts from `provenance`",
    "distances.catalogue.write_table:table": "any columns, each made plain as it is written",
    "formats.apstar.SpectrumError.__init__": "the package raises it",
    "distances.comparisons.against_truth:catalogue": "from `read_distance_catalogue`",
    "distances.comparisons.against_truth:ours": "from `read_distance_catalogue`",
    "distances.comparisons.match": "catalogues from `read_distance_catalogue`",
    "distances.comparisons.overview": "numbers of `Pair.numbers`",
    "distances.comparisons.pair_all": "catalogues from `read_distance_catalogue`",
    "distances.comparisons.pair_up": "catalogues from `read_distance_catalogue`",
    "distances.comparisons.recovered:catalogue": "from `read_distance_catalogue`",
    "distances.comparisons.recovered:ours": "from `read_distance_catalogue`",
    "distances.comparisons.summary_rows": "numbers of `Pair.numbers`",
    "formats.fits_columns.ascii_column": "texts that are written to a file",
    "formats.fits_columns.set_text_card": "the header of a file that is written",
    "formats.fits_columns.known_number": "it judges the value of a header card",
    "formats.fits_columns.native": "it makes columns of files plain itself",
    "formats.fits_columns.raw_values": "it reads a table of a file",
    "formats.survey_tables.read_stellar_parameters:allstar": "a table from `read_allstar`",
    "formats.survey_tables.spectrum_places": "a table from `read_allstar`",
    "formats.survey_tables.write_fits:parts": "HDUs that the package makes",
    "formats.survey_tables.write_gaia:sources": "arrays that the package makes",
    "formats.survey_tables.write_table": "arrays that the package makes",
    "model.error_calibration.calibration_rows:test": "rows as `select` gives them",
    "model.error_calibration.unseen_rows:validation": "rows as `split` gives them",
    "model.error_calibration.unseen_rows:gradient": "rows as `split` gives them",
    "model.model_file.provenance": "a training set that the package makes",
    "model.model_file.save_model": "a network and what the package knows of it",
    "model.training_domain.TrainingDomain.fit": "a training set that the package makes",
    "physics.comparison.agreement_by:groups": "names of any kind",
    "physics.comparison.robust_agreement:groups": "names of any kind",
    "physics.literature.tensions:published": "entries of `published_zero_points`",
    "parameters.recovery.true_labels": "a table from `read_truth`",
    "physics.galaxy.map_against_truth": "grids of `binned_median`",
    "physics.lindegren.correct_parallaxes": "it changes the table in place and makes its columns plain itself",
    "physics.luminosity.fakemag_to_logsol:band": "a name",
    "physics.luminosity.logsol_to_fakemag:band": "a name",
    "reduction.stars_h5.Stars.spectra_of": "rows as `select` gives them",
    "reduction.stars_h5.write_star_table": "a table from `open_stars`, and a link",
    "reduction.stars_h5.write_stars": "a table and spectra that the reduction makes",
    "zero_point.dependence.Dependence.of": "arrays and fits that the package makes",
    "zero_point.dependence.Dependence.of_fit": "arrays and fits that the package makes",
    "zero_point.dependence.Dependence.slope": "arrays and fits that the package makes",
    "zero_point.dependence.Dependence.with_cells": "arrays and fits that the package makes",
    "zero_point.dependence.log_evidence": "arrays and fits that the package makes",
    "zero_point.dependence.plane_basis": "arrays and fits that the package makes",
    "zero_point.dependence.sky_cells": "arrays and fits that the package makes",
    "zero_point.dependence.told_by": "arrays and fits that the package makes",
    "model.jacobian.luminosity_groups:rows": "rows as `select` gives them",
    "model.jacobian.sensitivity_by_element": "curves that `jacobian` gives",
    "model.jacobian.strongest_windows": "curves that `jacobian` gives",
    "zero_point.refit_zero_point.density_shift_by_distance": "a fit and arrays that the package makes",
    "zero_point.refit_zero_point.error_budget_uas": "a fit that the package makes",
    "zero_point.refit_zero_point.residuals_by": "a fit and arrays that the package makes",
    "model.inference.in_batches": "a function and spectra of the package",
    "survey.load_survey": "a name, a path or a survey: it tells them apart itself",
    "survey.restore_survey": "settings from a model file",
    "workspace.Workspace.__init__": "a folder, where an empty text is none",
    "zero_point.gaia_tables.add_zero_point": "it reads the columns of a data frame as pandas gives them",
    "zero_point.offset_posterior.OffsetPosterior.from_model": "a network, and ranges from its file",
    "zero_point.offset_posterior.constant_zero_point": "a network",
    "zero_point.offset_posterior.zero_point:model": "a network",
    "zero_point.dependence.ZeroPointPlane.from_dict": "what `Calibration.in_uas` gave",
    "zero_point.surface.zero_point_surface:model": "a network",
}


def public_functions() -> dict:
    """Functions, methods and written constructors by their names below `apogaia`."""
    modules = []
    for name in WALKED:
        module = importlib.import_module(f"apogaia.{name}")
        inner = pkgutil.iter_modules(getattr(module, "__path__", []))
        modules += [module, *(importlib.import_module(f"apogaia.{name}.{info.name}") for info in inner)]
    package = importlib.import_module("apogaia")
    found = [getattr(module, name) for module in (package, *modules) for name in getattr(module, "__all__", [])]
    functions = {}
    for item in found:
        members = (
            [getattr(member, "__func__", member) for member in vars(item).values()] if inspect.isclass(item) else [item]
        )
        for function in filter(inspect.isfunction, members):
            name = f"{function.__module__}.{function.__qualname__}".removeprefix("apogaia.")
            generated = (
                function.__code__.co_filename == "<string>"
            )  # constructors of dataclasses: the package's results
            own = not function.__name__.startswith("_") or function.__name__ == "__init__"
            if function.__module__.startswith("apogaia") and own and not generated:
                functions[name] = function
    return functions


FUNCTIONS = public_functions()
STATING = {name: function for name, function in FUNCTIONS.items() if getattr(function, "takes", {})}


def undeclared(name: str, function) -> list[str]:
    """Arguments that may hold numbers or paths from outside, and that the function does not state."""
    arguments = inspect.signature(function).parameters.values()
    return [
        argument.name
        for argument in arguments
        if argument.name not in {*getattr(function, "takes", {}), "self", "cls"}
        and not (isinstance(argument.annotation, str) and NO_DATA.fullmatch(argument.annotation))
        and not {name, f"{name}:{argument.name}"} & set(EXCUSED)
    ]


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_every_public_function_states_what_it_takes(name):
    assert not undeclared(name, FUNCTIONS[name]), "state these arguments with `takes`, or excuse them in EXCUSED"


def test_a_new_function_cannot_be_forgotten():
    def bare(mag):
        return mag

    def annotated(mag: np.ndarray, maps: str):
        return mag

    assert undeclared("bare", bare) == ["mag"]
    annotated.__annotations__ = {"mag": "np.ndarray", "maps": "str"}
    assert undeclared("annotated", annotated) == ["mag"]
    assert undeclared("stated", takes(mag=u.mag)(annotated)) == []


def test_the_excused_are_there():
    for entry in EXCUSED:
        name, _, argument = entry.partition(":")
        assert name in FUNCTIONS and (not argument or argument in inspect.signature(FUNCTIONS[name]).parameters)


# --- examples ---------------------------------------------------------------------------------------------------------

DR14, DR17 = load_survey("dr14"), load_survey("dr17")
N = 5
RNG = np.random.default_rng(1)
FAKEMAG, PARALLAX, ERROR = RNG.uniform(5, 90, N), RNG.uniform(0.2, 2, N), RNG.uniform(0.01, 0.1, N)
MAG, A_K, G, BP_RP, TEFF = (RNG.uniform(*limits, N) for limits in ((8, 12), (0, 1), (10, 16), (1, 2), (4000, 5500)))
RA, DEC, GLON, GLAT, DIST = (
    RNG.uniform(*limits, N) for limits in ((0, 360), (-80, 80), (0, 360), (-80, 80), (500, 5e3))
)
PM, KPC, V_HELIO = RNG.normal(0, 5, N), RNG.uniform(-3, 3, N), RNG.normal(0, 50, N)
INPUTS = {"g_mag": G, "bp_rp": BP_RP, "teff": TEFF}
FLUX, MASK = RNG.uniform(0.9, 1.1, 8575), RNG.integers(0, 2, 8575)
SPECTRA = RNG.uniform(0.8, 1.1, (N, 24))
LABELS = {name: RNG.uniform(0.01, 0.04, N) for name in ("logg_error", "fe_h", "fe_h_error")}
LABELS |= {f"{element}_h{end}": RNG.uniform(0.01, 0.04, N) for element in MAP_ELEMENTS for end in ("", "_error")}
PREDICTION = Prediction(FAKEMAG, ERROR, ERROR, 1.4 * ERROR)
MAG_EDGES = np.array([8.0, 10.0, 12.0])
ALL_LABELS = RNG.normal(0, 1, (N, 22))
LABEL_ERROR = 0.1 * np.abs(ALL_LABELS) + 0.01
LABEL_PREDICTION = LabelPrediction(ALL_LABELS + LABEL_ERROR, LABEL_ERROR, LABEL_ERROR, 1.4 * LABEL_ERROR)
AXES = [np.linspace(10.0, 16.0, 5), np.linspace(1.0, 2.0, 5), np.linspace(4000.0, 5500.0, 5)]
GRID = RNG.normal(-0.05, 0.01, (5, 5, 5))


def made_of(columns, values_of) -> dict:
    return {name: values_of(name, kind) for name, kind in columns}


# So that every star trains or tests, and one that is unknown does not
GOOD = {
    "status": 0,
    "starflag": 0,
    "visibility_periods_used": 20,
    "parallax_error": 0.05,
    "v_scatter": 0.5,
    "ruwe": 1.0,
}
GOOD |= {
    "ruwe": 1.0,
    "ipd_frac_multi_peak": 1.0,
    "ipd_gof_harmonic_amplitude": 0.05,
    "glon": 120.0,
    "parallax_zero_point": -0.02,
}


def star_value(name: str, kind: str):
    if kind == "U":
        return np.array([f"{name}{i}" for i in range(N)])
    if name == "snr":
        return np.array([300.0, 100.0, 300.0, 100.0, 300.0])
    if name in GOOD:
        return np.full(N, GOOD[name])
    return np.arange(1, N + 1) if kind[0] == "i" else RNG.uniform(1, 2, N)


STARS = Table(made_of([(column.name, column.kind) for column in stars_h5_columns.COLUMNS], star_value))


def kind_in_stars(name: str) -> str:
    return next((column.kind for column in stars_h5_columns.COLUMNS if column.name == name), "f8")


CATALOGUE = Table(
    made_of([(name, "i4" if name == "flags" else kind_in_stars(name)) for name, _, _ in CATALOGUE_COLUMNS], star_value)
)


def posterior() -> OffsetPosterior:
    layers = ((RNG.normal(0, 1, (3, 4)), np.zeros(4)), (RNG.normal(0, 1, (7, 4, 1)), np.zeros(1)))
    return OffsetPosterior(np.array([13.0, 1.5, 4700.0]), np.array([2.0, 0.3, 400.0]), layers, 1.4)


def domain() -> TrainingDomain:
    labels = np.column_stack(list(INPUTS.values()))
    scatter, positions = np.ones(2), RNG.normal(0, 1, (30, 2))
    components = np.linalg.qr(RNG.normal(0, 1, (24, 2)))[0].T
    return TrainingDomain(
        np.ones(24), components, scatter, positions, labels.mean(axis=0), np.cov(labels.T), np.ones(4)
    )


def calibration() -> ErrorCalibration:
    return ErrorCalibration([], [], [], [], [], 0)


MEANS, SDS = np.array([13.0, 1.5, 4700.0]), np.array([2.0, 0.3, 400.0])
PLANE = ZeroPointPlane(MEANS, SDS, RNG.normal(0, 9, 4), np.eye(4), np.zeros(3))

EXAMPLES = {
    "distances.catalogue.build_catalogue": {
        "stars": STARS, "prediction": PREDICTION, "zero_point": -ERROR, "inference": DR14.inference,
        "zero_point_error": 0.02,
    },
    "distances.catalogue.distance_table": {
        "prediction": PREDICTION, "k_mag": MAG, "a_k_mag": A_K, "inference": DR14.inference,
    },
    "distances.consistency.against_truth": {"catalogue": CATALOGUE, "dist": DIST},
    "distances.consistency.median_differences": {"catalogue": CATALOGUE, "cuts": DR14.cuts},
    "formats.pixel_grid.bitmask_boolean": {"mask": MASK, "bits": [0, 3]},
    "formats.pixel_grid.gap_delete": {"array": FLUX},
    "model.error_calibration.ErrorCalibration.apply": {"self": calibration(), "prediction": PREDICTION, "snr": MAG},
    "model.error_calibration.calibration_rows": {"table": STARS, "test": np.arange(N)},
    "model.error_calibration.unseen_rows": {"table": STARS, "validation": np.arange(2), "gradient": np.arange(2, N)},
    "model.jacobian.luminosity_groups": {"fakemag": MAG, "rows": np.arange(N)},
    "model.training_domain.TrainingDomain.inflation": {"self": domain(), "spectra": SPECTRA},
    "model.training_domain.TrainingDomain.label_distance": {"self": domain(), **INPUTS},
    "model.training_domain.TrainingDomain.outside": {"self": domain(), "spectra": SPECTRA, **INPUTS},
    "model.training_domain.TrainingDomain.place": {"self": domain(), "spectra": SPECTRA, **INPUTS},
    "model.training_domain.TrainingDomain.spectrum_distance": {"self": domain(), "spectra": SPECTRA},
    "physics.comparison.agreement": {"dist": DIST, "reference": 0.9 * DIST},
    "physics.comparison.agreement_by": {"values": MAG, "dist": DIST, "reference": 0.9 * DIST},
    "physics.comparison.robust_agreement": {
        "dist": DIST, "reference": 0.9 * DIST, "dist_error": 0.1 * DIST, "reference_error": 0.05 * DIST,
    },
    "physics.comparison.sharp_giants": {"catalogue": CATALOGUE},
    "physics.comparison.snr_gain": {"catalogue": CATALOGUE},
    "physics.galaxy.abundance_ratio": {"parameters": Table(LABELS), "element": "mg"},
    "physics.galaxy.binned_median": {"x": KPC, "y": KPC, "values": PARALLAX, "maps": DR14.maps},
    "physics.galaxy.galactocentric": {"ra": RA, "dec": DEC, "dist": DIST, "maps": DR14.maps},
    "physics.galaxy.galactocentric_from_galactic": {"glon": GLON, "glat": GLAT, "distance_kpc": DIST / 1000},
    "physics.galaxy.median_by_radius": {"radius": 9.0 + KPC, "values": PARALLAX},
    "physics.galaxy.true_galactocentric": {
        "catalogue": Table({"ra": RA, "dec": DEC}), "truth": Table({"distance_kpc": DIST / 1000}), "maps": DR14.maps,
    },
    "physics.galaxy.map_sample": {
        "catalogue": Table({"dist": DIST, "dist_model_error": 0.1 * DIST}),
        "parameters": Table(LABELS), "z": 0.1 * KPC, "maps": DR14.maps,
    },
    "physics.galaxy.orbits": {
        "catalogue": Table({"ra": RA, "dec": DEC, "dist": DIST, "pmra": PM, "pmdec": -PM}),
        "v_helio": V_HELIO, "maps": DR14.maps,
    },
    "physics.hydrogen_lines.brackett_wavelength": {"upper": np.arange(11.0, 11.0 + N)},
    "physics.lindegren.zero_point": {
        "g_mag": G, "nu_eff": 1.4 + 0.1 * A_K, "pseudocolour": 1.4 + 0.1 * A_K, "ecl_lat": GLAT,
        "params_solved": np.array([31.0, 31.0, 95.0, 95.0, 3.0]),
    },
    "physics.literature.QuadraticSummary.zero_point_uas": {"self": PAPER_SUMMARIES["teff"], "x": TEFF},
    "physics.literature.tensions": {"value_uas": -50.0, "error_uas": 3.0, "published": PUBLISHED},
    "physics.luminosity.absmag_to_fakemag": {"absmag": -MAG, "absmag_error": ERROR},
    "physics.luminosity.corrected_parallax": {"parallax": PARALLAX, "zero_point": -ERROR},
    "physics.luminosity.extinction_correction": {"k_mag": MAG, "a_k_mag": A_K},
    "physics.luminosity.fakemag_to_absmag": {"fakemag": FAKEMAG, "fakemag_error": ERROR},
    "physics.luminosity.fakemag_to_logsol": {"fakemag": FAKEMAG},
    "physics.luminosity.fakemag_to_parallax": {"fakemag": FAKEMAG, "mag": MAG, "fakemag_error": ERROR},
    "physics.luminosity.fakemag_to_pc": {"fakemag": FAKEMAG, "mag": MAG, "fakemag_error": ERROR},
    "physics.luminosity.has_extinction": {"a_k_mag": A_K},
    "physics.luminosity.logsol_to_fakemag": {"logsol": A_K},
    "physics.luminosity.mag_to_absmag": {"mag": MAG, "parallax": PARALLAX, "parallax_error": ERROR},
    "physics.luminosity.mag_to_fakemag": {"mag": MAG, "parallax": PARALLAX, "parallax_error": ERROR},
    "physics.luminosity.parallax_to_pc": {"parallax": PARALLAX, "parallax_error": ERROR},
    "physics.luminosity.rjce_a_k": {"h_mag": MAG, "w2_mag": MAG - A_K},
    "physics.luminosity.robust_scatter": {"residuals": PM},
    "physics.luminosity.weighted_parallax": {
        "nn_parallax": PARALLAX, "nn_error": ERROR, "gaia_parallax": PARALLAX - 0.05, "gaia_error": 2 * ERROR,
        "zero_point": -ERROR,
    },
    "physics.radii.ks_bolometric_correction": {"teff": TEFF},
    "physics.radii.radius_to_absmag": {"stellar_radius": MAG, "teff": TEFF},
    "reduction.continuum.apogee_continuum": {
        "flux": FLUX, "error": 0.01 * FLUX, "mask": MASK, "settings": DR14.spectra,
    },
    "reduction.crossmatch.at_epoch": {"ra": RA, "dec": DEC, "pmra": PM, "pmdec": -PM, "years": 15.5},
    "reduction.crossmatch.cross_match": {
        "ra": RA, "dec": DEC, "gaia": Table({"ra": RA, "dec": DEC, "pmra": PM, "pmdec": -PM}),
        "sources": dataclasses.replace(DR14.sources, apogee_epoch=DR14.sources.gaia_epoch),
    },
    "reduction.quality_cuts.cut_flow": {"table": STARS, "survey": DR17},
    "reduction.quality_cuts.select": {"table": STARS, "survey": DR17},
    "reduction.stars_h5.status_counts": {"table": STARS},
    "zero_point.offset_posterior.OffsetPosterior.at": {"self": posterior(), **INPUTS},
    "zero_point.offset_posterior.OffsetPosterior.draw": {"self": posterior(), **INPUTS},
    "zero_point.offset_posterior.inverse_variance_mean": {"value": PARALLAX, "error": ERROR},
    "zero_point.quadratic_summaries.quadratic_summary": {"x": TEFF, "zero_point_uas": PM, "x0": 4500.0},
    "zero_point.quadratic_summaries.summaries": {"inputs": Table(INPUTS), "zero_point_uas": PM},
    "zero_point.dependence.ZeroPointPlane.at_uas": {"self": PLANE, **INPUTS},
    "zero_point.refit_zero_point.has_corrected_k0": {"table": STARS},
    "zero_point.refit_zero_point.star_error_mas": {"survey": DR14, "error_uas": 6.0},
    "zero_point.refit_zero_point.usable": {"survey": DR14, "table": STARS},
    "zero_point.sample_checks.parallax_spread": {"star": STARS},
    "zero_point.surface.ZeroPointSurface.at": {"self": ZeroPointSurface(tuple(AXES), GRID, GRID**2), **INPUTS},
    "zero_point.surface.interpolate_cubic": {
        "axes": AXES, "first": GRID, "second": GRID**2, "points": list(INPUTS.values()),
    },
}  # fmt: skip

# They need a network, a large sample or a file: of these, what the function is called with is compared
NOT_RUN = {
    "distances.comparisons.against_truth": {
        "catalogue": None, "ours": None, "true_dist": DIST, "true_radius": MAG, "sources": DR14.sources,
    },
    "distances.comparisons.recovered": {
        "catalogue": None, "ours": None, "true_dist": DIST, "true_radius": MAG, "survey": DR14,
    },
    "formats.distance_catalogues.catalogues_in": {"folder": "raw", "min_membership": 0.7},
    "formats.distance_catalogues.read_distance_catalogue": {"path": "a.fits", "min_membership": 0.7},
    "formats.zenodo_spectra.ReleasedSpectra.__init__": {"self": None, "paths": ["a.h5"], "ra": RA, "dec": DEC},
    "model.error_calibration.ErrorCalibration.fit": {
        "cls": ErrorCalibration, "prediction": PREDICTION, "table": STARS, "zero_point_uas": -50.0,
        "shared_error_uas": 24.0,
    },
    "model.inference.predict": {"model": None, "spectra": SPECTRA, "passes": 2, "seed": 1},
    "model.inference.predict_calibrated": {
        "network": None, "errors": None, "spectra": SPECTRA, "snr": MAG, "settings": None,
    },
    "model.inference.predict_reference": {"model": None, "spectra": SPECTRA, "passes": 2, "seed": 1},
    "model.jacobian.jacobian": {"model": None, "spectra": SPECTRA},
    "model.offset_draws.offset_draws": {"model": None, "inputs": Table(INPUTS), "draws": 2, "seed": 1},
    "parameters.inference.predict_labels": {"model": None, "spectra": SPECTRA, "passes": 2, "seed": 1},
    "parameters.inference.predict_labels_reference": {"model": None, "spectra": SPECTRA, "passes": 2, "seed": 1},
    "parameters.parameters_model.ParametersModel.calibrated": {"self": None, "raw": LABEL_PREDICTION, "snr": MAG},
    "parameters.parameters_model.ParametersModel.predict": {"self": None, "spectra": SPECTRA, "snr": MAG},
    "parameters.parameters_model.ParametersModel.predict_raw": {"self": None, "spectra": SPECTRA},
    "parameters.recovery.coverage_in_bins": {
        "prediction": LABEL_PREDICTION, "label": ALL_LABELS, "values": MAG, "edges": MAG_EDGES,
        "label_error": LABEL_ERROR,
    },
    "parameters.recovery.recovery": {
        "prediction": LABEL_PREDICTION, "label": ALL_LABELS, "label_error": LABEL_ERROR,
    },
    "parameters.recovery.scatter_in_bins": {
        "prediction": LABEL_PREDICTION, "label": ALL_LABELS, "values": MAG, "edges": MAG_EDGES,
    },
    "parameters.recovery.network_labels": {"network": None, "spectra": SPECTRA},
    "parameters.recovery.occlusion": {"network": None, "spectra": SPECTRA},
    "trained_model.TrainedModel.astra_distances": {"self": None, "files": ["a.fits"], "ebv": 0.3},
    "trained_model.TrainedModel.place": {"self": None, "spectra": SPECTRA, **INPUTS},
    "trained_model.TrainedModel.predict": {"self": None, "spectra": SPECTRA, "snr": MAG},
    "zero_point.calibrated_training.roles": {"survey": None, "table": STARS},
    "zero_point.offset_posterior.zero_point": {"model": None, **INPUTS, "draws": 2, "seed": 1},
    "zero_point.refit_zero_point.calibrate": {"survey": None, "table": STARS, "spectra": SPECTRA},
    "zero_point.refit_zero_point.spectral_features": {"survey": None, "spectra": SPECTRA},
    "zero_point.refit_zero_point.calibrating_rows": {"survey": None, "table": STARS},
    "zero_point.sample_checks.check_stars": {"survey": None, "star": STARS},
    "zero_point.sample_checks.check_refit": {"survey": None, "table": STARS},
    "zero_point.sample_checks.check_samples": {"survey": None, "table": STARS},
    "zero_point.sample_checks.without_multivariate": {"survey": None, "table": STARS},
    "zero_point.surface.zero_point_surface": {"model": None, **INPUTS, "draws": 2, "seed": 1},
    "distances.catalogue.write_catalogue": {"catalogue": CATALOGUE, "path": "a.fits", "provenance": {}},
}  # fmt: skip


def example(name: str) -> dict:
    return dict(EXAMPLES.get(name) or NOT_RUN[name])


def outcome(name: str, given: dict):
    """What the function returns, or, of one that is not run, what it is called with."""
    function = STATING[name]
    if name in EXAMPLES:
        return function(**given)

    @functools.wraps(function.__wrapped__)
    def recorded(**arguments):
        return {key: columns_of(arguments[key], function.takes[key]) for key in function.takes if key in arguments}

    return takes(**function.takes)(recorded)(**given)


def flat(result) -> list[np.ndarray]:
    """The arrays of a result."""
    if isinstance(result, Table):
        return [np.asarray(result[name]) for name in result.colnames]
    if dataclasses.is_dataclass(result):
        return flat(list(vars(result).values()))
    if isinstance(result, dict):
        return flat(list(result.values()))
    if isinstance(result, (list, tuple)):
        return [array for item in result for array in flat(item)]
    if type(result).__name__ == "Orbit":
        return [result.x(), result.y(), result.z(), result.vx(), result.vy(), result.vz()]
    return [np.asarray(result)]


def assert_same(found, expected) -> None:
    found, expected = flat(found), flat(expected)
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert not isinstance(ours, (u.Quantity, np.ma.MaskedArray)) and ours.dtype.kind == theirs.dtype.kind
        if theirs.dtype.kind == "f":
            rtol = 1e-4 if theirs.dtype == np.float32 else 1e-9
            np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=1e-9)
        else:
            np.testing.assert_array_equal(ours, theirs)


# --- forms in which users hold numbers --------------------------------------------------------------------------------


def masked(values) -> np.ndarray:
    where = np.zeros(np.shape(values), dtype=bool)
    where[len(where) // 2] = True
    return where


def filled(values, fill):
    return np.where(masked(values), np.asarray(fill).astype(values.dtype), values)


def hidden(values):
    """The values with a plausible one where they are unknown, so that whoever overlooks the mask is found."""
    return filled(values, np.nanmean(values) if values.dtype.kind == "f" else values.flat[0])


def as_pandas(values):
    pandas = pytest.importorskip("pandas")
    if values.ndim > 1:
        frame = pandas.DataFrame(values.reshape(len(values), -1)).mask(masked(values).reshape(len(values), -1))
        return frame.convert_dtypes() if values.ndim == 2 else objects(values, pandas.NA)
    kind = {"i": "Int64", "f": "Float64", "U": object}[values.dtype.kind]
    return pandas.Series(values, dtype=kind).mask(masked(values))


def objects(values, missing=None) -> np.ndarray:
    made = values.astype(object)
    made[len(made) // 2] = missing
    return made


FORMS = {  # of values in `unit`, perhaps by way of another one
    "numpy.ma": lambda values, unit, other: np.ma.array(hidden(values), mask=masked(values)),
    "MaskedColumn": lambda values, unit, other: MaskedColumn(hidden(values), mask=masked(values)),
    "big-endian": lambda values, unit, other: values.astype(values.dtype.newbyteorder(">")),
    "pandas": lambda values, unit, other: as_pandas(values),
    "object": lambda values, unit, other: objects(values),
    "list": lambda values, unit, other: objects(values).tolist(),
    "Quantity": lambda values, unit, other: u.Quantity(values, unit).to(other),
    "masked Quantity": lambda values, unit, other: Masked(hidden(values) * unit, mask=masked(values)).to(other),
    "Column with a unit": lambda values, unit, other: Column((values * unit).to_value(other), unit=other),
}


def units_for(kind, given: dict) -> tuple[u.UnitBase, u.UnitBase]:
    """The unit that numbers without one are in, and another that the argument may be in."""
    if isinstance(kind, str):
        kind = plain.unit_of(given[kind]) or u.dimensionless_unscaled
    return (kind, u.Unit(10 * kind)) if isinstance(kind, u.UnitBase) else (u.m, u.m)


STATED = [
    (name, argument, kind)
    for name, function in sorted(STATING.items())
    for argument, kind in function.takes.items()
    if kind not in (plain.file_path, plain.file_paths)
]
CASES = [case for case in STATED if not isinstance(case[2], plain.Columns)]
IDS = [f"{name}:{argument}" for name, argument, _ in CASES]
TABLES = [case for case in STATED if isinstance(case[2], plain.Columns)]
TABLE_IDS = [f"{name}:{argument}" for name, argument, _ in TABLES]


# Units as the docstrings have them, by the names of arguments and columns; those of stars.h5 are in `COLUMNS`
UNITS = {
    "mas": "fakemag fakemag_error parallax parallax_error nn_parallax nn_error gaia_parallax gaia_error zero_point"
    " model_error predictive_error total_error",
    "uas": "zero_point_uas shared_error_uas value_uas error_uas",
    "mag": "mag ebv absmag absmag_error k_mag a_k_mag h_mag w2_mag g_mag bp_rp",
    "K": "teff",
    "deg": "ra dec glon glat ecl_lat",
    "pc": "dist dist_model_error reference reference_error true_dist",
    "kpc": "distance_kpc x y z radius",
    "solRad": "stellar_radius true_radius",
    "mas / yr": "pmra pmdec",
    "km / s": "v_helio",
    "yr": "years",
    "1 / um": "nu_eff pseudocolour",
    "dex": " ".join(["logsol", *LABELS]),
    "": "spectra snr upper params_solved min_membership",
}
UNIT_OF = {name: u.Unit(unit) for unit, names in UNITS.items() for name in names.split()}
IN_CATALOGUE = {name: u.Unit(unit) for name, unit, _ in CATALOGUE_COLUMNS}
IN_STARS = {column.name: u.Unit(column.unit) for column in stars_h5_columns.COLUMNS}


@pytest.mark.parametrize("name", sorted(STATING))
def test_the_stated_units_are_the_documented_ones(name):
    documented = {**IN_CATALOGUE, **IN_STARS, **UNIT_OF}
    for argument, kind in STATING[name].takes.items():
        stated = kind.kinds if isinstance(kind, plain.Columns) else {argument: kind}
        for column, unit in stated.items():
            if isinstance(unit, u.UnitBase):
                assert unit == documented[column], column


def test_every_stating_function_has_an_example():
    assert {name for name, _, _ in STATED} == {*EXAMPLES, *NOT_RUN}
    for name, argument, _ in STATED:
        assert argument in example(name), f"the example of {name} lacks {argument}"


def with_unknown(values):
    """The values, of which one is unknown, as the function should see them."""
    if isinstance(values, list):
        return [with_unknown(item) for item in values]
    if np.ndim(values) == 0:
        return values
    return filled(values, {"f": np.nan, "i": -1, "U": ""}[values.dtype.kind])


def in_form(form: str, values, units):
    return [in_form(form, item, units) for item in values] if isinstance(values, list) else FORMS[form](values, *units)


@pytest.mark.parametrize(("name", "argument", "kind"), CASES, ids=IDS)
def test_arguments_in_any_form_give_what_plain_numbers_give(name, argument, kind):
    given = example(name)
    values, units = with_unknown(given[argument]), units_for(kind, given)
    expected = outcome(name, given | {argument: values})
    forms = FORMS if np.ndim(values) else ["Quantity"]
    if isinstance(values, np.ndarray) and values.dtype.kind in "iU":
        forms = ["numpy.ma", "MaskedColumn", "big-endian", "pandas", "object", "list"]
    for form in forms:
        assert_same(outcome(name, given | {argument: in_form(form, values, units)}), expected)


@pytest.mark.parametrize(("name", "argument", "kind"), CASES, ids=IDS)
def test_units_that_do_not_convert_are_refused_by_name(name, argument, kind):
    given = example(name)
    if isinstance(kind, (u.UnitBase, str)):
        with pytest.raises(u.UnitConversionError, match=argument):
            outcome(name, given | {argument: given[argument] * u.candela})
    else:  # any unit, or no numbers with units
        assert kind in (plain.any_unit, plain.bit_mask, plain.texts) or isinstance(given[argument], list)


@pytest.mark.parametrize(("name", "argument", "kind"), CASES, ids=IDS)
def test_what_is_no_number_is_refused_by_name(name, argument, kind):
    given = example(name)
    bad = ["abc"] if isinstance(given[argument], list) else "abc"
    bad = np.array([1.5]) if kind is plain.texts else bad
    with pytest.raises((TypeError, ValueError), match=argument):
        outcome(name, given | {argument: bad})


# --- tables -----------------------------------------------------------------------------------------------------------


def columns_of(table, kind):
    """The columns of a table of which the function states a kind; any other argument as it is."""
    if not isinstance(kind, plain.Columns):
        return table
    columns = table._asdict() if hasattr(table, "_fields") else {name: table[name] for name in table.colnames}
    return {name: values for name, values in columns.items() if name in kind.kinds}


def with_columns(table, columns: dict):
    if hasattr(table, "_fields"):
        return table._replace(**columns)
    made = Table(table, masked=False)
    for name, values in columns.items():
        made[name] = values
    return made


def unknown_value(kind):
    if kind is plain.texts:
        return ""
    if isinstance(kind, u.UnitBase) or kind is plain.any_unit:
        return np.nan
    return kind(np.ma.array([0], mask=[True]), "")[0]


@pytest.mark.parametrize(("name", "argument", "kind"), TABLES, ids=TABLE_IDS)
def test_masked_columns_are_unknown(name, argument, kind):
    given = example(name)
    unknown, overlooked = {}, {}
    for column, values in columns_of(given[argument], kind).items():
        values = np.asarray(values)
        unknown[column] = filled(values, unknown_value(kind.kinds[column]))
        overlooked[column] = MaskedColumn(values, mask=masked(values))
    expected = outcome(name, given | {argument: with_columns(given[argument], unknown)})
    assert_same(outcome(name, given | {argument: with_columns(given[argument], overlooked)}), expected)


@pytest.mark.parametrize(("name", "argument", "kind"), TABLES, ids=TABLE_IDS)
def test_tables_of_quantities_and_data_frames_give_what_plain_tables_give(name, argument, kind):
    given = example(name)
    table, expected = given[argument], outcome(name, given)
    columns = columns_of(table, kind)
    units = {column: unit for column, unit in kind.kinds.items() if isinstance(unit, u.UnitBase) and column in columns}
    other = {column: u.Quantity(columns[column], unit).to(u.Unit(10 * unit)) for column, unit in units.items()}
    quantities = with_columns(table, other) if hasattr(table, "_fields") else QTable({**columns, **other})
    assert_same(outcome(name, given | {argument: quantities}), expected)
    for column in list(units)[:3]:
        wrong = with_columns(table, {column: Column(np.asarray(columns[column]), unit=u.candela)})
        with pytest.raises(u.UnitConversionError, match=f"{argument}.*{column}"):
            outcome(name, given | {argument: wrong})
    if not hasattr(table, "_fields"):
        pandas = pytest.importorskip("pandas")
        frame = pandas.DataFrame({column: np.asarray(values) for column, values in columns.items()})
        assert_same(outcome(name, given | {argument: frame}), expected)


# --- paths ------------------------------------------------------------------------------------------------------------

PATH_CASES = [
    (name, argument, kind)
    for name, function in sorted(STATING.items())
    for argument, kind in function.takes.items()
    if kind in (plain.file_path, plain.file_paths)
]


@pytest.mark.parametrize(
    ("name", "argument", "kind"), PATH_CASES, ids=[f"{name}:{argument}" for name, argument, _ in PATH_CASES]
)
def test_paths_are_texts_or_paths_and_where_there_may_be_several_lists(name, argument, kind):
    function = STATING[name]

    @functools.wraps(function.__wrapped__)
    def recorded(**arguments):
        return arguments[argument]

    called = takes(**function.takes)(recorded)
    one = [Path("a/b.fits")] if kind is plain.file_paths else Path("a/b.fits")
    assert called(**{argument: "a/b.fits"}) == called(**{argument: Path("a/b.fits")}) == one
    if kind is plain.file_paths:
        assert called(**{argument: ["a", Path("b")]}) == [Path("a"), Path("b")]
    for bad in (3, b"a", *([["a"]] if kind is plain.file_path else [[3]])):
        with pytest.raises(TypeError, match=argument):
            called(**{argument: bad})
