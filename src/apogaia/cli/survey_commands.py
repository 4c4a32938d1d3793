"""From nothing to trained models: ``apogaia mock``, ``fetch``, ``data``, ``reduce`` and ``train``."""

from __future__ import annotations

import argparse
import sys

from apogaia.cli.checks import call
from apogaia.cli.help_texts import DATA, DATA_EPILOG, FETCH, FETCH_EPILOG, MOCK, MOCK_EPILOG, REDUCE, REDUCE_EPILOG
from apogaia.cli.options import PROCESSES_HELP, add_command, add_file, add_number, add_survey, add_workers
from apogaia.survey import Survey, load_survey
from apogaia.workspace import Workspace

__all__ = ["add"]

HOW_DATA_ARRIVE = {"simulated": "makes it", "archive": "fetches it", "folder": "links to your folder"}
KIND_OF_OPTION = {
    **dict.fromkeys(("limit", "mirror", "check", "accept_failures"), "archive"),
    "processes": "simulated",
}  # options of `apogaia data` -> sources.kind of the surveys that take them


def add(commands: argparse._SubParsersAction) -> None:
    """Add the commands to the parser of all."""
    mock = add_command(commands, "mock", _mock, "simulate a survey with known truth, in the real file formats")
    mock.description, mock.epilog = MOCK, MOCK_EPILOG
    add_survey(mock)
    add_number(mock, "--processes", PROCESSES_HELP)

    fetch = add_command(commands, "fetch", _fetch, "fetch a real survey from SDSS and Gaia")
    fetch.description, fetch.epilog = FETCH, FETCH_EPILOG
    add_survey(fetch)
    _add_archive_options(fetch)
    fetch.add_argument(
        "--dry-run",
        action="store_true",
        help="print the number of files and bytes, the time, and whether they fit on the disk; write nothing",
    )

    data = add_command(
        commands,
        "data",
        _data,
        "provide the raw files of a survey, whatever their source: mock, fetch, or links to your own folder",
    )
    data.description, data.epilog = DATA, DATA_EPILOG
    add_survey(data)
    _add_archive_options(data.add_argument_group("surveys of archives"))
    add_number(data.add_argument_group("simulated surveys"), "--processes", PROCESSES_HELP)

    reduce = add_command(commands, "reduce", _reduce, "raw files -> normalised spectra and labels (stars.h5)")
    reduce.description, reduce.epilog = REDUCE, REDUCE_EPILOG
    add_survey(reduce)
    add_workers(reduce)


def _add_archive_options(options: argparse._ActionsContainer) -> None:
    add_number(options, "--limit", "the first N rows of allStar only; a later call without it fetches the rest")
    add_file(
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
            " --accept-failures (to make: FETCH=--accept-failures) to continue without them",
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
