"""Write the tables of ``docs/astra_products.md`` from the schema of the products."""

from pathlib import Path

from ledger import replace_block

from apogaia.files import atomic
from apogaia.parameters import astra

PAGE = Path(__file__).resolve().parents[1] / "docs" / "astra_products.md"
GROUPS = {
    "spectrum columns": astra.SPECTRUM_COLUMNS,
    "visit columns": astra.VISIT_COLUMNS,
    "measured columns": astra.MEASURED_COLUMNS,
    "task columns": astra.TASK_COLUMNS,
    "label columns": astra.LABEL_COLUMNS,
    "distance columns": astra.DIST_COLUMNS,
    "flag columns": astra.FLAG_COLUMNS,
    "own columns": astra.OWN_COLUMNS,
}
TYPES = {"f4": "float32", "f8": "float64", "i2": "int16", "i4": "int32", "i8": "int64", "U": "text", "?": "bool"}


def columns_table(columns: tuple[astra.AstraColumn, ...]) -> str:
    lines = ["| column | type | unit | meaning |", "|---|---|---|---|"]
    for column in columns:
        name = f"`{column.name}`" + (f" (dev: `{column.dev}`)" if column.dev else "")
        meaning = column.description.replace("|", "\\|")
        lines.append(f"| {name} | {TYPES[column.kind]} | {column.unit} | {meaning} |")
    return "\n".join(lines)


def flags_table(kind: str) -> str:
    lines = ["| bit | name | set where |", "|---|---|---|"]
    for flag, meaning in astra.FLAG_MEANINGS[kind].items():
        told = meaning.replace("|", "\\|")
        lines.append(f"| {flag.bit_length() - 1} | {flag.name} | {told} |")
    bad = {schema: astra.BAD[kind, schema] for schema in astra.SCHEMAS}
    told = bad["dr19"] if len(set(bad.values())) == 1 else f"{bad['dr19']} (schema dev: {bad['dev']})"
    return "\n".join([*lines, "", f"`flag_warn`: {astra.WARNED[kind]}. `flag_bad`: {told}."])


def page(text: str) -> str:
    """The page with its tables written anew."""
    for name, columns in GROUPS.items():
        text = replace_block(text, name, f"{columns_table(columns)}\n")
    for kind in astra.KINDS:
        text = replace_block(text, f"flags of {kind}", f"{flags_table(kind)}\n")
    return text


def main() -> None:
    written = page(PAGE.read_text(encoding="utf-8"))
    with atomic(PAGE) as temporary:
        temporary.write_text(written, encoding="utf-8")


if __name__ == "__main__":
    main()
