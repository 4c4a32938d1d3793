"""The explorer's page: one HTML file that needs nothing else."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

import numpy as np
from bokeh.document import Document
from bokeh.embed import file_html
from bokeh.models import CustomJS
from bokeh.resources import INLINE

from apogaia.explorer.figures import PALETTES, colour_limits, make_figures
from apogaia.explorer.packing import FLUX_STEP, pack_floats, pack_integers, pack_spectrum, pack_texts
from apogaia.explorer.spectra import CHOICE, EmbeddedSpectra
from apogaia.explorer.table import SAMPLE_SEED, ExplorerTable
from apogaia.files import atomic
from apogaia.formats.pixel_grid import gap_delete, wavelength_solution
from apogaia.survey import MapsSettings

__all__ = ["command_line", "notes", "write_page"]

EXACT = ("ra", "dec")  # where rounding would be seen
FIRST_COLOUR = ("fe_h", "logg", "relative_error", "dist")  # the first that there is
SCRIPTS = ("unpack.js", "raster.js", "explorer.js")
GRADIENT_STOPS = 17


def write_page(
    path: Path,
    table: ExplorerTable,
    spectra: EmbeddedSpectra | None,
    maps: MapsSettings,
    *,
    title: str,
    simulated: bool,
    notes: list[str],
    command: str,
) -> None:
    """Write the page, atomically.

    Parameters
    ----------
    path
        File to write.
    table
        The stars.
    spectra
        Of some of them; None: there are none.
    maps
        For the Sun's place.
    title
        What the stars are.
    simulated
        Whether the page is to say that they are simulated.
    notes
        Sentences about what the page holds and what it leaves out.
    command
        The command line that made it, without ``--star``: the page says how to get the spectrum of another star.
    """
    figures = make_figures(table, maps, with_spectra=spectra is not None and len(spectra.rows) > 0)
    data = _packed_columns(table)
    steps: dict[int, float] = {}
    if spectra is not None and len(spectra.rows):
        data["wavelength"] = pack_floats(gap_delete(wavelength_solution()), exact=True)
        for i, row in enumerate(spectra.rows.tolist()):
            sensitivity = None if spectra.sensitivity is None else spectra.sensitivity[i]
            data[f"spectrum-{row}"], steps[row] = pack_spectrum(spectra.flux[i], sensitivity)
    facts = _facts(table) | {
        "spectra": steps,
        "fluxStep": FLUX_STEP,
        "command": command,
        "palettes": {name: "".join(colour.lstrip("#") for colour in colours) for name, colours in PALETTES.items()},
    }
    document = Document()
    for name, root in figures.roots.items():
        root.name = name
        document.add_root(root)
    names = ", ".join(figures.models)
    document.js_on_event("document_ready", CustomJS(args=figures.models, code=f"startExplorer({{{names}}})"))
    html = file_html(
        document,
        INLINE,
        title=f"Explorer: {title}",
        template=_resource("page.html"),
        template_variables={
            "heading": title,
            "simulated": simulated,
            "notes": notes,
            "style": _resource("page.css"),
            "script": "\n".join(_resource(name) for name in SCRIPTS),
            "facts": _inside_script(json.dumps(facts)),
            "data": data,
            "gradients": {name: _gradient(colours) for name, colours in PALETTES.items()},
        },
    )
    with atomic(path) as temporary:
        temporary.write_text(html, encoding="utf-8")


def notes(
    table: ExplorerTable, spectra: EmbeddedSpectra | None, maps: MapsSettings, said: Sequence[str] = ()
) -> list[str]:
    """Sentences about what the page holds, and what it leaves out; `said` are further ones."""
    n, made = len(table), []
    if n < table.n_rows:
        made.append(
            f"A random sample of {n:,} of the {table.n_rows:,} rows of {table.path.name} (seed {SAMPLE_SEED}). The"
            " others are not in this page: `apogaia explore --stars` sets how many are."
        )
    else:
        made.append(f"All {n:,} rows of {table.path.name} ({table.kind}).")
    for keys, shown, lack in (
        (("x", "y"), "are on the map", "distance or position"),
        (("teff", "logg"), "are in the Kiel diagram", "Teff or log g"),
        (("nn_parallax", "gaia"), "are in the figure of parallaxes", "distance or parallax and zero point of Gaia"),
    ):
        count = int(np.all([np.isfinite(table.values(key)) for key in keys], axis=0).sum())
        if count == n:
            made.append(f"All stars {shown}.")
        elif count:
            made.append(f"{count:,} stars {shown}; the others have no {lack}.")
        else:
            made.append(f"No stars {shown}: the catalogue has no {lack}.")
    if table.meanings:
        unusable = int(table.bad.sum())
        made.append(f"{unusable:,} stars are flagged as unusable (grey): their distance is absent or unreliable.")
    made.append(
        f"The map is seen from the north Galactic pole: the Sun is at x = −{maps.sun_distance} kpc, and y points in the"
        " direction of rotation. Dotted circles are 4 kpc apart."
    )
    made.append("Colours span the 2nd to the 98th percentile of the stars that are not flagged.")
    if table.has("nn_parallax", "gaia"):
        made.append(
            "The parallax of Gaia is less its zero point. Error bars (one standard deviation) are drawn for the chosen"
            " star and for selections of up to 300 stars."
        )
    if spectra is not None and len(spectra.rows):
        choice = CHOICE if table.has("teff", "logg") else "those with the highest SNR"
        made.append(f"The page holds {len(spectra.rows):,} spectra, {choice}, and those asked for by name.")
    if spectra is not None and spectra.model:
        unnamed = "" if table.origin.get("model") else "; the catalogue does not say which model made it"
        made.append(
            f"Sensitivity: derivative of fakemag with respect to the flux of a pixel ({spectra.model}{unnamed})."
        )
    return [*made, *said]


def _packed_columns(table: ExplorerTable) -> dict[str, str]:
    data = {"ids": pack_texts(table.ids), "flags": pack_integers(table.flags), "bad": pack_integers(table.bad)}
    for key, column in table.columns.items():
        data[f"column-{key}"] = pack_floats(column.values, exact=key in EXACT)
    for i, texts in enumerate(table.texts.values()):
        data[f"text-{i}"] = pack_texts(texts)
    return data


def _facts(table: ExplorerTable) -> dict:
    """What the script needs to know beside the numbers."""
    columns = {}
    for key, column in table.columns.items():
        low, high = colour_limits(column.values if table.bad.all() else _of_good(table, column.values))
        columns[key] = {
            "label": column.label,
            "unit": column.unit,
            "group": column.group,
            "decimals": column.decimals,
            "error": column.error if column.error in table.columns else "",
            "low": low,
            "high": high,
        }
    errors = {column.error for column in table.columns.values()}
    return {
        "stars": len(table),
        "columns": columns,
        "errors": sorted(errors & set(columns)),
        "firstColour": next(key for key in (*FIRST_COLOUR, *columns) if key in columns),
        "texts": list(table.texts),
        "meanings": [[bit, name, meaning] for bit, (name, meaning) in table.meanings.items()],
    }


def _of_good(table: ExplorerTable, values: np.ndarray) -> np.ndarray:
    good = values[~table.bad]
    return good if np.isfinite(good).any() else values


def _gradient(colours: tuple[str, ...]) -> str:
    places = np.linspace(0, len(colours) - 1, GRADIENT_STOPS).astype(int).tolist()
    return f"linear-gradient(to right, {', '.join(colours[place] for place in places)})"


def _inside_script(text: str) -> str:
    """JSON that ends no script element and begins no comment."""
    return text.replace("<", "\\u003c")


def _resource(name: str) -> str:
    return (resources.files("apogaia.explorer") / name).read_text(encoding="utf-8")


def command_line(target: str, options: Mapping[str, object]) -> str:
    """The command that makes a page again, for a shell."""
    words = ["apogaia", "explore", target]
    for name, value in options.items():
        if value is not None:
            words += [f"--{name}", str(value)]
    return shlex.join(words)
