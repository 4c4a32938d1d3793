"""Distances of APOGEE stars from their spectra, and the Gaia parallax zero point, calibrated together.

The package follows the pipeline:

    physics, formats           formulae; what files look like
    archive, simulate          fetch a real survey, or make one up
    reduction              01  raw files -> stars.h5
    model, refit           02  the network and its likelihood; the zero point without a network
    zero_point             03  the parallax zero point
    distances              04  the catalogue
    plots, closure         08  figures; is an injected zero point recovered?
    cli                        the command line

Beside them: `survey` (every number that may vary), `workspace` (where files are), `trained_model` (a model file in
use), `products` (what the notebooks call), `arguments` (what users hand over, made plain), `files`,
`code_dependencies` and `processes`.

The names in `__all__` are those that most people import; they are loaded when they are asked for.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from apogaia import environment

try:
    __version__ = version("apogaia")
except PackageNotFoundError:  # running from a source tree that was never installed
    __version__ = "0+unknown"

_HOMES = {
    "TrainedModel": "trained_model",
    "Workspace": "workspace",
    "apogee_continuum": "reduction.continuum",
    "fakemag_to_pc": "physics.luminosity",
    "load_survey": "survey",
    "open_stars": "reduction.stars_h5",
    "read_apstar": "formats.apstar",
    "read_catalogue": "distances.catalogue",
}
__all__ = ["__version__", *_HOMES]

environment.load_tensorflow_quietly()
environment.keep_memory_of_tensorflow()
environment.compute_on_gpu()
environment.keep_caches_where_they_can_be_written(Path(__file__).parent)


def __getattr__(name: str):
    if name in _HOMES:
        return getattr(import_module(f"apogaia.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'apogaia' has no attribute {name!r}")
