"""Write the tables of docs/closure.md and docs/closure_trials.md from what `make stress` and `make closure` wrote."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from ledger import replace_block

from apogaia.closure.coverage import LEVELS
from apogaia.closure.stress import KEPT_SEEDS, SEEDS
from apogaia.closure.summary import QUANTITIES, VARIABLES, summary
from apogaia.survey import load_survey

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE, STRESS = DOCS / "closure.md", DOCS / "closure" / "stress.json"
BEFORE = DOCS / "closure" / "stress_before.json"
DISTANCES = DOCS / "closure" / "distances.json"
RECIPE = DOCS / "closure" / "recipe.json"
TRIALS_PAGE, NUMBERS = DOCS / "closure_trials.md", DOCS / "closure" / "numbers.json"
ALLOWED = (65, 71)  # per cent of the stars within a 68 % interval, in each bin of HELD
HELD = ("k_mag", "snr", "logg")
DISTANCE_VARIABLES = (
    ("k_mag", "Ks", 1),
    ("snr", "SNR", 0),
    ("logg", "log g", 2),
    ("teff", "Teff [K]", 0),
    ("distance_kpc", "true distance [kpc]", 1),
)
VALUES = ("0", "29", "52.3", "100")


def pm(result: dict | None) -> str:
    return "-" if result is None else f"{result['value_uas']:.1f} ± {result['error_uas']:.1f}"


def table(head: str, rows: list[list[str]]) -> str:
    columns = head.split("|")
    lines = ["| " + " | ".join(column.strip() for column in columns) + " |", "|" + "---|" * len(columns)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def zero_points(r: dict) -> str:
    columns = ("paper_{}", "refit_{}", "fresh_{}")
    rows = [[f"{0.0 - float(v):g}", *(pm(r.get(name.format(v))) for name in columns)] for v in VALUES]
    head = "injected [uas] | the paper's recipe (error: dropout) | refit | refit, fresh Galaxy"
    text = table(head, rows)
    if "clean_paper" in r:
        text += f"\nThe paper's recipe without contaminants, injected -52.3: {pm(r['clean_paper'])}.\n"
    slopes = summary(r).get("slope", {})
    for name, label in (("refit", "refit"), ("fresh", "refit, fresh Galaxy"), ("paper", "the paper's recipe")):
        if name in slopes:
            text += f"\nSlope of recovered against injected, {label}: {slopes[name]['slope']:.3f}."
    return text + "\n"


def kepler(r: dict) -> str:
    names = {"kepler_paper": "the paper's recipe", "kepler_refit": "refit", "fresh_kepler": "refit, fresh Galaxy"}
    rows = [[label, str(r[name]["stars"]), pm(r[name])] for name, label in names.items() if name in r]
    return table("Kepler-like field, injected -52.3 | stars | recovered [uas]", rows)


def errors(r: dict) -> str:
    seeds = summary(r).get("seeds")
    if not seeds:
        return "No seeds have run.\n"
    rows = [
        ["mean of the values [uas]", f"{seeds['mean_value_uas']:.1f}"],
        ["scatter of the values [uas]", f"{seeds['sd_value_uas']:.2f}"],
        ["mean statistical error [uas]", f"{seeds['mean_statistical_error_uas']:.2f}"],
        ["mean quoted error [uas]", f"{seeds['mean_error_uas']:.2f}"],
        ["mean pull", f"{seeds['mean_pull']:+.2f}"],
        ["standard deviation of the pulls", f"{seeds['sd_pull']:.2f}"],
    ]
    full = r.get("refit_52.3")
    if full and "halves_uas" in full:
        rows.append(["two halves of the full sample [uas]", ", ".join(f"{half:.1f}" for half in full["halves_uas"])])
        rows.append(
            [
                "statistical and quoted error of the full sample [uas]",
                f"{full['statistical_error_uas']:.2f}, {full['error_uas']:.2f}",
            ]
        )
    if "paper_52.3" in r:
        rows.append(["the paper's recipe: dropout's error [uas]", f"{r['paper_52.3']['error_uas']:.2f}"])
    return table(f"{seeds['trials']} seeds, {seeds['stars']} stars each |", rows)


def surface(r: dict) -> str:
    rows = []
    for name, label in (
        ("surface_paper", "the paper's recipe"),
        ("surface_refit", "plane"),
        ("fresh_surface", "plane, fresh Galaxy"),
    ):
        if name in r:
            s = r[name]["surface"]
            trends = s["trend_recovered_and_injected_uas_per_sd"]
            cells = [f"{trends[k][0]:.1f} ({trends[k][1]:.1f})" for k in ("g_mag", "bp_rp", "teff")]
            rows.append([label, f"{s['rms_difference_uas']:.1f}", f"{s['mean_difference_uas']:+.1f}", *cells])
    head = "| rms difference [uas] | mean difference [uas] | trend with G (injected) | with BP-RP | with Teff"
    text = table(head, rows)
    rows = []
    for name, label in (("surface_paper", "paper's recipe"), ("surface_refit", "plane")):
        if name in r:
            s = r[name]["surface"]
            for key, axis in (("g_mag", "G - 16"), ("bp_rp", "BP-RP"), ("teff", "Teff - 4500")):
                rows.append(
                    [
                        f"{label}, {axis}",
                        *(", ".join(f"{c:.3g}" for c in s[f"summaries_{k}"][key]) for k in ("recovered", "injected")),
                    ]
                )
    return text + "\n" + table("quadratic summaries a2, a1, a0 [uas] | recovered | injected", rows)


def contaminants(r: dict) -> str:
    shifts, rows = summary(r).get("contaminants_shift_uas", {}), []
    for name, label in (("paper", "the paper's recipe, Gaussian"), ("refit", "refit, contaminants allowed for")):
        if name in shifts:
            values = (r[f"{trial}"]["value_uas"] for trial in (f"clean_{name}", f"{name}_52.3"))
            rows.append([label, *(f"{value:.1f}" for value in values), f"{shifts[name]:+.1f}"])
    full, clean = (r.get(trial, {}).get("gaussian_uas") for trial in ("refit_52.3", "clean_refit"))
    if full is not None and clean is not None:
        rows.append(["refit, Gaussian", f"{clean:.1f}", f"{full:.1f}", f"{full - clean:+.1f}"])
    return table("zero point [uas] | without contaminants | with 0.3 % | shift", rows)


def calibration(r: dict) -> str:
    if "distances" not in r:
        return "The trial `distances` has not run.\n"
    d, covered, rows = r["distances"], summary(r)["coverage"], []
    for name, label in (
        ("calibrated", "calibrated model"),
        ("paper", "the paper's recipe"),
        ("released", "the released code's form"),
    ):
        for quantity in QUANTITIES:
            c = covered[name][quantity]
            inside = [c[f"within_{level}"] for level in LEVELS]
            worst = [f"{c[variable]['min_68']:.0f}-{c[variable]['max_68']:.0f}" for variable in VARIABLES]
            pull = d[name][quantity]["all"]["median_pull"]
            rows.append([f"{label}, {quantity}", *(f"{share:.1f}" for share in inside), f"{pull:+.2f}", *worst])
    head = (
        "% of the truth within | 50 % | 68 % | 95 % | median pull | 68 % in bins of Ks | SNR | log g | Teff | distance"
    )
    text = table(head, rows) + "\n"
    for variable, label in (("k_mag", "Ks"), ("snr", "SNR"), ("logg", "log g")):
        bins = d["calibrated"]["distance"][variable]
        rows = []
        for k, b in enumerate(bins):
            row = [f"{b['low']:.2f} to {b['high']:.2f}", str(b["stars"])]
            row += [
                f"{d[name]['distance'][variable][k]['within_68']:.1f}" for name in ("calibrated", "paper", "released")
            ]
            rows.append(row)
        text += (
            table(f"68 % intervals of distance, {label} | stars | calibrated | paper's recipe | released form", rows)
            + "\n"
        )
    rows = []
    for variable, label in (("logg", "log g"), ("snr", "SNR")):
        for k, b in enumerate(d["calibrated"]["scatter_percent"][variable]):
            cells = [f"{d[name]['scatter_percent'][variable][k]['scatter']:.1f}" for name in ("calibrated", "paper")]
            rows.append([f"{label} {b['low']:.2f} to {b['high']:.2f}", *cells])
    giants = [f"{d[name]['scatter_percent']['giants']:.1f}" for name in ("calibrated", "paper")]
    return text + table(
        "robust scatter of the giants' distances [%] | calibrated | paper's recipe", [["all giants", *giants], *rows]
    )


def sizes(r: dict) -> str:
    """Number of usable stars against the refit's error, and what becomes of a survey with so many."""
    least = load_survey("dr14").calibration.min_stars
    head = (
        "usable stars | samples | mean difference [uas] | rms | largest | mean quoted error | truth within 2 errors"
        " | a survey of so many"
    )
    text = ""
    for name, label in (("sizes", "First Galaxy"), ("fresh_sizes", "Fresh Galaxy")):
        if name not in r:
            continue
        rows = [
            [
                str(found["stars"]),
                f"{found['draws']}" + (f", {found['failed']} without a result" if found["failed"] else ""),
                f"{found['mean_difference_uas']:+.1f}",
                *(f"{found[f'{what}_uas']:.1f}" for what in ("rms_difference", "largest_difference", "mean_error")),
                f"{100 * found['within_2_errors']:.0f} %",
                "runs" if found["stars"] >= least else "is refused; runs with a fixed zero point",
            ]
            for found in r[name]["sizes"]
        ]
        text += f"{label}, injected {r[name]['trial']['zero_point']:g} uas:\n\n{table(head, rows)}\n"
    return text.removesuffix("\n") or "The trial `sizes` has not run.\n"


def ranges(r: dict) -> str:
    """Range of distances against what the refit finds, and what becomes of a survey of such stars."""
    if "ranges" not in r:
        return "The trial `ranges` has not run.\n"
    least = load_survey("dr14").calibration.min_parallax_spread
    rows = [
        [
            f"{found['near_kpc']:.2f} to {found['far_kpc']:.2f}",
            str(found["stars"]),
            f"{found['parallax_spread']:.2f}",
            "none" if "failed" in found else pm(found),
            "runs" if found["parallax_spread"] >= least else "is refused; runs with a fixed zero point",
        ]
        for found in r["ranges"]["ranges"]
    ]
    injected = r["ranges"]["trial"]["zero_point"]
    head = "true distance [kpc] | stars | spread of parallaxes / median | refit [uas], injected {} | such a survey"
    return table(head.format(f"{injected:g}"), rows)


def plain(r: dict, name: str, head: str) -> str:
    if name not in r:
        return f"The trial `{name}` has not run.\n"
    rows = [
        [key.removesuffix("_uas").replace("_", " "), f"{value:.2f}" if isinstance(value, float) else str(value)]
        for key, value in r[name].items()
        if key not in ("trial", "seconds") and isinstance(value, (int, float))
    ]
    return table(head, rows)


def stress_results() -> dict | None:
    """What `make stress` wrote; None if it did not run."""
    return json.loads(STRESS.read_text(encoding="utf-8")) if STRESS.is_file() else None


def stress_before() -> dict:
    """What the refit of an earlier state found in the same universes: universe, zero point and seed to its entry."""
    if not BEFORE.is_file():
        return {}
    found = json.loads(BEFORE.read_text(encoding="utf-8"))
    return {(run["universe"], run["zero_point"], run["seed"]): run for run in found["runs"]}


def told(run: dict | None) -> str:
    """One run in a cell: recovered minus true mean, quoted error, the slope's difference; bold if beyond its limits."""
    if run is None:
        return "-"
    if run["refused"]:
        return "refused"
    text = f"{run['difference_uas']:+.1f} ± {run['error_uas']:.1f}"
    if "slope_difference_uas_per_mag" in run:
        text += f"; {run['slope_difference_uas_per_mag']:+.1f}"
    return text if run.get("passed", True) else f"**{text}**"


def _seeds(runs: list[dict]) -> str:
    seeds = sorted({run["seed"] for run in runs})
    return f"Seed{'s' if len(seeds) > 1 else ''} {' and '.join(map(str, seeds))}"


def stress(found: dict | None, before: dict) -> str:
    """The stress suite: every universe beside the truth, the seeds side by side; None: it has not run."""
    if found is None:
        return "The whole suite has not run with the present code: `make stress` fills this table.\n"
    seeds = sorted({run["seed"] for run in found["runs"]})
    rows: dict[tuple, dict[int, dict]] = {}
    for run in found["runs"]:
        kind = "base" if run["base"] else "stress"
        rows.setdefault((run["universe"], run["what"], run["zero_point"], kind), {})[run["seed"]] = run
    heads = ["universe", "what", "zero point", "kind", "stars", "before, seed 0", *(f"seed {seed}" for seed in seeds)]
    cells: list[list[str]] = []
    for (universe, what, zero_point, kind), runs in rows.items():
        stars = max(run["stars"] for run in runs.values())
        earlier = told(before.get((universe, zero_point, 0)))
        cells.append(
            [universe, what, zero_point, kind, f"{stars:,}", earlier, *(told(runs.get(seed)) for seed in seeds)]
        )
    text = table(" | ".join(heads), cells)
    for name, chosen in (("for choosing a method", SEEDS), ("kept, looked at once", KEPT_SEEDS)):
        fitted = [run for run in found["runs"] if run["seed"] in chosen and not run["refused"]]
        if not fitted:
            continue
        pull = np.abs([run["pull"] for run in fitted])
        off = np.array([run["difference_uas"] for run in fitted])
        passed = sum(run["passed"] for run in fitted)
        text += (
            f"\n{_seeds(fitted)} ({name}): {passed} of {len(fitted)}"
            f" fits are within their limits; {100 * np.mean(pull < 1):.0f} % have the truth within one quoted error,"
            f" {100 * np.mean(pull < 2):.0f} % within two; the median difference is {np.median(off):+.1f} uas.\n"
        )
    return text + drawn_often(found.get("draws", []))


def drawn_often(found: list[dict]) -> str:
    """One universe with seeds of its own: draws that share few stars, and neither Gaia's noise nor sky errors."""
    if len(found) < 2:
        return ""
    off, error = (np.array([run[name] for run in found]) for name in ("difference_uas", "error_uas"))
    spread, name, seeds = off.std(ddof=1), found[0]["universe"], (found[0]["seed"], found[-1]["seed"])
    each = ", ".join(f"{one:+.1f}" for one in off)
    return (
        f"\nThe universe {name}, drawn {len(off)} times more with other stars, new Gaia noise and sky errors (seeds"
        f" {seeds[0]} to {seeds[1]}): {each} uas; mean {off.mean():+.1f} ± {spread / np.sqrt(len(off)):.1f}, scatter"
        f" {spread:.1f}, quoted error {error.mean():.1f}; {np.sum(np.abs(off) < error)} within one quoted error,"
        f" {np.sum(np.abs(off) < 2 * error)} within two.\n"
    )


def distances(found: dict) -> str:
    """How often the calibrated model's 68 % interval of distance holds the truth, by bins of equal numbers of stars."""
    covered, low, high = found["calibrated"]["distance"], *ALLOWED
    rows, missed = [], 0
    for variable, label, digits in DISTANCE_VARIABLES:
        cells = []
        for one in covered[variable]:
            share = one["within_68"]
            outside = not low <= share <= high
            missed += outside and variable in HELD
            cells.append(f"**{share:.1f}**" if outside else f"{share:.1f}")
        edges = [covered[variable][0]["low"], *(one["high"] for one in covered[variable])]
        rows.append([label, " ".join(f"{edge:.{digits}f}" for edge in edges), " ".join(cells)])
    model, bins, stars = found["calibrated"], sum(len(covered[held]) for held in HELD), covered["k_mag"][0]["stars"]
    shares = ", ".join(f"{covered['all'][f'within_{level}']:.1f}" for level in LEVELS)
    wanted, giants = found["trial"]["zero_point"], model["scatter_percent"]["giants"]
    lines = [
        f"{found['test_stars']:,} test stars; zero point {pm(found)} uas, injected {wanted:g}, from {found['stars']:,}"
        f" stars. The truth is within the 50, 68 and 95 % intervals for {shares} % of them. Distances: median"
        f" {model['median_offset_percent']:+.1f} %; scatter of giants {giants:.1f} %.",
        table("by | edges | truth within the 68 % interval [%]", rows).removesuffix("\n"),
        f"{bins - missed} of the {bins} bins of Ks, SNR and log g are between {low} and {high} % (others bold). A bin"
        f" has {stars} stars, so a share scatters by {100 * np.sqrt(0.68 * 0.32 / stars):.1f} points.",
    ]
    return "\n\n".join(lines) + "\n"


RECIPE_ROWS = (
    ("clean_paper", "constant", "none"),
    ("falling_paper", "falls by 9.2 uas per mag of G", "none"),
    ("paper_52.3", "constant", "1 %"),
    ("paper_0", "constant", "1 %"),
    ("paper_29", "constant", "1 %"),
    ("paper_100", "constant", "1 %"),
)
ACCURACY = ("giants_scatter", "model_error_below_10", "dropout_noise")
CAUSES = (
    ("nothing_uas", "nothing"),
    ("scatter_uas", "fakemag scatters by {scatter_percent:.1f} % about that which spectra and K0 show"),
    ("contaminants_uas", "{contaminants} contaminants added to {stars:,} stars"),
    ("falling_uas", "the zero point falls by 9.2 uas per mag of G"),
)


def recipe(r: dict) -> str:
    """What the paper's recipe recovers, how precise its luminosities are then, and its surface."""
    rows = []
    for name, zero_point, contaminants_ in RECIPE_ROWS:
        if name in r:
            one = r[name]
            rows.append([zero_point, f"{one['true_mean_uas']:.1f}", contaminants_, pm(one)])
            rows[-1].append(f"{one['value_uas'] - one['true_mean_uas']:+.1f}")
            rows[-1] += [f"{one['accuracy'][f'{key}_percent']:.1f}" for key in ACCURACY]
    head = "zero point | true mean [uas] | contaminants | recovered [uas] (error: dropout) | recovered - true"
    head += " | scatter of giants [%] | model error below 10 % [% of stars] | dropout noise [%]"
    text = table(head, rows)
    if "surface_paper" in r:
        s = r["surface_paper"]["surface"]
        trends = s["trend_recovered_and_injected_uas_per_sd"]
        labels = {"g_mag": "G", "bp_rp": "BP-RP", "teff": "Teff"}
        parts = ", ".join(f"{label} {trends[key][0]:+.1f} ({trends[key][1]:+.1f})" for key, label in labels.items())
        text += (
            f"\nThe multivariate model, with the surface of the paper's Eqs. 7 to 9 and no contaminants: over the test"
            f" stars {s['mean_difference_uas']:+.1f} uas from the truth on average, {s['rms_difference_uas']:.1f} rms;"
            f" recovered trends, with the injected ones, in uas per standard deviation: {parts}.\n"
        )
    return text


def causes(r: dict) -> str:
    """What each cause alone gives, and all together, at the optimum of the recipe's likelihood."""
    one = r["paper_causes"]
    rows = [[what.format(**one), f"{one[key]:+.1f}"] for key, what in CAUSES]
    rows += [[f"dropout noise of {100 * each['noise']:.0f} %", f"{each['uas']:+.1f}"] for each in one["dropout"]]
    text = table("cause, alone | zero point - true mean [uas]", rows) + "\n"
    rows = [
        [f"{100 * each['noise']:.0f}", *(f"{each[key]:+.1f}" for key in ("constant_uas", "falling_uas"))]
        for each in one["together"]
    ]
    return text + table("with that scatter: dropout noise [%] | constant zero point | falling zero point", rows)


def fill(page: str, results: dict) -> str:
    """The page of the trials with its tables written from the results."""
    blocks = {
        "zero points": zero_points(results),
        "kepler": kepler(results),
        "errors": errors(results),
        "surface": surface(results),
        "contaminants": contaminants(results),
        "calibration": calibration(results),
        "selections": plain(results, "selections", "zero point [uas], injected -52.3 |"),
        "sizes": sizes(results),
        "ranges": ranges(results),
        "decomposition": plain(results, "decomposition", "zero point [uas], injected -52.3 |"),
    }
    for name, text in blocks.items():
        page = replace_block(page, name, text)
    return page


def main() -> None:
    TRIALS_PAGE.write_text(fill(TRIALS_PAGE.read_text(), json.loads(NUMBERS.read_text())))
    found = json.loads(RECIPE.read_text())
    page = replace_block(PAGE.read_text(), "stress", stress(stress_results(), stress_before()))
    for name, text in (("recipe", recipe(found)), ("causes", causes(found))):
        page = replace_block(page, name, text)
    PAGE.write_text(replace_block(page, "distances", distances(json.loads(DISTANCES.read_text()))))


if __name__ == "__main__":
    main()
