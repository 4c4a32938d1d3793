"""The command line: ``apogaia data | mock | fetch | reduce | distance | zeropoint``."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from apogaia import __version__
from apogaia.cli.help_texts import (
    DATA,
    DATA_EPILOG,
    DISTANCE,
    EPILOG,
    FETCH,
    FETCH_EPILOG,
    MOCK,
    MOCK_EPILOG,
    REDUCE,
    REDUCE_EPILOG,
    ZEROPOINT,
    ZEROPOINT_EPILOG,
)
from apogaia.survey import Survey, load_survey, restore_survey, survey_names
from apogaia.workspace import Workspace

STOPPED = 130  # exit code of what Ctrl-C ended: 128 and the number of SIGINT
ARRIVAL = {"simulated": "makes it", "archive": "fetches it", "folder": "links to your folder"}
KIND_OF_OPTION = {
    **dict.fromkeys(("limit", "mirror", "check", "accept_failures"), "archive"),
    "processes": "simulated",
}  # options of `apogaia data` -> sources.kind of the surveys that take them


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        with _workers_end_with_ctrl_c():
            return options.run(options)
    except KeyboardInterrupt:
        then = "begins anew" if options.command == "distance" else "goes on where it was"
        print(f"apogaia {options.command}: stopped; the same command {then}", file=sys.stderr)
        return STOPPED
    except (OSError, ValueError) as error:
        print(f"apogaia {options.command}: {error}", file=sys.stderr)
        return 2


@contextmanager
def _workers_end_with_ctrl_c() -> Iterator[None]:
    """Ctrl-C ends worker processes, too, so that a pool does not wait until they have done what they have begun."""
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield  # ignored, as a shell has it in the background, or the caller's own matter
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
    parser = argparse.ArgumentParser(
        prog="apogaia",
        description="Spectro-photometric distances for APOGEE stars and the Gaia parallax zero point.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"apogaia {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    survey_help = f"{', '.join(survey_names())}, or the path of a .toml file"

    mock = commands.add_parser(
        "mock",
        help="simulate a survey with known truth, in the real file formats",
        description=MOCK,
        epilog=MOCK_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    mock.add_argument("survey", metavar="SURVEY", help=survey_help)
    mock.add_argument("--processes", type=int, default=None, metavar="N", help="one core each (default: all cores)")
    mock.set_defaults(run=_mock)

    fetch = commands.add_parser(
        "fetch",
        help="fetch a real survey from SDSS and Gaia",
        description=FETCH,
        epilog=FETCH_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    data = commands.add_parser(
        "data",
        help="the raw files of a survey, wherever they come from: mock, fetch, or links to your own folder",
        description=DATA,
        epilog=DATA_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for command in (fetch, data):
        command.add_argument("survey", metavar="SURVEY", help=survey_help)
        options = command.add_argument_group("surveys of archives") if command is data else command
        options.add_argument(
            "--limit",
            type=int,
            default=None,
            metavar="N",
            help="the first N rows of allStar only; a later call without it fetches the rest",
        )
        options.add_argument(
            "--mirror",
            type=Path,
            default=None,
            metavar="FOLDER",
            help="root of a copy of the SAS (SAS_BASE_DIR): the folder that holds dr14/, dr17/",
        )
        options.add_argument(
            "--check",
            action="store_true",
            help="read every file that is there, compare it with the archive's hash, and replace what differs",
        )
        options.add_argument(
            "--accept-failures",
            action="store_true",
            help="count the survey as complete without what failed; the stars' rows will say so",
        )
    fetch.add_argument(
        "--dry-run",
        action="store_true",
        help="say how many files and bytes, how long, and whether they fit; no writing",
    )
    fetch.set_defaults(run=_fetch)
    data.add_argument_group("simulated surveys").add_argument(
        "--processes", type=int, default=None, metavar="N", help="one core each (default: all cores)"
    )
    data.set_defaults(run=_data)

    reduce = commands.add_parser(
        "reduce",
        help="raw files -> normalised spectra and labels (stars.h5)",
        description=REDUCE,
        epilog=REDUCE_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    reduce.add_argument("survey", metavar="SURVEY", help=survey_help)
    workers = reduce.add_mutually_exclusive_group()
    workers.add_argument(
        "--processes", type=int, default=None, metavar="N", help="on this machine, one core each (default: all cores)"
    )
    workers.add_argument(
        "--scheduler",
        default=None,
        metavar="ADDRESS",
        help="have the workers of the Dask scheduler at this address, tcp://host:8786, read the spectra instead",
    )
    reduce.set_defaults(run=_reduce)

    distance = commands.add_parser(
        "distance",
        help="distances of single stars from their apStar files",
        description=DISTANCE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    distance.add_argument("files", nargs="+", type=Path, metavar="APSTAR", help="apStar or asStar files")
    distance.add_argument(
        "--model",
        type=Path,
        default=None,
        metavar="FILE",
        help="trained model (.keras); default: data/mock/models/calibrated.keras, which `make all` makes",
    )
    distance.add_argument(
        "--passes", type=int, default=None, metavar="N", help="dropout passes (default: the survey's, 100)"
    )
    distance.add_argument("--seed", type=int, default=None, metavar="N", help="of the dropout (default: the survey's)")
    distance.add_argument(
        "--output", type=Path, default=None, metavar="FILE", help="write the table to a .ecsv or .fits file"
    )
    distance.set_defaults(run=_distance)

    zero_point = commands.add_parser(
        "zeropoint",
        help="the parallax zero point of every star of a Gaia table",
        description=ZEROPOINT,
        epilog=ZEROPOINT_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    zero_point.add_argument("table", type=Path, metavar="TABLE", help="a .parquet, .fits or .csv file of Gaia sources")
    zero_point.add_argument(
        "--model",
        type=Path,
        default=None,
        metavar="FILE",
        help="trained model (.keras) with an offset; default: data/mock/models/multivariate.keras, which `make all`"
        " makes, or constant.keras beside it with --constant",
    )
    zero_point.add_argument(
        "--output", type=Path, default=None, metavar="FILE", help="default: TABLE with _zero_point in its name"
    )
    zero_point.add_argument(
        "--constant", action="store_true", help="one zero point for all stars; needs no G, BP-RP and Teff"
    )
    zero_point.add_argument(
        "--exact",
        action="store_true",
        help="evaluate the network for each star (about 20,000 stars a second) instead of a grid that differs from it"
        " by less than 0.1 uas (millions of stars a second)",
    )
    zero_point.add_argument("--chunk", type=int, default=None, metavar="N", help="rows at a time (default: 262144)")
    zero_point.add_argument(
        "--draws", type=int, default=None, metavar="N", help="dropout draws (default: the survey's)"
    )
    zero_point.add_argument(
        "--seed", type=int, default=None, metavar="N", help="of the dropout (default: the survey's)"
    )
    for option, default in (("g-mag", "phot_g_mean_mag"), ("bp-rp", "bp_rp"), ("parallax", "parallax")):
        zero_point.add_argument(
            f"--{option}", default=default, metavar="COLUMN", help=f"name of that column (default: {default})"
        )
    zero_point.add_argument(
        "--teff", default=None, metavar="COLUMN", help="default: teff_gspphot (DR3) or teff_val (DR2)"
    )
    zero_point.set_defaults(run=_zero_point)
    return parser


def _call(command: str, survey: str) -> str:
    """A command line for the survey as the user named it."""
    return f"`apogaia {command} {shlex.quote(survey)}`"


def _mock(options: argparse.Namespace) -> int:
    from apogaia.simulate.run import simulate_survey

    survey = load_survey(options.survey)
    workspace = Workspace(survey)
    if survey.sources.kind != "simulated":
        raise ValueError(
            f"survey {survey.name} is not simulated (sources.kind = {survey.sources.kind!r}):"
            f" {_call('data', options.survey)} {ARRIVAL[survey.sources.kind]}"
        )
    simulate_survey(survey, workspace, processes=options.processes)
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
            f" {_call('data', options.survey)} {ARRIVAL[survey.sources.kind]}"
        )
    if options.limit is not None and options.limit < 1:
        raise ValueError(f"--limit {options.limit}: at least one star")
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
            f"{counted(len(report.failed), 'file')} failed: run the same command again to go on, or add"
            " --accept-failures (to make: FETCH=--accept-failures) to do without",
            file=sys.stderr,
        )
        return 1
    print(f"complete: {workspace.raw}")
    return 0


def _warn_if_too_large(survey: Survey, workspace: Workspace, options: argparse.Namespace) -> None:
    from apogaia.archive.estimate import estimate

    try:
        expected = estimate(survey, workspace, limit=options.limit, mirror=options.mirror, ask=False)
    except ValueError:  # of an allStar that cannot be read: the fetch says so, or with --check replaces it
        return
    if expected.no_room():
        print(f"warning: {expected.no_room()}", file=sys.stderr)


def _reduce(options: argparse.Namespace) -> int:
    from apogaia.reduction.reduce import reduce_survey
    from apogaia.reduction.star_file import open_stars, status_counts

    survey = load_survey(options.survey)
    workspace = Workspace(survey)
    if not workspace.raw_manifest.is_file():
        raise FileNotFoundError(f"{workspace.raw_manifest} is missing: run {_call('data', options.survey)} first")
    path = reduce_survey(survey, workspace, processes=options.processes, scheduler=options.scheduler)
    with open_stars(path) as stars:
        status_counts(stars.table).pprint(max_lines=-1, max_width=-1)
    print(f"{path}: status and reason of every star are in it")
    return 0


def _model_path(given: Path | None, offset: str) -> Path:
    """The model to use, checked before the imports that take seconds."""
    path = given or Workspace(load_survey("mock")).model(offset)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such model; `make all` trains one, or name yours with --model")
    return path


def _warn_if_simulated(path: Path, provenance: dict) -> None:
    if provenance["settings"]["sources"]["kind"] == "simulated":
        print(
            f"warning: {path} was trained on simulated stars: its results mean nothing for real ones", file=sys.stderr
        )


def _distance(options: argparse.Namespace) -> int:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import numpy as np

    if options.output and options.output.suffix not in (".ecsv", ".fits"):
        raise ValueError(f"--output {options.output}: write to a .ecsv or a .fits file")
    if options.passes is not None and options.passes < 2:
        raise ValueError(f"--passes {options.passes}: the model error is a spread, which needs at least 2 passes")
    model_path = _model_path(options.model, "calibrated")
    from apogaia.distances.catalogue import Flags, describe_flags, write_table
    from apogaia.distances.single_stars import measure_distances
    from apogaia.model.error_calibration import ErrorCalibration
    from apogaia.model.training import load_model, read_domain, read_provenance

    model, domain = load_model(model_path), read_domain(model_path)
    provenance = read_provenance(model_path)
    _warn_if_simulated(model_path, provenance)
    table = measure_distances(
        options.files,
        model,
        restore_survey(provenance["settings"]),
        domain=domain,
        errors=ErrorCalibration.of_model(model_path),
        passes=options.passes,
        seed=options.seed,
        progress=len(options.files) > 20,
    )
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
    model_path = _model_path(options.model, "constant" if options.constant else "multivariate")
    from apogaia.model.training import read_provenance
    from apogaia.zero_point.gaia_tables import (
        CHUNK,
        ColumnNames,
        ZeroPointFlags,
        add_zero_point_to_file,
        default_output,
    )

    _warn_if_simulated(model_path, read_provenance(model_path))
    if options.constant and read_provenance(model_path)["offset"] != "constant":
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
    for bit in ZeroPointFlags:
        if counts[bit.name]:
            print(f"  domain {bit.value:2d}: {counts[bit.name]} stars, {bit.reason}")
    return int(counts["valid"] == 0)
