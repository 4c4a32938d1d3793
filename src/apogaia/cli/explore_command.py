"""``apogaia explore``: a catalogue as one HTML page to look at."""

from __future__ import annotations

import argparse
import difflib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from apogaia.cli.checks import check_output, one_line_without_backend
from apogaia.cli.help_texts import EXPLORE, EXPLORE_EPILOG
from apogaia.cli.options import add_command
from apogaia.survey import Survey, load_survey, survey_names
from apogaia.workspace import Workspace

if TYPE_CHECKING:
    from apogaia.explorer.spectra import EmbeddedSpectra
    from apogaia.explorer.table import ExplorerTable

__all__ = ["add"]

MAX_STARS, SPECTRA = 100_000, 300


def add(commands: argparse._SubParsersAction) -> None:
    """Add the command to the parser of all."""
    parser = add_command(commands, "explore", _explore, "explore a catalogue as one web page")
    parser.description, parser.epilog = EXPLORE, EXPLORE_EPILOG
    parser.add_argument(
        "catalogue", metavar="CATALOGUE", help="a .fits, .fits.gz, .ecsv or .csv file, or the name of a survey"
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="the .html file to write (default: explorer.html; of a survey build/<survey>/explorer.html)",
    )
    parser.add_argument(
        "--stars",
        type=int,
        default=MAX_STARS,
        metavar="N",
        help=f"at most N stars, drawn at random; the page says so (default: {MAX_STARS:,})",
    )
    parser.add_argument(
        "--spectra",
        type=int,
        metavar="N",
        help=f"spectra of N stars, chosen evenly over the Kiel diagram (default: {SPECTRA})",
    )
    parser.add_argument(
        "--star", action="append", default=[], metavar="ID", help="this star with its spectrum, too (may be repeated)"
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FOLDER",
        help="where stars.h5 and models/ are (default: the folder of the catalogue)",
    )
    parser.add_argument(
        "--parameters",
        metavar="FILE",
        help="Teff, log g and abundances of the same stars, row by row (default: apogee_nn_parameters.fits beside the"
        " catalogue, if it is there; none: without)",
    )


def _explore(options: argparse.Namespace) -> int:

    check_output(options, ".html", ".htm")
    for option, value, least in (("stars", options.stars, 1), ("spectra", options.spectra, 0)):
        if value is not None and value < least:
            raise ValueError(f"--{option} {value} must be at least {least}")
    path, output, survey = _places(options.catalogue, options.output)
    data = options.data or path.parent
    if options.data and not data.is_dir():
        raise ValueError(f"--data {data}: no such folder")
    from apogaia.explorer import page, table

    maps = (survey or load_survey("dr14")).maps
    whole = table.read_table(path, maps, _parameters(options.parameters, path))
    _check_stars(whole, options.star)
    shown = table.sampled(whole, options.stars, options.star)
    spectra, said = _spectra(shown, options, data)
    for sentence in said:
        print(f"note: {sentence}", file=sys.stderr)
    simulated = _is_simulated(whole, survey)
    page.write_page(
        output,
        shown,
        spectra,
        maps,
        title=whole.origin.get("survey", path.name),
        simulated=simulated,
        notes=page.notes(shown, spectra, maps, said),
        command=page.command_line(options.catalogue, {"data": options.data, "parameters": options.parameters}),
    )
    count = 0 if spectra is None else len(spectra.rows)
    print(f"written: {output}, {len(shown)} stars, {count} spectra, {output.stat().st_size / 1e6:.1f} MB")
    return 0


def _places(catalogue: str, output: Path | None) -> tuple[Path, Path, Survey | None]:
    """The catalogue's file, the page's, and the survey if it was named."""
    if Path(catalogue).is_file() or (catalogue not in survey_names() and not catalogue.endswith(".toml")):
        if not Path(catalogue).suffix:
            known = ", ".join(survey_names())
            raise FileNotFoundError(f"{catalogue}: no such file, and no survey of that name; there are {known}")
        return Path(catalogue), output or Path("explorer.html"), None
    survey = load_survey(catalogue)
    workspace = Workspace(survey)
    if not workspace.catalogue.is_file():
        raise FileNotFoundError(
            f"{workspace.catalogue} is not there yet: `make all SURVEY={catalogue}` makes it, or give another catalogue"
        )
    return workspace.catalogue, output or workspace.explorer, survey


def _parameters(given: str | None, catalogue: Path) -> Path | None:
    if given == "none":
        return None
    if given is not None:
        return Path(given)
    beside = catalogue.with_name("apogee_nn_parameters.fits")
    return beside if beside.is_file() and beside != catalogue else None


def _check_stars(table: ExplorerTable, wanted: list[str]) -> None:
    for star in wanted:
        if not len(table.rows_of(star)):
            near = difflib.get_close_matches(star, set(table.ids.tolist()), n=1)
            hint = f"; do you mean {near[0]}?" if near else ""
            raise ValueError(f"--star {star}: {table.path} has no such star{hint}")


def _spectra(table: ExplorerTable, options: argparse.Namespace, data: Path) -> tuple[EmbeddedSpectra | None, list[str]]:
    """Spectra for the page, and sentences about what it lacks."""
    n_spectra = SPECTRA if options.spectra is None else options.spectra
    wanted = [int(table.rows_of(star)[0]) for star in options.star]
    stars_path = data / "stars.h5"
    if not n_spectra and not wanted:
        return None, []
    if not stars_path.is_file():
        missing = f"{stars_path} is missing: name the folder that has it with --data"
        if options.spectra or wanted:
            raise FileNotFoundError(f"{missing}, or leave out --spectra and --star")
        return None, [f"The page has no spectra, since {missing}."]
    from apogaia.explorer.spectra import find_model, read_spectra

    made_with = table.origin.get("model")
    model = find_model(data / "models", made_with)
    said = []
    if model is None:
        which = "that the catalogue was made with" if made_with else "calibrated.keras"
        said = [f"The sensitivity is left out: {data / 'models'} does not hold the model {which}."]
    with one_line_without_backend():
        return read_spectra(table, stars_path, model, n_spectra, wanted), said


def _is_simulated(table: ExplorerTable, survey: Survey | None) -> bool:
    """Whether the stars are simulated, as far as survey or catalogue tell."""
    name, _, title = table.origin.get("survey", "").partition(":")
    if survey is None and name in survey_names():
        survey = load_survey(name)
    return survey.sources.kind == "simulated" if survey else "simulated" in title
