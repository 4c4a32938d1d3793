"""The commands for SDSS Astra's products: ``apogaia parameters``, ``astra``, and ``distance --product astra``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from apogaia.cli.checks import (
    call,
    check_output,
    check_passes,
    model_path_of,
    one_line_without_backend,
    warn_if_simulated,
)
from apogaia.cli.help_texts import ASTRA, ASTRA_EPILOG, PARAMETERS, PARAMETERS_EPILOG
from apogaia.cli.options import add_command, add_dropout, add_file, add_schema, add_survey, add_workers
from apogaia.survey import Survey, load_survey
from apogaia.workspace import Workspace

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["PRODUCTS", "add", "distances"]

PRODUCTS = ("AllStarAstroNN", "AllVisitAstroNN", "AllStarAstroNNDist")
FILES = (".ecsv", ".fits", ".fits.gz")


def add(commands: argparse._SubParsersAction) -> None:
    """Add the commands to the parser of all."""
    single = add_command(
        commands,
        "parameters",
        parameters,
        "Teff, log g and 20 abundances of single stars from their apStar files",
    )
    single.description, single.epilog = PARAMETERS, PARAMETERS_EPILOG
    single.add_argument("files", nargs="+", type=Path, metavar="APSTAR", help="apStar or asStar files")
    single.add_argument(
        "--visits", action="store_true", help="add a row for each visit, after that of the combined spectrum"
    )
    add_file(
        single,
        "--model",
        "trained model (.keras); default: data/mock/models/parameters.keras, which `make all` trains",
    )
    add_dropout(single)
    add_file(single, "--output", "write all columns to a .ecsv, .fits or .fits.gz file")
    add_schema(single)

    products = add_command(commands, "astra", products_of_survey, "a survey's products in the format of SDSS's Astra")
    products.description, products.epilog = ASTRA, ASTRA_EPILOG
    add_survey(products)
    products.add_argument(
        "--product",
        choices=PRODUCTS,
        action="append",
        help="only this product (may be repeated; default: all three)",
    )
    add_file(products, "--parameters-model", "default: the survey's models/parameters.keras")
    add_file(products, "--distance-model", "default: the survey's models/none.keras")
    add_schema(products)
    add_workers(products)


def distances(options: argparse.Namespace) -> int:
    """Print, and write, the columns of AstroNNDist."""
    check_output(options, *FILES)
    check_passes(options)
    model_path = model_path_of(options.model, "none")
    with one_line_without_backend():
        from apogaia.trained_model import TrainedModel

    model = TrainedModel.load(model_path)
    warn_if_simulated(model_path, model.provenance)
    table = model.astra_distances(
        options.files,
        ebv=options.ebv,
        passes=options.passes,
        seed=options.seed,
        progress=len(options.files) > 20,
        schema=options.schema,
    )
    error = {"dr19": ("L_fakemag_err", "dist_err"), "dev": ("e_L_fakemag", "e_dist")}[options.schema]
    forms = {"k_mag": ".3f", "ebv": ".3f", "L_fakemag": ".3f", error[0]: ".3f", "dist": ".1f", error[1]: ".1f"}
    _show_astra(table, "AstroNNDist", forms)
    _write_astra(table, "AstroNNDist", options, model_path, model.survey)
    return int(not all(table["dist"] > 0))


def parameters(options: argparse.Namespace) -> int:
    """Print, and write, the columns of AstroNN."""
    check_output(options, *FILES)
    check_passes(options)
    model_path = model_path_of(options.model, "parameters")
    with one_line_without_backend():
        from apogaia.parameters.parameters_model import ParametersModel

    model = ParametersModel.load(model_path)
    warn_if_simulated(model_path, model.provenance)
    table = model.astra_table(
        options.files,
        visits=options.visits,
        passes=options.passes,
        seed=options.seed,
        progress=len(options.files) > 20,
        schema=options.schema,
    )
    forms = {"snr": ".0f", "teff": ".0f", "e_teff": ".0f"}
    forms |= {f"{start}{name}": ".2f" for name in ("logg", "fe_h", "mg_h", "o_h", "al_h") for start in ("", "e_")}
    _show_astra(table, "AstroNN", forms)
    _write_astra(table, "AstroNN", options, model_path, model.survey)
    return int(not all(table["teff"] > 0))


def _show_astra(table: Table, kind: str, forms: Mapping[str, str]) -> None:
    """Print some columns of a product of files, the reasons of what has no result, and the meaning of the flags."""
    from apogaia.parameters.astra import describe_flags

    visits = ["visit", "mjd"] if "mjd" in table.colnames else []
    shown = table["obj", *visits, *forms, "result_flags"]
    names = [star or Path(file).name for star, file in zip(table["obj"], table["file"], strict=True)]
    shown.replace_column("obj", names)
    for name, form in forms.items():
        shown[name].info.format = form
    shown.pprint(max_lines=-1, max_width=-1)
    for reason in filter(None, table["reason"]):
        print(reason, file=sys.stderr)
    bits = 0
    for flags in table["result_flags"].tolist():
        bits |= flags
    for line in describe_flags(kind, bits):
        print(line)


def _write_astra(table: Table, kind: str, options: argparse.Namespace, model_path: Path, survey: Survey) -> None:
    if not options.output:
        return
    from apogaia.distances.catalogue import write_table
    from apogaia.parameters.astra import provenance, write_astra

    if options.output.suffix == ".ecsv":
        write_table(table, options.output)
    else:
        usual = survey.parameters if kind == "AstroNN" else survey.inference
        passes = usual.passes if options.passes is None else options.passes
        seed = survey.inference.seed if options.seed is None else options.seed
        origin = provenance(survey, model_path, passes, seed)
        write_astra(options.output, table, kind, origin, options.schema)
    print(f"written: {options.output}")


def products_of_survey(options: argparse.Namespace) -> int:
    """Write the products of a survey into its data folder."""
    survey = load_survey(options.survey)
    workspace = Workspace(survey)
    if not workspace.stars.is_file():
        raise FileNotFoundError(f"{workspace.stars} is missing: run {call('reduce', options.survey)} first")
    wanted = options.product or PRODUCTS
    models = {
        name: model_path_of(given, name, survey)
        for name, given, products in (
            ("parameters", options.parameters_model, PRODUCTS[:2]),
            ("none", options.distance_model, PRODUCTS[2:]),
        )
        if set(products) & set(wanted)
    }
    with one_line_without_backend():
        from apogaia.parameters import survey_products

    shared = {"schema": options.schema}
    for name in PRODUCTS:
        if name not in wanted:
            continue
        path = workspace.astra_product(name)
        if name == "AllStarAstroNN":
            survey_products.write_all_star_astronn(survey, workspace.stars, models["parameters"], path, **shared)
        elif name == "AllVisitAstroNN":
            workers = {"processes": options.processes, "scheduler": options.scheduler}
            survey_products.write_all_visit_astronn(survey, workspace, models["parameters"], path, **shared, **workers)
        else:
            survey_products.write_all_star_astronn_dist(survey, workspace.stars, models["none"], path, **shared)
        print(f"{path} is complete")
    return 0
