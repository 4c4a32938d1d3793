"""A survey: every adjustable number of an analysis, read from one TOML file.

A survey file has the sections of `Survey` below. ``extends = "dr14"`` takes all values of another survey and changes
only what the file states. Quantities are written with their unit (``max_parallax_error = "0.1 mas"``) and converted to
the unit that the field declares. All faults of a file are reported at once, each with the file, the key, the value and
what is allowed.

Meaning, limits, choices and unit of a value stand on its field and nowhere else: the checks, the messages and the
schema that editors read (``surveys/survey.schema.json``, made by `survey_schema`) follow from them. A limit is the
range in which a value makes sense, not the range that gives good results. In Python a quantity is a float in the
declared unit, and ``dataclasses.replace`` checks the new values too (pydantic's ``ValidationError``, a ValueError).
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Literal

from astropy import units as u
from pydantic import (
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic.dataclasses import dataclass
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

__all__ = ["Survey", "SurveyError", "load_survey", "restore_survey", "survey_names", "survey_schema"]


class SurveyError(ValueError):
    """A survey file that cannot be used; the message has one line per fault, with file, key and what is allowed."""


# Where values come from; without such a context they are plain values in the declared units.
_FILE = "survey file"  # quantities are texts with a unit
_JSON = "model file"  # an infinite limit is null


@dataclasses.dataclass(frozen=True)
class Number:
    """Metadata of a numeric field: its meaning, its limits (both included) and, for a quantity, its unit.

    Where a limit is infinite, the value may be infinite too, which switches off what the field limits.
    """

    meaning: str
    _: dataclasses.KW_ONLY
    ge: float
    le: float
    unit: str | None = None

    @property
    def off(self) -> float | None:
        """The infinite value that the field allows, or None."""
        return self.le if math.isinf(self.le) else self.ge if math.isinf(self.ge) else None

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        limits: dict[str, Any] = {
            name: value for name, value in (("ge", self.ge), ("le", self.le)) if math.isfinite(value)
        }
        plain: CoreSchema
        if source is int:
            plain = core_schema.int_schema(strict=True, **limits)
        else:
            plain = core_schema.float_schema(strict=True, **limits)  # a limit, of which each field has one, stops NaN
        return core_schema.with_info_before_validator_function(self._plain, plain)

    def _plain(self, value: object, info: ValidationInfo) -> object:
        """The value in the declared unit, from the form in which it stands in a file."""
        if info.context == _JSON and value is None and self.off is not None:
            return self.off
        if info.context != _FILE or self.unit is None:
            return value
        if not isinstance(value, str) or not re.search(self._pattern(), value):
            raise PydanticCustomError("unit", "a string with a number and a unit is needed")
        try:
            return float(u.Quantity(value).to_value(self.unit))
        except (TypeError, ValueError, ArithmeticError) as error:  # UnitConversionError is a TypeError
            raise PydanticCustomError("unit", "the unit does not convert to the declared one") from error

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        described = handler(schema)
        if self.unit is None:
            # JSON has no infinity: what reads TOML as JSON finds null.
            kind = [described["type"], "null"] if self.off is not None else described["type"]
            return described | {"type": kind, "description": self.meaning}
        limits = {f"x-{name}": described[name] for name in ("minimum", "maximum") if name in described}
        text = {"type": "string", "pattern": self._pattern(), "x-unit": self.unit, **limits}
        return text | {"description": f"{self.meaning} Must be {_allowed(text)}."}

    def _pattern(self) -> str:
        """What the text of a quantity looks like: its sign, whether it may be infinite, and that a unit follows."""
        sign = "[+-]?" if self.ge < 0 else "[+]?"
        infinity = "|[iI][nN][fF]([iI][nN][iI][tT][yY])?" if self.off is not None else ""
        return rf"^\s*{sign}(([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?{infinity})\s*[^\s0-9.+-].*$"


def Quantity(unit: str, meaning: str, *, ge: float, le: float) -> Number:
    """Metadata of a float field in `unit`, which files write as a text with any equivalent unit."""
    return Number(meaning, ge=ge, le=le, unit=unit)


def Text(meaning: str, **limits: Any) -> Any:
    """Metadata of a text; pydantic's limits, such as ``min_length``."""
    return Field(description=meaning, strict=True, **limits)


def Flag(meaning: str) -> Any:
    """Metadata of a truth value."""
    return Field(description=meaning, strict=True)


def Meaning(meaning: str, **limits: Any) -> Any:
    """Metadata of a choice or a list."""
    return Field(description=meaning, **limits)


# Limits that several fields share.
_ROWS = 2_000_000_000  # more than Gaia has sources
_SEED = 2**32 - 1  # the generators of numpy and Keras take 32 bits
_WEB = r"^https?://\S+$"
_TIMES = 1_000_000  # epochs, steps or passes: beyond, no run ends
_TINY = 1e-9  # stands for "above 0"

_CONFIG = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=_CONFIG)
class SourcesSettings:
    """Which releases the survey joins, and where its raw files are."""

    kind: Annotated[
        Literal["simulated", "archive", "folder"],
        Meaning(
            "Raw files: simulated (by `apogaia mock`), of the archive (`apogaia fetch`) or in a folder of your own."
        ),
    ]
    folder: Annotated[str, Text("Folder of your own files if kind is folder, relative to this file; else empty.")]
    spectra: Annotated[
        Literal["apstar", "released"],
        Meaning("apstar: one file per star; released: the paper's training and test set from Zenodo, DR14 only."),
    ]
    apogee_release: Annotated[
        Literal["dr14", "dr17", "dr19"], Meaning("File names, layout and columns of the spectra.")
    ]
    gaia_release: Annotated[
        str,
        Text(
            "Gaia's release: dr2, edr3, dr3 or a later one, as in its table gaiadr2.gaia_source of the archive.",
            pattern="^(dr[2-9]|edr3|dr[1-9][0-9]+)$",
        ),
    ]
    # The oldest and the newest epochs of any survey that could be matched.
    gaia_epoch: Annotated[float, Quantity("yr", "Epoch of Gaia's positions.", ge=1900, le=2100)]
    apogee_epoch: Annotated[
        float, Quantity("yr", "Epoch of APOGEE's (2MASS) positions, as far as J2000 positions go.", ge=1900, le=2100)
    ]
    match_radius: Annotated[
        float, Quantity("arcsec", "The Gaia source nearest to the star within this radius is its match.", ge=0, le=3600)
    ]
    parallax_zero_point: Annotated[
        Literal["none", "lindegren2021"],
        Meaning("Subtracted from Gaia's parallaxes beforehand; lindegren2021 is for EDR3 only."),
    ]


@dataclass(frozen=True, config=_CONFIG)
class ArchiveSettings:
    """Where `apogaia fetch` finds the files, and the limits of its requests."""

    sas: Annotated[str, Text("Root of SDSS's Science Archive Server.", pattern=_WEB)]
    allstar_sha1: Annotated[
        str, Text("SHA-1 of the release's allStar file; empty: none is known.", pattern="^([0-9a-f]{40})?$")
    ]
    gaia_tap: Annotated[str, Text("TAP service with Gaia's tables.", pattern=_WEB)]
    stellar_parameters: Annotated[
        str, Text("The stellar-parameter catalogue, if it is not on the SAS; else empty.", pattern=rf"^$|{_WEB}")
    ]
    zenodo: Annotated[str, Text("API record of the paper's training and test set.", pattern=_WEB)]
    streams: Annotated[int, Number("Files fetched at a time.", ge=1, le=64)]  # more would be a burden to a server
    attempts: Annotated[int, Number("Attempts at each file before it is left for the next run.", ge=1, le=100)]
    gaia_chunk: Annotated[int, Number("Stars per query of Gaia's archive.", ge=1, le=1_000_000)]  # rows of an upload
    gaia_radius: Annotated[
        float, Quantity("arcsec", "Radius around each star within which sources are kept.", ge=0, le=600)
    ]
    gaia_radius_moving: Annotated[
        float, Quantity("arcsec", "The same for sources of high proper motion.", ge=0, le=3600)
    ]
    timeout: Annotated[float, Quantity("s", "Longest wait for a byte.", ge=0.01, le=86_400)]  # a day


@dataclass(frozen=True, config=_CONFIG)
class CountsSettings:
    """Numbers of stars in the published analysis; a full run of an archive survey is checked against them."""

    asserted: Annotated[bool, Flag("Check a full run against these counts; false if cuts or stars differ.")]
    rows: Annotated[int, Number("Rows of allStar, exactly.", ge=0, le=_ROWS)]
    with_parallax_and_ks: Annotated[int, Number("Stars with a parallax and Ks, within `tolerance`.", ge=0, le=_ROWS)]
    training: Annotated[int, Number("Stars in the training set, within `tolerance`.", ge=0, le=_ROWS)]
    test: Annotated[int, Number("Stars in the test set, within `tolerance`.", ge=0, le=_ROWS)]
    tolerance: Annotated[float, Number("Relative tolerance of the counts.", ge=0, le=1)]


@dataclass(frozen=True, config=_CONFIG)
class SimulationSettings:
    """The simulated survey (sources.kind = "simulated")."""

    n_stars: Annotated[int, Number("Rows of allStar.", ge=1, le=100_000_000)]  # beyond any spectroscopic survey
    seed: Annotated[int, Number("Seed of the simulation.", ge=0, le=_SEED)]
    fields: Annotated[Literal["apogee", "kepler"], Meaning("apogee: disc, bulge and halo; kepler: one compact field.")]
    zero_point: Annotated[
        Literal["constant", "surface", "lindegren2021"],
        Meaning("Gaia's zero point: constant, a surface of G, BP-RP and Teff, or that of Lindegren (EDR3 only)."),
    ]
    constant_zero_point: Annotated[
        float,
        # 10 mas: a hundred times that of any release of Gaia
        Quantity(
            "uas", "Gaia's minus the true parallax; with lindegren2021, in addition to it.", ge=-10_000, le=10_000
        ),
    ]
    sky_error: Annotated[
        float,
        Quantity("uas", "Rms of the parallax errors shared by neighbours on the sky; their mean is 0.", ge=0, le=1000),
    ]
    max_visits: Annotated[int, Number("Most visits of one star.", ge=1, le=50)]  # APOGEE's dozens
    flag_rate: Annotated[
        float, Number("Rate of persistence and bright neighbours in STARFLAG; 1: that of DR14.", ge=0, le=1)
    ]
    contaminant_fraction: Annotated[
        float, Number("Stars with a wrong match, a blend's magnitudes or a grossly wrong parallax.", ge=0, le=1)
    ]


@dataclass(frozen=True, config=_CONFIG)
class SpectraSettings:
    """Continuum normalisation and masking."""

    combined_row: Annotated[
        int,
        Number(
            "Combination of several visits that is read: 0, with weights for each pixel; 1, with a weight for each "
            "visit, which has a mask up to DR16 only.",
            ge=0,
            le=1,
        ),
    ]
    continuum_pixels: Annotated[Literal["dr14", "dr17"], Meaning("Set of continuum pixels.")]
    continuum_degree: Annotated[int, Number("Chebyshev degree per detector.", ge=0, le=10)]  # beyond, it fits lines
    masked_bits: Annotated[
        tuple[Annotated[int, Number("Bit.", ge=0, le=30)], ...],  # of a signed 32-bit word
        Meaning("Bits of APOGEE_PIXMASK whose pixels are set to the continuum."),
    ]
    max_abs_flux: Annotated[  # the continuum itself is 1
        float, Number("Normalised pixels above this are set to the continuum; inf: none.", ge=1, le=math.inf)
    ]


@dataclass(frozen=True, config=_CONFIG)
class CutsSettings:
    """Quality cuts of the training and the test set; inf, or -inf for a lower limit, switches a cut off."""

    max_parallax_error: Annotated[float, Quantity("mas", "Largest parallax error.", ge=0, le=math.inf)]
    min_visibility_periods: Annotated[  # Gaia DR3 has up to some 40; -1 keeps all
        int, Number("Strictly more visibility periods than this.", ge=-1, le=1000)
    ]
    max_v_scatter: Annotated[float, Quantity("km / s", "Largest scatter of the radial velocity.", ge=0, le=math.inf)]
    snr_split: Annotated[
        float,
        Number(
            "Stars above this SNR are for training, those below for testing: a survey needs both.",
            ge=0,
            le=100_000,
        ),
    ]
    min_log_luminosity: Annotated[  # no star has 10 dex
        float,
        Number("Least luminosity in dex of solar Ks; negative parallaxes always pass.", ge=-math.inf, le=10),
    ]
    max_relative_parallax_error_multivariate: Annotated[
        float,
        Number(
            "Largest parallax_error / parallax of the multivariate model; not a cut at negative parallaxes.",
            ge=0,
            le=math.inf,
        ),
    ]
    min_a_k_targ: Annotated[  # below -1 are placeholders (`has_extinction`); 10 mag hides every star of APOGEE
        float, Quantity("mag", "Smaller AK_TARG counts as missing.", ge=-1, le=10)
    ]
    needs_extinction: Annotated[
        bool, Flag("Stars with missing extinction are left out of training; else they count as unreddened.")
    ]
    max_ruwe: Annotated[float, Number("Largest RUWE.", ge=0, le=math.inf)]
    max_ipd_frac_multi_peak: Annotated[float, Number("Largest ipd_frac_multi_peak, in percent.", ge=0, le=math.inf)]
    max_ipd_gof_harmonic_amplitude: Annotated[float, Number("Largest ipd_gof_harmonic_amplitude.", ge=0, le=math.inf)]


# A layer without units passes nothing on; of more than these, no machine trains it.
_Units = tuple[Annotated[int, Number("Units of a layer.", ge=1, le=100_000)], ...]


@dataclass(frozen=True, config=_CONFIG)
class NetworkSettings:
    """Layers of the spectro-luminosity and the offset network."""

    conv_filters: Annotated[_Units, Meaning("Filters of each convolution.", min_length=1)]
    conv_width: Annotated[int, Number("Width of a convolution in pixels.", ge=1, le=1000)]
    pool_width: Annotated[int, Number("Width of the pooling in pixels.", ge=1, le=1000)]
    hidden_units: Annotated[_Units, Meaning("Units of each hidden layer.", min_length=1)]
    offset_hidden_units: Annotated[_Units, Meaning("Units of each hidden layer of the offset; none: it is linear.")]
    dropout: Annotated[float, Number("Share of the units that dropout drops.", ge=0, le=0.99)]
    l2: Annotated[float, Number("L2 penalty on the weights.", ge=0, le=1)]  # beyond, it outweighs the likelihood
    initial_weight_sd: Annotated[  # equal weights would stay equal
        float, Number("Standard deviation of the initial weights.", ge=_TINY, le=10)
    ]
    fakemag_scale: Annotated[
        float,
        Number("The softplus output times this and the parallax scale is fakemag.", ge=_TINY, le=1e6),
    ]


_Schedule = Annotated[
    Literal["plateau", "cosine"],
    Meaning(
        "plateau: the learning rate falls where the validation loss does not; cosine: it rises for an eighth of the"
        " epochs, and falls as half a cosine, which needs fewer of them."
    ),
]


@dataclass(frozen=True, config=_CONFIG)
class TrainingSettings:
    """Optimisation of the networks (Adam)."""

    seed: Annotated[int, Number("Seed of weights, dropout, split and order.", ge=0, le=_SEED)]
    batch_size: Annotated[int, Number("Stars per step.", ge=1, le=_TIMES)]
    epochs: Annotated[int, Number("Passes over the training set.", ge=1, le=_TIMES)]
    learning_rate_without_offset: Annotated[
        float, Number("First learning rate of a model without an offset.", ge=_TINY, le=1)
    ]
    learning_rate_with_offset: Annotated[
        float, Number("First learning rate of a model with an offset.", ge=_TINY, le=1)
    ]
    schedule: _Schedule
    plateau_factor: Annotated[  # 1 would not lower it
        float, Number("Factor on the learning rate when the loss reaches a plateau.", ge=0.001, le=0.999)
    ]
    plateau_patience: Annotated[int, Number("Epochs without a better loss before that.", ge=0, le=_TIMES)]
    plateau_threshold: Annotated[  # beyond the loss itself, no epoch counts as better
        float, Number("Change of the loss that counts as better.", ge=0, le=1e9)
    ]
    min_learning_rate: Annotated[float, Number("Least learning rate.", ge=0, le=1)]
    validation_fraction: Annotated[  # most stars must train
        float, Number("Share of the training set used for validation.", ge=0, le=0.9)
    ]
    variance_form: Annotated[
        Literal["parallax", "released"],
        Meaning("parallax: Eqs. 3-4; released: that of the released code, for comparison only."),
    ]
    contaminant_fraction: Annotated[  # more than half are not contaminants
        float,
        Number("In the likelihood: fraction of stars with a wrong parallax or match; 0: Gaussian.", ge=0, le=0.5),
    ]
    contaminant_width: Annotated[
        float, Number("Their standard deviation, in units of an ordinary star's.", ge=1, le=10_000)
    ]


@dataclass(frozen=True, config=_CONFIG)
class CalibrationSettings:
    """The zero point from a refit of the spectra, and the network that is trained with it.

    The network is that of [network] and [training] but for the values given here.
    """

    model: Annotated[
        Literal["calibrated", "constant"],
        Meaning("Model for catalogue and maps: calibrated, or the paper's constant."),
    ]
    seed: Annotated[int, Number("Seed of the principal components and of the halves.", ge=0, le=_SEED)]
    min_abs_glon: Annotated[  # at 180 no star is left
        float,
        Quantity("deg", "Stars nearer to the Galactic centre's longitude (the bar) do not calibrate.", ge=0, le=179),
    ]
    min_stars: Annotated[
        int, Number("With fewer stars that can calibrate, the survey is refused before any training.", ge=1, le=_ROWS)
    ]
    min_parallax_spread: Annotated[  # a survey of the whole disc has about 1
        float,
        Number("The same if the spread of their parallaxes over the median is below this.", ge=0, le=10),
    ]
    zero_point: Annotated[
        Literal["refit", "fixed"],
        Meaning("refit: found from the spectra; fixed: fixed_zero_point, for a survey that the refit refuses."),
    ]
    # 10 mas: a hundred times that of any release of Gaia
    fixed_zero_point: Annotated[
        float,
        Quantity(
            "uas",
            "Gaia's minus the true parallax, after subtraction of sources.parallax_zero_point; only if it is fixed.",
            ge=-10_000,
            le=10_000,
        ),
    ]
    fixed_zero_point_error: Annotated[float, Quantity("uas", "Its error; 0 if it is not fixed.", ge=0, le=10_000)]
    components: Annotated[  # beyond, a feature per few pixels
        int,
        Number("Principal components of the spectra in which the fitted luminosity is linear.", ge=1, le=1000),
    ]
    products: Annotated[int, Number("Number of first components whose products are features too.", ge=0, le=100)]
    stars_per_feature: Annotated[
        float, Number("Fewer components and products in samples with fewer stars for each.", ge=1, le=1e6)
    ]
    ridge: Annotated[float, Number("Penalty on a feature's weight, in inverse squares of ln fakemag.", ge=0, le=1e9)]
    iterations: Annotated[int, Number("Iterations of the luminosities.", ge=1, le=20)]  # it converges in a few
    systematic_share: Annotated[
        float,
        Number("Fraction of the density correction that is added to the error in quadrature.", ge=0, le=1),
    ]
    slope_prior: Annotated[
        float,
        Quantity("uas", "Standard deviation of the zero point's slope per mag of G.", ge=1e-6, le=1e6),
    ]
    teff_prior: Annotated[
        float,
        Quantity("uas", "Standard deviation of the zero point's slope per 1000 K of Teff.", ge=1e-6, le=1e6),
    ]
    plane_prior: Annotated[
        float,
        Quantity("uas", "Standard deviation of the plane's slope per sd of BP-RP.", ge=1e-6, le=1e6),
    ]
    bend_prior: Annotated[
        float,
        Quantity(
            "uas",
            "Standard deviation of the zero point's bends in G, half of it in BP-RP; only if the data ask for them.",
            ge=1e-6,
            le=1e6,
        ),
    ]
    sky_prior: Annotated[
        float,
        Quantity(
            "uas", "Standard deviation of the parallax errors shared by neighbours on the sky; 0: none.", ge=0, le=1e4
        ),
    ]
    drift_prior: Annotated[
        float,
        Number("Standard deviation of a drift of ln fakemag per mag of distance modulus.", ge=_TINY, le=100),
    ]
    density_prior: Annotated[
        float,
        Number("Standard deviation, about 1, of the amplitude of the density correction.", ge=_TINY, le=100),
    ]
    dropout: Annotated[float, Number("Share of the units that dropout drops.", ge=0, le=0.99)]
    epochs: Annotated[int, Number("Passes over the training set.", ge=1, le=_TIMES)]
    learning_rate: Annotated[float, Number("First, or highest, learning rate.", ge=_TINY, le=1)]
    schedule: _Schedule
    plateau_patience: Annotated[int, Number("Epochs without a better loss before the rate falls.", ge=0, le=_TIMES)]
    contaminant_fraction: Annotated[
        float,
        Number("Fraction of contaminants in the likelihood of the network; the refit fits its own.", ge=0, le=0.5),
    ]
    contaminant_width: Annotated[
        float, Number("Their standard deviation, in units of an ordinary star's.", ge=1, le=10_000)
    ]


@dataclass(frozen=True, config=_CONFIG)
class ParametersSettings:
    """The censored network, which predicts Teff, log g and 20 abundances, and the stars that train it.

    What is not given here, such as the convolutions, is that of [network], [training] and [cuts].
    """

    hidden_units: Annotated[_Units, Meaning("Units of each hidden layer that sees the whole spectrum.", min_length=1)]
    element_units: Annotated[_Units, Meaning("Units of each hidden layer that sees an element's window.", min_length=1)]
    wide_element_units: Annotated[
        _Units, Meaning("The same for C and N, whose windows are half of the spectrum.", min_length=1)
    ]
    dropout: Annotated[float, Number("Share of the units that dropout drops.", ge=0, le=0.99)]
    seed: Annotated[int, Number("Seed of weights, dropout, split and order.", ge=0, le=_SEED)]
    batch_size: Annotated[int, Number("Stars per step.", ge=1, le=_TIMES)]
    epochs: Annotated[int, Number("Most passes over the training set.", ge=1, le=_TIMES)]
    patience: Annotated[int, Number("Epochs without a better validation loss that end training.", ge=0, le=_TIMES)]
    learning_rate: Annotated[float, Number("First, or highest, learning rate.", ge=_TINY, le=1)]
    schedule: _Schedule
    passes: Annotated[int, Number("Dropout passes per spectrum.", ge=2, le=_TIMES)]  # a spread needs two
    learning_curve: Annotated[
        tuple[Annotated[int, Field(strict=True, ge=10, le=_ROWS)], ...],
        Meaning("Numbers of training stars in notebook 06's learning curve, with one training for each; empty: none."),
    ]
    min_snr: Annotated[float, Number("Training stars have a higher SNR.", ge=0, le=100_000)]
    # no star of APOGEE lies outside 0 to 100,000 K
    min_teff: Annotated[float, Quantity("K", "Training stars have a higher Teff among their labels.", ge=0, le=100_000)]
    max_teff: Annotated[float, Quantity("K", "Training stars have a lower Teff among their labels.", ge=0, le=math.inf)]


@dataclass(frozen=True, config=_CONFIG)
class LabelsSettings:
    """Source of Teff, log g and abundances of the stars for the offset model, catalogue and maps."""

    source: Annotated[
        Literal["own", "external", "aspcap"],
        Meaning(
            "own: the survey's own network (notebook 06); external: the release's stellar-parameter catalogue;"
            " aspcap: the labels of APOGEE's pipeline in allStar."
        ),
    ]


@dataclass(frozen=True, config=_CONFIG)
class InferenceSettings:
    """Monte-Carlo dropout."""

    seed: Annotated[int, Number("Seed of the passes and draws.", ge=0, le=_SEED)]
    passes: Annotated[int, Number("Passes per spectrum.", ge=2, le=_TIMES)]  # a spread needs two
    offset_draws: Annotated[int, Number("Draws of the offset network.", ge=2, le=_TIMES)]
    batch_size: Annotated[int, Number("Spectra at a time.", ge=1, le=_TIMES)]
    max_relative_dist_error: Annotated[
        float, Number("Distances with a larger relative error are flagged as unreliable.", ge=0, le=math.inf)
    ]
    weighted_error: Annotated[
        Literal["total", "model"],
        Meaning("The network's error in weighted_dist: total, or only the model error (the paper's definition)."),
    ]


@dataclass(frozen=True, config=_CONFIG)
class MapsSettings:
    """Milky Way maps."""

    bins: Annotated[int, Number("Bins per axis.", ge=1, le=10_000)]  # bins of a map must fit into memory
    # Beyond 1000 kpc there is no Milky Way.
    centre_x: Annotated[
        float, Quantity("kpc", "Galactocentric x of the map's middle; the Sun is at negative x.", ge=-1000, le=1000)
    ]
    half_width: Annotated[float, Quantity("kpc", "Half the width of the map.", ge=1e-3, le=1000)]
    min_stars: Annotated[int, Number("Least stars per bin.", ge=1, le=_ROWS)]
    max_height: Annotated[float, Quantity("pc", "Largest |z|.", ge=0, le=math.inf)]
    sun_distance: Annotated[  # no estimate ever lay outside
        float, Quantity("kpc", "The Sun's distance from the Galactic centre.", ge=1, le=20)
    ]
    sun_height: Annotated[float, Quantity("pc", "The Sun's height above the plane.", ge=-1000, le=1000)]
    max_relative_dist_error: Annotated[float, Number("Largest relative error of the distance.", ge=0, le=math.inf)]
    max_logg_error: Annotated[float, Number("Largest error of log g, in dex.", ge=0, le=math.inf)]
    max_fe_h_error: Annotated[float, Number("Largest error of [Fe/H], in dex.", ge=0, le=math.inf)]
    max_x_h_error: Annotated[float, Number("Largest error of [X/H], in dex.", ge=0, le=math.inf)]
    bar_half_length: Annotated[float, Quantity("kpc", "Half the length of the bar.", ge=0, le=20)]
    bar_axis_ratio: Annotated[float, Number("Axis ratio of the bar.", ge=0.01, le=1)]
    bar_angle: Annotated[float, Quantity("deg", "Angle of the bar to the Sun's direction.", ge=-360, le=360)]


_Catalogue = tuple[Annotated[float, Number("Offset, scatter, share of contaminants.", ge=-0.5, le=1)], ...]


@dataclass(frozen=True, config=_CONFIG)
class ComparisonsSettings:
    """Comparison with other catalogues of distances, and the errors of those that a simulated survey writes.

    Each such catalogue has three numbers: the relative offset of its distances, its relative scatter, and the share of
    its rows that are contaminants.
    """

    max_relative_error: Annotated[
        float, Number("Stars with a larger relative error in either distance are left out.", ge=0, le=math.inf)
    ]
    max_logg_difference: Annotated[
        float,
        Number("APOGEE-RC's stars whose log g differs from ours by more are left out, in dex.", ge=0, le=math.inf),
    ]
    min_membership: Annotated[float, Number("Least membership probability of a cluster's star.", ge=0, le=1)]
    apogee_rc: Annotated[_Catalogue, Meaning("Simulated APOGEE-RC.")]
    bpg: Annotated[_Catalogue, Meaning("Simulated BPG distances.")]
    hogg_eilers_rix: Annotated[_Catalogue, Meaning("Simulated distances after Hogg, Eilers & Rix.")]
    starhorse: Annotated[_Catalogue, Meaning("Simulated StarHorse.")]
    astronn: Annotated[_Catalogue, Meaning("Simulated catalogue of astroNN.")]
    apokasc: Annotated[_Catalogue, Meaning("Simulated APOKASC; its numbers are those of the radii.")]
    clusters: Annotated[_Catalogue, Meaning("Simulated clusters; the scatter is shared by a cluster's stars.")]


_FEWEST_STARS = 5000  # of a simulated survey whose numbers mean something


@dataclass(frozen=True, config=_CONFIG)
class Survey:
    """One survey; `load_survey` reads it from a file.

    Raises
    ------
    pydantic.ValidationError
        If a value is wrong; a ValueError.
    """

    name: Annotated[str, Text("Name of the survey's file, and of its folders.", min_length=1)]
    title: Annotated[str, Text("Title of the survey, for figures and reports.", min_length=1)]
    sources: SourcesSettings
    archive: ArchiveSettings
    counts: CountsSettings
    spectra: SpectraSettings
    cuts: CutsSettings
    network: NetworkSettings
    training: TrainingSettings
    calibration: CalibrationSettings
    parameters: ParametersSettings
    labels: LabelsSettings
    inference: InferenceSettings
    maps: MapsSettings
    comparisons: ComparisonsSettings
    simulation: SimulationSettings | None

    @model_validator(mode="after")
    def _obeys_the_rules(self) -> Survey:
        broken = "; ".join(rule.says for rule in _RULES if not rule.holds(*(_look_up(self, key) for key in rule.keys)))
        if broken:
            raise ValueError(broken)
        return self

    @property
    def is_test_run(self) -> bool:
        """Whether it is simulated with so few stars that its numbers mean nothing: it only shows that the code runs."""
        return self.simulation is not None and self.simulation.n_stars < _FEWEST_STARS

    def settings(self, *sections: str) -> dict[str, Any]:
        """The named sections (by default the whole survey) as plain values, for provenance.

        Raises
        ------
        ValueError
            If there is no such section.
        """
        if unknown := set(sections) - set(SECTIONS):
            raise ValueError(f"no section {min(unknown)!r} in a survey; there are {', '.join(SECTIONS)}")
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
    "parameters",
    "labels",
    "inference",
    "maps",
    "comparisons",
)


@dataclasses.dataclass(frozen=True)
class _Rule:
    """What several values must fulfil together."""

    keys: tuple[str, ...]
    holds: Callable[..., bool]
    says: str


_EDR3 = ("edr3", "dr3")  # one astrometry


_CATALOGUES = tuple(
    f"comparisons.{name}"
    for name in ("apogee_rc", "bpg", "hogg_eilers_rix", "starhorse", "astronn", "apokasc", "clusters")
)


def _is_catalogue(numbers: Any) -> bool:
    """Whether these are an offset, a scatter above 0 and a share from 0 to a half."""
    return len(numbers) == 3 and numbers[1] > 0 and 0 <= numbers[2] <= 0.5


def _is_zero(value: float | str) -> bool:
    """Whether a quantity is zero, given as a number or as the text of a file."""
    return float(u.Quantity(value).value) == 0


_RULES = (
    _Rule(
        ("sources.folder", "sources.kind"),
        lambda folder, kind: bool(folder) == (kind == "folder"),
        "sources.folder is needed if sources.kind = 'folder', and only then",
    ),
    _Rule(
        ("sources.parallax_zero_point", "sources.gaia_release"),
        lambda zero_point, release: zero_point != "lindegren2021" or release in _EDR3,
        "sources.parallax_zero_point = 'lindegren2021' is for Gaia EDR3 alone, whose parallaxes are DR3's",
    ),
    _Rule(
        ("simulation.zero_point", "sources.gaia_release"),
        lambda zero_point, release: zero_point != "lindegren2021" or release in _EDR3,
        "simulation.zero_point = 'lindegren2021' is for Gaia EDR3 alone, whose parallaxes are DR3's",
    ),
    _Rule(
        ("sources.parallax_zero_point", "sources.apogee_release"),
        lambda zero_point, release: zero_point == "none" or release != "dr19",
        "sources.parallax_zero_point must be 'none' for DR19, whose table lacks Gaia's columns of its solution",
    ),
    _Rule(
        (
            "sources.apogee_release",
            "cuts.min_visibility_periods",
            *(f"cuts.max_{name}" for name in ("ruwe", "ipd_frac_multi_peak", "ipd_gof_harmonic_amplitude")),
        ),
        lambda release, periods, *limits: release != "dr19" or (periods == -1 and all(map(math.isinf, limits))),
        "DR19's table has no column for cuts.min_visibility_periods, which must be -1, nor for cuts.max_ruwe, "
        "cuts.max_ipd_frac_multi_peak and cuts.max_ipd_gof_harmonic_amplitude, which must be inf",
    ),
    _Rule(
        ("calibration.zero_point", "calibration.fixed_zero_point", "calibration.fixed_zero_point_error"),
        lambda kind, value, error: not _is_zero(error) if kind == "fixed" else _is_zero(value) and _is_zero(error),
        "calibration.zero_point = 'fixed' needs a calibration.fixed_zero_point_error that is not 0;"
        " 'refit' needs it and calibration.fixed_zero_point to be 0",
    ),
    _Rule(
        ("sources.spectra", "sources.apogee_release"),
        lambda spectra, release: spectra != "released" or release == "dr14",
        "sources.spectra = 'released' is the paper's DR14 sample: sources.apogee_release must be 'dr14'",
    ),
    _Rule(
        ("labels.source", "sources.apogee_release"),
        lambda source, release: source != "aspcap" or release != "dr19",
        "labels.source = 'aspcap' is not for DR19, whose table of stars holds no labels of ASPCAP",
    ),
    *(
        _Rule((key,), _is_catalogue, f"{key} must have three numbers: offset, scatter above 0, share from 0 to 0.5")
        for key in _CATALOGUES
    ),
    _Rule(
        ("sources.kind", "simulation"),
        lambda kind, simulation: kind != "simulated" or simulation is not None,
        "sources.kind = 'simulated' needs the section [simulation]",
    ),
)


def _look_up(survey: object, dotted: str) -> Any:
    """The value of ``section.key`` in a survey, or in the tables of a file; None if it is not there."""
    for name in dotted.split("."):
        survey = survey.get(name) if isinstance(survey, Mapping) else getattr(survey, name, None)
    return survey


def survey_names() -> list[str]:
    """Names of the surveys that come with the package."""
    return sorted(p.name.removesuffix(".toml") for p in _shipped().iterdir() if p.name.endswith(".toml"))


def load_survey(survey: str | Path | Survey) -> Survey:
    """Read a survey by its name (``"smoke"``) or from a file (``"my.toml"``); a `Survey` is returned unchanged.

    Raises
    ------
    SurveyError
        If there is no such survey, or with all faults of the file and of those that it extends, a line each: unknown,
        missing, wrongly typed or wrongly united keys, values out of range, and values that do not go together.

    Examples
    --------
    >>> load_survey("dr14").cuts.snr_split
    200.0
    """
    if isinstance(survey, Survey):
        return survey  # a notebook's cell may run twice
    path = _find(survey)
    chain = _chain(path)
    values, stated_in = _merged(chain)
    # `name` is a field of Survey, but not a key of a file: the file's name gives it.
    named = [f"{stated_in['name',]}: unknown key name; the file's name is the survey's"] if "name" in values else []
    given = {"simulation": None} | values | {"name": path.name.removesuffix(".toml")}
    try:
        loaded = _adapter().validate_python(given, context=_FILE)
    except ValidationError as error:
        raise SurveyError("\n".join([*named, *_faults(error, values, chain)])) from None
    if named:
        raise SurveyError(named[0])
    if not loaded.sources.folder:
        return loaded
    folder = str((path.parent / loaded.sources.folder).resolve())
    return dataclasses.replace(loaded, sources=dataclasses.replace(loaded.sources, folder=folder))


def restore_survey(settings: Mapping[str, Any]) -> Survey:
    """The survey whose `Survey.settings` these are, for instance as they travel in a model file (JSON).

    JSON has neither tuples nor infinities: lists become tuples, and a limit that is None was infinite. The settings
    come from this module, so a mismatch means that another version of the package wrote them. Only [comparisons], which
    concerns no model, may be absent: model files are older than it.

    Raises
    ------
    SurveyError
        If a section or a key is missing, unknown or wrong; all of them are named.
    """
    if "comparisons" not in settings:
        settings = load_survey("dr14").settings("comparisons") | dict(settings)
    try:
        return _adapter().validate_python(settings, context=_JSON)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, fault['loc'])) or 'values'}: {fault['msg']}" for fault in error.errors())
        raise SurveyError(f"settings of another version of apogaia: {wrong}") from error


@functools.cache
def survey_schema() -> dict[str, Any]:
    """JSON schema (draft 7, which editors of TOML know) of a survey file: keys, meanings, choices, limits and units.

    Quantities are texts; ``x-unit``, ``x-minimum`` and ``x-maximum`` hold their unit and limits. A file that extends
    another may leave out every key, any other file none. The schema is never stricter than `load_survey`, but does not
    know which units are equivalent, nor which values go together.
    """
    made = _adapter().json_schema()
    sections, needed = {}, {}
    for name in SECTIONS:
        reference = made["properties"][name]
        reference = reference.get("$ref") or reference["anyOf"][0]["$ref"]  # [simulation] may be absent
        section = made["$defs"][reference.rpartition("/")[2]]
        for described in section["properties"].values():
            del described["title"]  # repeats the key
        needed[name] = {"required": section["required"]}
        sections[name] = {key: section[key] for key in ("type", "description", "properties", "additionalProperties")}
    title = made["properties"]["title"]
    extends = {"type": "string", "minLength": 1, "description": "Survey that gives all values not stated here."}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A survey of apogaia",
        "type": "object",
        "properties": {
            "extends": extends,
            "title": {key: title[key] for key in ("type", "minLength", "description")},
            **sections,
        },
        "additionalProperties": False,
        "if": {"not": {"required": ["extends"]}},
        "then": {
            "required": ["title", *(name for name in SECTIONS if name != "simulation")],
            "properties": needed,
        },
    }


@functools.cache
def _adapter() -> TypeAdapter[Survey]:
    return TypeAdapter(Survey)


def _shipped() -> Traversable:
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


def _chain(path: Path, seen: tuple[Path, ...] = ()) -> list[tuple[Path, dict[str, Any]]]:
    """The file and those that it extends, each with what it states; the one that extends none comes first."""
    if path in seen:
        raise SurveyError(f"{path}: 'extends' leads back to this file")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # of tomllib, of the decoding, and of numbers and nests without end
        raise SurveyError(f"{path}: not valid TOML: {error}") from error
    base = values.pop("extends", None)
    if base is None:
        return [(path, values)]
    if not isinstance(base, str):
        raise SurveyError(f"{path}: extends must be the name of a survey, not {_shown(base)}")
    local = path.parent / f"{base}.toml"
    if local == path:
        raise SurveyError(f'{path}: extends = "{base}" leads back to this file: give your file another name')
    try:
        return [*_chain(local if local.is_file() else _find(base), (*seen, path)), (path, values)]
    except SurveyError as error:
        raise SurveyError(f'{path}: extends = "{base}": {error}') from error


_Place = tuple[str, ...]  # (key,) or (section, key)


def _merged(chain: list[tuple[Path, dict[str, Any]]]) -> tuple[dict[str, Any], dict[_Place, Path]]:
    """The values of a chain of files, the last of which counts, and the file that states each."""
    values: dict[str, Any] = {}
    stated_in: dict[_Place, Path] = {}
    for path, own in chain:
        for name, value in own.items():
            below = values.get(name, {})
            if name in SECTIONS and isinstance(value, dict):
                if not isinstance(below, dict):
                    continue  # a fault of the file below, to be reported
                values[name] = below | value
                stated_in.update({(name, key): path for key in value})
            else:
                values[name] = value
            stated_in[name,] = path
    return values, stated_in


def _faults(error: ValidationError, values: dict[str, Any], chain: list[tuple[Path, dict[str, Any]]]) -> Iterator[str]:
    """A line for each fault of `values`, which the files of `chain` state: those pydantic found, and broken rules."""
    stated_in = _merged(chain)[1]
    path = chain[-1][0]
    faulty = set()
    for fault in error.errors(include_url=False, include_context=False):
        place = tuple(str(part) for part in fault["loc"])
        if not place:
            continue  # broken rules; pydantic looks at them only where all values are good
        faulty.add(".".join(place[:2]))
        given: Any = values
        for part in fault["loc"]:
            given = given[int(part)] if isinstance(given, list) else given.get(part)
        if fault["type"] == "too_short" and given:
            continue  # a list whose items are faults of their own
        yield f"{stated_in.get(place[:2], path)}: {_in_words(fault['type'], place, given)}"
    rank = {file: i for i, (file, _) in enumerate(chain)}
    for rule in _RULES:
        if any(key in faulty or key.partition(".")[0] in faulty for key in rule.keys):
            continue
        found = {key: _look_up(values, key) for key in rule.keys}
        if not rule.holds(*found.values()):
            file = max((stated_in.get(tuple(key.split(".")), chain[0][0]) for key in rule.keys), key=rank.__getitem__)
            here = ", ".join(f"{key} = {_shown(value)}" for key, value in found.items() if "." in key)
            yield f"{file}: {rule.says}; here {here}"


def _in_words(kind: str, place: _Place, given: object) -> str:
    """What is wrong with the value `given` of a key, by pydantic's kind of the fault, and what is allowed."""
    known = survey_schema()["properties"]
    section, dotted = place[0], ".".join(place[:2])
    if kind == "unexpected_keyword_argument":
        return f"unknown key {dotted}; {_nearest(place)}"
    if kind == "missing":
        key = f"section [{section}]" if section in SECTIONS else section
        return f"{key} is missing" if len(place) == 1 else f"key {dotted} is missing"
    if len(place) == 1 and section in SECTIONS:
        return f"[{section}] must be a table of keys, not {_shown(given)}"
    described = known[section] if len(place) == 1 else known[section]["properties"][place[1]]
    if len(place) == 3:
        described, dotted = described["items"], f"{dotted}[{place[2]}]"
    return f"{dotted} must be {_allowed(described)}, not {_shown(given)}"


def _nearest(place: _Place) -> str:
    """Which known key may have been meant by an unknown one."""
    known = survey_schema()["properties"]
    key = place[-1]
    keys = list(known if len(place) == 1 else known[place[0]]["properties"])
    elsewhere = [f"{section}.{key}" for section in SECTIONS if key in known[section]["properties"]]
    near = [".".join((*place[:-1], name)) for name in difflib.get_close_matches(key, keys, 1)]
    if elsewhere or near:
        return f"did you mean {' or '.join(elsewhere + near)}?"
    return f"known are {', '.join(keys)}"


def _allowed(described: Mapping[str, Any]) -> str:
    """What the schema of a key allows, in words."""
    if "enum" in described:
        return f"one of {', '.join(map(repr, described['enum']))}"
    kind = described["type"]
    if kind == "array":
        some = "a list that is not empty" if "minItems" in described else "a list"
        return f"{some}, each item {_allowed(described['items'])}"
    if kind == "boolean":
        return "true or false"
    unit = described.get("x-unit")
    if kind == "string" and unit is None:
        form = f" of the form {described['pattern']}" if "pattern" in described else ""
        return f"a string{form}" if "minLength" not in described else "a string that is not empty"
    low, high = (described.get(name, described.get(f"x-{name}")) for name in ("minimum", "maximum"))
    tail = f" {unit}" if unit else ""
    if low is not None and high is not None:
        limits = f" from {low:.10g} to {high:.10g}{tail}"
    else:
        end, side, off = (low, "more", "inf") if high is None else (high, "less", "-inf")
        limits = f", {end:.10g}{tail} or {side} ({off}{tail}: no limit)"
    if unit:
        return f"a string with a number and a unit, such as '{max(1, low or 1):.10g} {unit}'," + limits.replace(",", "")
    return ("a whole number" if kind == "integer" else "a number") + limits


def _shown(value: object) -> str:
    """A value as the file states it, shortened if it is long."""
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
