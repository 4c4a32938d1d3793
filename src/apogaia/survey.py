"""A survey: every number of an analysis that may vary, read from one TOML file.

A survey file has the sections of `Survey` below. ``extends = "dr14"`` takes all values of another survey and changes
only what the file states. Quantities are written with their unit (``max_parallax_error = "0.1 mas"``) and converted to
the unit that the field declares; an unknown key, a wrong type or a wrong unit is an error that names file and key.
"""

from __future__ import annotations

import dataclasses
import math
import tomllib
import types
import typing
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from astropy import units as u

__all__ = ["Survey", "SurveyError", "load_survey", "restore_survey", "survey_names"]


class SurveyError(ValueError):
    """A survey file that cannot be used; the message names the file and the key."""


def quantity(unit: str, **kwargs) -> float:
    """Declare a field that holds a number in `unit`, written in the file as a string with any equivalent unit."""
    return field(metadata={"unit": unit}, **kwargs)


@dataclass(frozen=True)
class Sources:
    """Which releases the survey joins, and where its raw files are."""

    kind: str  # "simulated" (made by `apogaia mock`), "archive" (`apogaia fetch`) or "folder" (your own files)
    folder: str  # of your own files if kind = "folder", relative to the survey file; else empty
    spectra: str  # "apstar": one file per star; "released": the paper's training and test set from Zenodo
    apogee_release: str  # "dr14" or "dr17": file names, layout and columns of the spectra
    gaia_release: str  # "dr2" or "edr3"
    gaia_epoch: float = quantity("yr")  # epoch of Gaia's positions
    apogee_epoch: float = quantity("yr")  # epoch of APOGEE's (2MASS) positions, as far as J2000 positions go
    match_radius: float = quantity("arcsec")  # Gaia source nearest to the star within this radius
    parallax_zero_point: str  # subtracted from Gaia's parallaxes beforehand: "none", or "lindegren2021" (EDR3 only)


@dataclass(frozen=True)
class Archive:
    """Where `apogaia fetch` finds the files, and how hard it may pull."""

    sas: str  # root of SDSS's Science Archive Server
    allstar_sha1: str  # of the release's allStar file
    gaia_tap: str  # TAP service with Gaia's tables
    stellar_parameters: str  # the stellar-parameter catalogue, if it is not on the SAS; else empty
    zenodo: str  # API record of the paper's training and test set
    streams: int  # files fetched at a time
    attempts: int  # at each file, before it is given up until the next run
    gaia_chunk: int  # stars per query
    gaia_radius: float = quantity("arcsec")  # sources kept around each star
    gaia_radius_moving: float = quantity("arcsec")  # the same for those of high proper motion
    timeout: float = quantity("s")  # without a byte


@dataclass(frozen=True)
class Counts:
    """Stars that the published analysis had; a full run of an archive survey is held to them."""

    asserted: bool
    rows: int  # of allStar, exactly
    with_parallax_and_ks: int  # and the others within `tolerance`
    training: int
    test: int
    tolerance: float  # relative


@dataclass(frozen=True)
class Simulation:
    """The simulated survey (sources.kind = "simulated")."""

    n_stars: int  # rows of allStar
    seed: int
    fields: str  # "apogee": disc, bulge and halo; "kepler": one compact field
    zero_point: str  # "constant", "surface" (of G, BP-RP, Teff) or "lindegren2021" (EDR3 only)
    constant_zero_point: float = quantity("uas")  # Gaia minus true parallax; "lindegren2021": beyond that function
    max_visits: int  # most visits of one star
    contaminant_fraction: float  # wrong match, wrong label, or parallax off by tens of sigma


@dataclass(frozen=True)
class Spectra:
    """Continuum normalisation and masking."""

    continuum_pixels: str  # set of continuum pixels: "dr14" or "dr17"
    continuum_degree: int  # Chebyshev degree per detector
    masked_bits: tuple[int, ...]  # bits of APOGEE_PIXMASK whose pixels are set to the continuum
    max_abs_flux: float  # normalised pixels beyond are set to the continuum; inf: none


@dataclass(frozen=True)
class Cuts:
    """Quality cuts of the training and the test set; inf or -inf switches a cut off."""

    max_parallax_error: float = quantity("mas")
    min_visibility_periods: int  # strictly more than this
    max_v_scatter: float = quantity("km / s")
    snr_split: float  # training above, test below
    min_log_luminosity: float  # dex, in solar Ks luminosities; negative parallaxes always pass
    max_relative_parallax_error_multivariate: float  # parallax_error / parallax; lets negative parallaxes through
    min_a_k_targ: float = quantity("mag")  # smaller AK_TARG counts as missing
    needs_extinction: bool  # stars with missing extinction do not train; else they count as unreddened
    max_ruwe: float
    max_ipd_frac_multi_peak: float
    max_ipd_gof_harmonic_amplitude: float


@dataclass(frozen=True)
class Network:
    """Layers of the spectro-luminosity and the offset network."""

    conv_filters: tuple[int, ...]
    conv_width: int  # pixels
    pool_width: int  # pixels
    hidden_units: tuple[int, ...]
    offset_hidden_units: tuple[int, ...]
    dropout: float
    l2: float
    initial_weight_sd: float
    fakemag_scale: float  # the network's softplus output times this and the parallax scale is fakemag


@dataclass(frozen=True)
class Training:
    """Optimisation of the networks (Adam)."""

    seed: int
    batch_size: int
    epochs: int
    learning_rate_without_offset: float
    learning_rate_with_offset: float
    plateau_factor: float
    plateau_patience: int  # epochs
    plateau_threshold: float
    min_learning_rate: float
    validation_fraction: float
    variance_form: str  # "parallax": Eqs. 3-4; "released": that of the released code, for comparison only
    contaminant_fraction: float  # of the likelihood: share of stars with a wrong parallax or match; 0: Gaussian
    contaminant_width: float  # their standard deviation, in units of an ordinary star's


@dataclass(frozen=True)
class Calibration:
    """The zero point from a refit of the spectra, and the network that is trained with it.

    The network is that of [network] and [training] but for the values given here.
    """

    model: str  # on which catalogue and maps rest: "calibrated", or the paper's "constant"
    seed: int
    min_abs_glon: float = quantity("deg")  # stars nearer to the Galactic centre's longitude do not calibrate: the bar
    components: int  # principal components of the spectra in which the fitted luminosity is linear
    products: int  # of how many first components the products count too
    stars_per_feature: float  # fewer components and products in smaller samples
    ridge: float  # penalty on a feature's weight, in inverse squares of ln fakemag
    iterations: int  # of the luminosities
    systematic_share: float  # of the correction for the density, added to the error in quadrature
    plane_prior: float = quantity("uas")  # sd of the trend of the zero point per sd of G, BP-RP or Teff
    drift_prior: float  # sd of a drift of ln fakemag per mag of distance modulus
    dropout: float
    epochs: int
    learning_rate: float
    plateau_patience: int  # epochs
    contaminant_fraction: float  # of the likelihood that trains the network; the refit fits its own
    contaminant_width: float


@dataclass(frozen=True)
class Inference:
    """Monte-Carlo dropout."""

    seed: int
    passes: int  # per spectrum
    offset_draws: int  # of the offset network
    batch_size: int
    max_relative_dist_error: float  # above: flagged as unreliable


@dataclass(frozen=True)
class Maps:
    """Milky Way maps."""

    bins: int  # per axis
    centre_x: float = quantity("kpc")  # Galactocentric x of the map's middle; the Sun is at negative x
    half_width: float = quantity("kpc")
    min_stars: int  # per bin
    max_height: float = quantity("pc")  # |z|
    sun_distance: float = quantity("kpc")
    sun_height: float = quantity("pc")
    max_relative_dist_error: float
    max_logg_error: float  # dex
    max_fe_h_error: float  # dex
    max_x_h_error: float  # dex
    bar_half_length: float = quantity("kpc")
    bar_axis_ratio: float
    bar_angle: float = quantity("deg")


@dataclass(frozen=True)
class Survey:
    """One survey; `load_survey` reads it from a file."""

    name: str
    title: str
    sources: Sources
    archive: Archive
    counts: Counts
    spectra: Spectra
    cuts: Cuts
    network: Network
    training: Training
    calibration: Calibration
    inference: Inference
    maps: Maps
    simulation: Simulation | None

    def settings(self, *sections: str) -> dict:
        """The named sections (by default the whole survey) as plain values, for provenance."""
        if not sections:
            return dataclasses.asdict(self)
        return {name: dataclasses.asdict(getattr(self, name)) for name in sections if getattr(self, name) is not None}


SECTIONS = (
    "sources",
    "archive",
    "counts",
    "simulation",
    "spectra",
    "cuts",
    "network",
    "training",
    "calibration",
    "inference",
    "maps",
)


def survey_names() -> list[str]:
    """Names of the surveys that come with the package."""
    return sorted(p.name.removesuffix(".toml") for p in _shipped().iterdir() if p.name.endswith(".toml"))


def load_survey(survey: str | Path) -> Survey:
    """Read a survey by its name (``"smoke"``) or from a file (``"my.toml"``).

    Raises
    ------
    SurveyError
        If there is no such survey, or the file has an unknown, missing, wrongly typed or wrongly united key.
    """
    path = _find(survey)
    values = _read(path)
    name = path.name.removesuffix(".toml")
    unknown = set(values) - set(SECTIONS) - {"title"}
    if unknown:
        raise SurveyError(f"{path}: unknown key {sorted(unknown)[0]!r}; sections are {', '.join(SECTIONS)}")
    if not isinstance(values.get("title"), str):
        raise SurveyError(f"{path}: 'title' is missing or not a text")
    hints = typing.get_type_hints(Survey)
    sections: dict[str, object] = {}
    for section in SECTIONS:
        kind = hints[section]
        optional = isinstance(kind, types.UnionType)
        if section not in values:
            if not optional:
                raise SurveyError(f"{path}: section [{section}] is missing")
            sections[section] = None
            continue
        sections[section] = _section(typing.get_args(kind)[0] if optional else kind, values[section], path, section)
    if sections["sources"].folder:
        folder = (path.parent / sections["sources"].folder).resolve()
        sections["sources"] = dataclasses.replace(sections["sources"], folder=str(folder))
    loaded = Survey(name=name, title=values["title"], **sections)
    _check(loaded, path)
    return loaded


def restore_survey(settings: dict) -> Survey:
    """The survey whose `Survey.settings` these are, for instance as they travel in a model file (JSON).

    JSON has no infinity: a limit that is None was infinite. The settings come from this module, so a mismatch means
    that another version of the package wrote them.

    Raises
    ------
    SurveyError
        If a section or a key is missing or unknown.
    """
    hints = typing.get_type_hints(Survey)
    sections = {}
    for section in SECTIONS:
        cls = next(iter(typing.get_args(hints[section])), hints[section])
        values = settings.get(section)
        if values is None:
            sections[section] = None
            continue
        restored = {
            key: tuple(value) if isinstance(value, list) else math.inf if value is None else value
            for key, value in values.items()
        }
        try:
            sections[section] = cls(**restored)
        except TypeError as error:
            raise SurveyError(f"settings of another version of apogaia, section [{section}]: {error}") from error
    return Survey(name=settings["name"], title=settings["title"], **sections)


def _shipped():
    return resources.files("apogaia") / "surveys"


def _find(survey: str | Path) -> Path:
    if str(survey).endswith(".toml"):
        path = Path(survey)
        if not path.is_file():
            raise SurveyError(f"{path}: no such survey file")
        return path
    path = Path(str(_shipped() / f"{survey}.toml"))
    if not path.is_file():
        raise SurveyError(
            f"no survey called {survey!r}; there are {', '.join(survey_names())}, or give the path of a .toml file"
        )
    return path


def _read(path: Path, seen: tuple[Path, ...] = ()) -> dict:
    if path in seen:
        raise SurveyError(f"{path}: 'extends' leads back to this file")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SurveyError(f"{path}: not valid TOML: {error}") from error
    base = values.pop("extends", None)
    if base is None:
        return values
    local = path.parent / f"{base}.toml"
    if local == path:
        raise SurveyError(f"{path}: 'extends = {base!r}' leads back to this file: give your file another name")
    try:
        merged = _read(local if local.is_file() else _find(base), (*seen, path))
    except SurveyError as error:
        raise SurveyError(f"{path}: 'extends = {base!r}': {error}") from error
    for key, value in values.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = {**merged[key], **value}
        else:
            merged[key] = value
    return merged


def _section(cls: type, values: object, path: Path, section: str):
    if not isinstance(values, dict):
        raise SurveyError(f"{path}: [{section}] must be a table of keys")
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}
    for key in values:
        if key not in fields:
            raise SurveyError(f"{path}: unknown key {section}.{key}; known are {', '.join(fields)}")
    for key in fields:
        if key not in values:
            raise SurveyError(f"{path}: key {section}.{key} is missing")
    return cls(
        **{
            key: _value(values[key], hints[key], fields[key].metadata.get("unit"), f"{path}: {section}.{key}")
            for key in fields
        }
    )


def _value(value: object, kind: type, unit: str | None, where: str):
    if unit is not None:
        if not isinstance(value, str):
            raise SurveyError(f"{where} must be a text with a unit such as '1 {unit}', not {value!r}")
        try:
            converted = u.Quantity(value).to(unit)
        except (u.UnitConversionError, TypeError, ValueError) as error:
            raise SurveyError(f"{where} = {value!r} has no unit that converts to {unit}") from error
        if math.isnan(converted.value):
            raise SurveyError(f"{where} = {value!r} is not a number")
        return float(converted.value)
    if typing.get_origin(kind) is tuple:
        inner = typing.get_args(kind)[0]
        if not isinstance(value, list):
            raise SurveyError(f"{where} must be a list, not {value!r}")
        return tuple(_value(item, inner, None, f"{where}[{i}]") for i, item in enumerate(value))
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise SurveyError(f"{where} must be a {kind.__name__}, not {value!r}")
    if isinstance(value, float) and math.isnan(value):
        raise SurveyError(f"{where} is not a number")
    return value


_CHOICES = {
    "sources.kind": ("simulated", "archive", "folder"),
    "sources.spectra": ("apstar", "released"),
    "sources.parallax_zero_point": ("none", "lindegren2021"),
    "sources.apogee_release": ("dr14", "dr17"),
    "sources.gaia_release": ("dr2", "edr3"),
    "spectra.continuum_pixels": ("dr14", "dr17"),
    "simulation.fields": ("apogee", "kepler"),
    "training.variance_form": ("parallax", "released"),
    "calibration.model": ("calibrated", "constant"),
    "simulation.zero_point": ("constant", "surface", "lindegren2021"),
}


# Keys that must lie in a range, ends included.
_RANGES = {
    "sources.match_radius": (0, 3600),
    "archive.streams": (1, 64),
    "archive.attempts": (1, 100),
    "archive.gaia_chunk": (1, math.inf),
    "archive.gaia_radius": (0, 600),
    "archive.gaia_radius_moving": (0, 3600),
    "archive.timeout": (0.01, math.inf),
    "counts.tolerance": (0, 1),
    "simulation.n_stars": (1, math.inf),
    "simulation.max_visits": (1, 50),
    "simulation.contaminant_fraction": (0, 1),
    "spectra.continuum_degree": (0, 10),
    "cuts.max_parallax_error": (0, math.inf),
    "network.conv_width": (1, 1000),
    "network.pool_width": (1, 1000),
    "network.dropout": (0, 0.99),
    "network.l2": (0, math.inf),
    "training.batch_size": (1, math.inf),
    "training.epochs": (1, math.inf),
    "training.validation_fraction": (0, 0.9),
    "training.contaminant_fraction": (0, 0.5),
    "training.contaminant_width": (1, math.inf),
    "calibration.min_abs_glon": (0, 179),
    "calibration.components": (1, 1000),
    "calibration.products": (0, 100),
    "calibration.stars_per_feature": (1, math.inf),
    "calibration.ridge": (0, math.inf),
    "calibration.iterations": (1, 20),
    "calibration.systematic_share": (0, 1),
    "calibration.plane_prior": (1e-6, math.inf),
    "calibration.drift_prior": (1e-9, math.inf),
    "calibration.dropout": (0, 0.99),
    "calibration.epochs": (1, math.inf),
    "calibration.learning_rate": (1e-9, 1),
    "calibration.plateau_patience": (0, math.inf),
    "calibration.contaminant_fraction": (0, 0.5),
    "calibration.contaminant_width": (1, math.inf),
    "inference.passes": (2, math.inf),
    "inference.offset_draws": (2, math.inf),
    "inference.batch_size": (1, math.inf),
    "maps.bins": (1, math.inf),
    "maps.min_stars": (1, math.inf),
}


def _check(survey: Survey, path: Path) -> None:
    for dotted, allowed in _CHOICES.items():
        section, key = dotted.split(".")
        part = getattr(survey, section)
        if part is not None and getattr(part, key) not in allowed:
            raise SurveyError(f"{path}: {dotted} must be one of {', '.join(allowed)}, not {getattr(part, key)!r}")
    for dotted, (low, high) in _RANGES.items():
        section, key = dotted.split(".")
        part = getattr(survey, section)
        if part is not None and not low <= getattr(part, key) <= high:
            raise SurveyError(f"{path}: {dotted} = {getattr(part, key)!r} must lie between {low} and {high}")
    sources = survey.sources
    if (sources.kind == "folder") != bool(sources.folder):
        raise SurveyError(f"{path}: sources.folder is needed if sources.kind = 'folder', and only then")
    if sources.parallax_zero_point == "lindegren2021" and sources.gaia_release != "edr3":
        raise SurveyError(f"{path}: sources.parallax_zero_point = 'lindegren2021' is for Gaia EDR3 alone")
    if survey.simulation and survey.simulation.zero_point == "lindegren2021" and sources.gaia_release != "edr3":
        raise SurveyError(f"{path}: simulation.zero_point = 'lindegren2021' is for Gaia EDR3 alone")
    if sources.spectra == "released" and sources.apogee_release != "dr14":
        raise SurveyError(
            f"{path}: sources.spectra = 'released' is the paper's DR14 sample: apogee_release is not dr14"
        )
    if survey.sources.kind == "simulated" and survey.simulation is None:
        raise SurveyError(f"{path}: sources.kind is 'simulated', but section [simulation] is missing")
