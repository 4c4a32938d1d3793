"""The command line: ``apogaia data``, ``mock``, ``fetch``, ``reduce``, ``distance``, ... (`apogaia --help`)."""

from __future__ import annotations

import argparse
import io
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from apogaia import __version__
from apogaia.cli import astra_commands, compare_command, explore_command, model_commands
from apogaia.cli.checks import (
    call,
    check_output,
    check_passes,
    model_path_of,
    one_line_without_backend,
    warn_if_simulated,
)
from apogaia.cli.help_texts import (
    ASTRA,
    ASTRA_EPILOG,
    COMPARE,
    COMPARE_EPILOG,
    DATA,
    DATA_EPILOG,
    DISTANCE,
    DISTANCE_EPILOG,
    EPILOG,
    EXPLORE,
    EXPLORE_EPILOG,
    FETCH,
    FETCH_EPILOG,
    IMPORT_MODEL,
    IMPORT_MODEL_EPILOG,
    MOCK,
    MOCK_EPILOG,
    MODELS,
    MODELS_EPILOG,
    PARAMETERS,
    PARAMETERS_EPILOG,
    REDUCE,
    REDUCE_EPILOG,
    ZEROPOINT,
    ZEROPOINT_EPILOG,
)
from apogaia.survey import Survey, load_survey, survey_names
from apogaia.workspace import Workspace

if TYPE_CHECKING:
    pass

STOPPED = 130  # exit code after Ctrl-C: 128 plus the number of SIGINT
PROCESSES_HELP = "one core each (default: all cores)"
SEED_HELP = "of the dropout (default: the survey's)"
HOW_DATA_ARRIVE = {"simulated": "makes it", "archive": "fetches it", "folder": "links to your folder"}
KIND_OF_OPTION = {
    **dict.fromkeys(("limit", "mirror", "check", "accept_failures"), "archive"),
    "processes": "simulated",
}  # options of `apogaia data` -> sources.kind of the surveys that take them


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that a terminal cannot show ends no run
    options = _parser().parse_args(arguments)
    try:
        with _workers_end_with_ctrl_c():
            return options.run(options)
    except KeyboardInterrupt:
        then = "starts over" if options.command in ("distance", "parameters") else "resumes"
        print(f"apogaia {options.command}: stopped; the same command {then}", file=sys.stderr)
        return STOPPED
    except (OSError, ValueError) as error:
        print(f"apogaia {options.command}: {error}", file=sys.stderr)
        return 2


@contextmanager
def _workers_end_with_ctrl_c() -> Iterator[None]:
    """End worker processes on Ctrl-C, so that a pool does not wait until they have finished their tasks."""
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield  # Ctrl-C is ignored, as by a background job of a shell, or handled by the caller
        return

    def stop(*_) -> None:
        for worker in multiprocessing.active_children():
            worker.terminate()
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; each command's function is its default `run`."""
    parser = argparse.ArgumentParser(
        prog="apogaia",
        description="Spectro-photometric distances for APOGEE stars and the Gaia parallax zero point.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"apogaia {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    mock = _add_command(commands, "mock", _mock, "simulate a survey with known truth, in the real file formats")
    mock.description, mock.epilog = MOCK, MOCK_EPILOG
    _add_survey(mock)
    _add_number(mock, "--processes", PROCESSES_HELP)

    fetch = _add_command(commands, "fetch", _fetch, "fetch a real survey from SDSS and Gaia")
    fetch.description, fetch.epilog = FETCH, FETCH_EPILOG
    _add_survey(fetch)
    _add_archive_options(fetch)
    fetch.add_argument(
        "--dry-run",
        action="store_true",
        help="print the number of files, bytes, time and whether they fit; write nothing",
    )

    data = _add_command(
        commands,
        "data",
        _data,
        "provide the raw files of a survey, whatever their source: mock, fetch, or links to your own folder",
    )
    data.description, data.epilog = DATA, DATA_EPILOG
    _add_survey(data)
    _add_archive_options(data.add_argument_group("surveys of archives"))
    _add_number(data.add_argument_group("simulated surveys"), "--processes", PROCESSES_HELP)

    reduce = _add_command(commands, "reduce", _reduce, "raw files -> normalised spectra and labels (stars.h5)")
    reduce.description, reduce.epilog = REDUCE, REDUCE_EPILOG
    _add_survey(reduce)
    _add_workers(reduce)

    distance = _add_command(commands, "distance", _distance, "distances of single stars from their apStar files")
    distance.description, distance.epilog = DISTANCE, DISTANCE_EPILOG
    _add_distance_options(distance)

    parameters = _add_command(
        commands,
        "parameters",
        astra_commands.parameters,
        "Teff, log g and 20 abundances of single stars from their apStar files",
    )
    parameters.description, parameters.epilog = PARAMETERS, PARAMETERS_EPILOG
    _add_parameters_options(parameters)

    products = _add_command(
        commands, "astra", astra_commands.products_of_survey, "a survey's products in the form of SDSS's Astra"
    )
    products.description, products.epilog = ASTRA, ASTRA_EPILOG
    _add_survey(products)
    products.add_argument(
        "--product",
        choices=astra_commands.PRODUCTS,
        action="append",
        help="this one alone (may be repeated; default: all three)",
    )
    _add_file(products, "--parameters-model", "default: the survey's models/parameters.keras")
    _add_file(products, "--distance-model", "default: the survey's models/none.keras")
    _add_schema(products)
    _add_workers(products)

    compare = _add_command(commands, "compare", compare_command.compare, "two catalogues of distances, star by star")
    compare.description, compare.epilog = COMPARE, COMPARE_EPILOG
    compare_command.add_options(compare)

    explore = _add_command(commands, "explore", explore_command.explore, "a catalogue as one web page to look at")
    explore.description, explore.epilog = EXPLORE, EXPLORE_EPILOG
    explore_command.add_options(explore)

    zero_point = _add_command(
        commands, "zeropoint", _zero_point, "the parallax zero point of every star in a Gaia table"
    )
    zero_point.description, zero_point.epilog = ZEROPOINT, ZEROPOINT_EPILOG
    _add_zero_point_options(zero_point)

    models = _add_command(commands, "models", model_commands.models, "list published networks, or fetch one")
    models.description, models.epilog = MODELS, MODELS_EPILOG
    models.add_argument("action", nargs="?", choices=("list", "fetch"), default="list", help="default: list")
    models.add_argument("name", nargs="?", metavar="NAME", help="of the network to fetch")
    _add_file(models, "--folder", "where to put it (default: data/published/NAME)", "FOLDER")

    import_model = _add_command(
        commands, "import-model", model_commands.import_model, "a published network as a model of apogaia"
    )
    import_model.description, import_model.epilog = IMPORT_MODEL, IMPORT_MODEL_EPILOG
    _add_import_options(import_model)
    return parser


def _add_command(
    commands: argparse._SubParsersAction, name: str, run: Callable[[argparse.Namespace], int], summary: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=summary, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.set_defaults(run=run)
    return parser


def _add_survey(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("survey", metavar="SURVEY", help=f"{', '.join(survey_names())}, or the path of a .toml file")


def _add_number(options: argparse._ActionsContainer, name: str, text: str) -> None:
    options.add_argument(name, type=int, metavar="N", help=text)


def _add_file(options: argparse._ActionsContainer, name: str, text: str, metavar: str = "FILE") -> None:
    options.add_argument(name, type=Path, metavar=metavar, help=text)


def _add_workers(parser: argparse.ArgumentParser) -> None:
    workers = parser.add_mutually_exclusive_group()
    _add_number(workers, "--processes", "on this machine, one core each (default: all cores)")
    workers.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="let the workers of the Dask scheduler at this address, tcp://host:8786, read the spectra instead",
    )


def _add_schema(options: argparse._ActionsContainer) -> None:
    options.add_argument(
        "--schema", choices=("dr19", "dev"), default="dr19", help="names of Astra's columns (default: dr19)"
    )


def _add_dropout(options: argparse._ActionsContainer) -> None:
    _add_number(options, "--passes", "dropout passes (default: the survey's, 100)")
    _add_number(options, "--seed", SEED_HELP)


def _add_archive_options(options: argparse._ActionsContainer) -> None:
    _add_number(options, "--limit", "the first N rows of allStar only; a later call without it fetches the rest")
    _add_file(
        options, "--mirror", "root of a copy of the SAS (SAS_BASE_DIR): the folder that holds dr14/, dr17/", "FOLDER"
    )
    options.add_argument(
        "--check",
        action="store_true",
        help="read every file that is present, compare it with the archive's hash, and replace those that differ",
    )
    options.add_argument(
        "--accept-failures",
        action="store_true",
        help="count the survey as complete without the files that failed; the stars' rows will say so",
    )


def _add_distance_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", type=Path, metavar="APSTAR", help="apStar or asStar files")
    _add_file(
        parser,
        "--model",
        "trained model (.keras); default: data/mock/models/calibrated.keras, which `make all` trains, or none.keras"
        " beside it with --product astra",
    )
    _add_dropout(parser)
    _add_file(parser, "--output", "write the table to a .ecsv or .fits file, with --product astra also to .fits.gz")
    parser.add_argument(
        "--product",
        choices=("catalogue", "astra"),
        default="catalogue",
        help="columns and flags of our catalogue (default), or those of AstroNNDist, SDSS Astra's distances",
    )
    astra = parser.add_argument_group("with --product astra")
    astra.add_argument(
        "--ebv", type=float, metavar="MAG", help="E(B-V) of stars whose header states no extinction (default: unknown)"
    )
    _add_schema(astra)


def _add_parameters_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", type=Path, metavar="APSTAR", help="apStar or asStar files")
    parser.add_argument(
        "--visits", action="store_true", help="a row for each visit, too, after the combined spectrum's"
    )
    _add_file(
        parser,
        "--model",
        "trained model (.keras); default: data/mock/models/parameters.keras, which `make all` trains",
    )
    _add_dropout(parser)
    _add_file(parser, "--output", "write all columns to a .ecsv, .fits or .fits.gz file")
    _add_schema(parser)


def _add_import_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, metavar="FOLDER_OR_FILE", help="a model folder, or a file of PyTorch")
    parser.add_argument("--output", type=Path, required=True, metavar="NAME.keras", help="the model file to write")
    parser.add_argument(
        "--survey",
        metavar="SURVEY",
        help="whose settings of spectra go with the network (default: dr14 or dr17, by the files' layout)",
    )
    parser.add_argument(
        "--constant-at",
        choices=("ones", "zeros"),
        default="ones",
        help="where a constant zero point is read: as the paper did (ones, the default), or as it was trained (zeros)",
    )


def _add_zero_point_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "table",
        type=Path,
        metavar="TABLE",
        help="Gaia sources: a .parquet, .fits, .csv or .ecsv file, or a folder of Parquet files",
    )
    _add_file(
        parser,
        "--model",
        "trained model (.keras) with an offset; default: data/mock/models/multivariate.keras, which `make all` trains,"
        " or constant.keras beside it with --constant",
    )
    _add_file(parser, "--output", "default: TABLE with _zero_point in its name")
    parser.add_argument(
        "--constant", action="store_true", help="one zero point for all stars; needs no G, BP-RP and Teff"
    )
    parser.add_argument(
        "--exact",
        action="store_true",
        help="evaluate the network for each star (about 20,000 stars a second) instead of a grid that differs from it"
        " by less than 0.1 uas (millions of stars a second)",
    )
    _add_number(parser, "--chunk", "rows at a time (default: 262144)")
    _add_number(parser, "--draws", "dropout draws (default: the survey's)")
    _add_number(parser, "--seed", SEED_HELP)
    for option, default in (("g-mag", "phot_g_mean_mag"), ("bp-rp", "bp_rp"), ("parallax", "parallax")):
        parser.add_argument(
            f"--{option}", default=default, metavar="COLUMN", help=f"name of that column (default: {default})"
        )
    parser.add_argument("--teff", metavar="COLUMN", help="default: teff_gspphot (DR3) or teff_val (DR2)")


def _mock(options: argparse.Namespace) -> int:
    from apogaia.simulate.comparisons import simulate_comparisons
    from apogaia.simulate.run import simulate_survey

    survey = load_survey(options.survey)
    workspace = Workspace(survey)
    if survey.sources.kind != "simulated" or survey.simulation is None:
        raise ValueError(
            f"survey {survey.name} is not simulated (sources.kind = {survey.sources.kind!r}):"
            f" {call('data', options.survey)} {HOW_DATA_ARRIVE[survey.sources.kind]}"
        )
    simulate_survey(survey, workspace, processes=options.processes)
    simulate_comparisons(survey, workspace)
    print(f"{survey.simulation.n_stars} simulated stars under {workspace.raw}, their truth in {workspace.truth}")
    return 0


def _data(options: argparse.Namespace) -> int:
    survey = load_survey(options.survey)
    for option, kind in KIND_OF_OPTION.items():
        if getattr(options, option) not in (None, False) and survey.sources.kind != kind:
            raise ValueError(
                f"--{option.replace('_', '-')} is for surveys with sources.kind = {kind!r};"
                f" that of {options.survey} is {survey.sources.kind!r}"
            )
    if survey.sources.kind == "simulated":
        return _mock(options)
    if survey.sources.kind == "archive":
        return _fetch(options)
    from apogaia.archive.own_folder import link_folder

    workspace = Workspace(survey)
    link_folder(survey, workspace)
    print(f"{workspace.raw} links to {survey.sources.folder}")
    return 0


def _fetch(options: argparse.Namespace) -> int:
    survey = load_survey(options.survey)
    if survey.sources.kind != "archive":
        raise ValueError(
            f"survey {survey.name} is not fetched (sources.kind = {survey.sources.kind!r}):"
            f" {call('data', options.survey)} {HOW_DATA_ARRIVE[survey.sources.kind]}"
        )
    if options.limit is not None and options.limit < 1:
        raise ValueError(f"--limit {options.limit} must be at least 1")
    from apogaia.archive.estimate import counted, estimate
    from apogaia.archive.fetch import fetch_survey
    from apogaia.archive.pull import check_mirror

    workspace = Workspace(survey)
    if getattr(options, "dry_run", False):
        print(estimate(survey, workspace, limit=options.limit, mirror=options.mirror))
        return 0
    if options.mirror is not None:
        check_mirror(options.mirror, workspace.release)
    if workspace.allstar.is_file():
        _warn_if_too_large(survey, workspace, options)
    report = fetch_survey(
        survey,
        workspace,
        limit=options.limit,
        mirror=options.mirror,
        check=options.check,
        accept_failures=options.accept_failures,
    )
    print(report)
    if not report.complete:
        print(
            f"{counted(len(report.failed), 'file')} failed: run the same command again to retry, or add"
            " --accept-failures (to make: FETCH=--accept-failures) to go without",
            file=sys.stderr,
        )
        return 1
    print(f"complete: {workspace.raw}")
    return 0


def _warn_if_too_large(survey: Survey, workspace: Workspace, options: argparse.Namespace) -> None:
    from apogaia.archive.estimate import estimate

    try:
        expected = estimate(survey, workspace, limit=options.limit, mirror=options.mirror, ask=False)
    except ValueError:  # allStar cannot be read: the fetch reports it, or with --check replaces it
        return
    if expected.no_room():
        print(f"warning: {expected.no_room()}", file=sys.stderr)


def _reduce(options: argparse.Namespace) -> int:
    from apogaia.reduction.reduce import reduce_survey
    from apogaia.reduction.stars_h5 import open_stars, status_counts

    survey = load_survey(options.survey)
    workspace = Workspace(survey)
    if not workspace.raw_manifest.is_file():
        raise FileNotFoundError(f"{workspace.raw_manifest} is missing: run {call('data', options.survey)} first")
    path = reduce_survey(survey, workspace, processes=options.processes, scheduler=options.scheduler)
    with open_stars(path) as stars:
        status_counts(stars.table).pprint(max_lines=-1, max_width=-1)
    print(f"{path} holds the status and reason of every star")
    return 0


def _distance(options: argparse.Namespace) -> int:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import numpy as np

    if options.product == "astra":
        return astra_commands.distances(options)
    for option in ("ebv", "schema"):
        if getattr(options, option) not in (None, "dr19"):
            raise ValueError(f"--{option} is for --product astra")
    check_output(options, ".ecsv", ".fits")
    check_passes(options)
    model_path = model_path_of(options.model, "calibrated")
    from apogaia.distances.catalogue import Flags, describe_flags, write_table

    with one_line_without_backend():
        from apogaia.trained_model import TrainedModel

    model = TrainedModel.load(model_path)
    warn_if_simulated(model_path, model.provenance)
    if model.domain is None:
        print(
            f"warning: {model_path} does not hold its training domain: no star is flagged as outside it",
            file=sys.stderr,
        )
    table = model.distances(options.files, passes=options.passes, seed=options.seed, progress=len(options.files) > 20)
    shown = table["apogee_id", "fakemag", "nn_parallax", "dist", "dist_model_error", "dist_error", "flags"]
    names = [star or path.name for star, path in zip(table["apogee_id"], options.files, strict=True)]
    shown.replace_column("apogee_id", names)
    for name, form in {"fakemag": ".3f", "nn_parallax": ".4f"}.items():
        shown[name].info.format = form
    for name in ("dist", "dist_model_error", "dist_error"):
        shown[name].info.format = ".1f"
    shown.pprint(max_lines=-1, max_width=-1)
    for reason in filter(None, table["reason"]):
        print(reason, file=sys.stderr)
    for line in describe_flags(np.bitwise_or.reduce(np.asarray(table["flags"]))):
        print(line)
    if options.output:
        write_table(table, options.output)
        print(f"written: {options.output}")
    return int(bool(np.any(table["flags"] & Flags.NO_RESULT)) or bool(np.any(~np.isfinite(table["dist"]))))


def _zero_point(options: argparse.Namespace) -> int:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    model_path = model_path_of(options.model, "constant" if options.constant else "multivariate")
    with one_line_without_backend():
        from apogaia.model.model_file import read_provenance
    from apogaia.zero_point.gaia_tables import (
        CHUNK,
        ColumnNames,
        ZeroPointFlags,
        add_zero_point_to_file,
        default_output,
    )

    provenance = read_provenance(model_path)
    warn_if_simulated(model_path, provenance)
    if options.constant and provenance.get("offset") != "constant":
        raise ValueError(f"{model_path}: its offset is not constant; give constant.keras or leave --constant out")
    output = options.output or default_output(options.table)
    counts = add_zero_point_to_file(
        options.table,
        output,
        model_path,
        exact=options.exact,
        columns=ColumnNames(options.g_mag, options.bp_rp, options.teff, options.parallax),
        chunk=CHUNK if options.chunk is None else options.chunk,
        draws=options.draws,
        seed=options.seed,
    )
    print(f"written: {output}, {counts['valid']} of {counts['rows']} stars with a zero point")
    for name, bit in ZeroPointFlags.__members__.items():
        if counts[name]:
            print(f"  domain {bit.value:2d}: {counts[name]} stars, {bit.reason}")
    return int(counts["valid"] == 0)
