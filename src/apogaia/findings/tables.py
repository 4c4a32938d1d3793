"""Tables of a notebook as HTML, which a page sets in its own width; printed as text, wide ones break their lines."""

from __future__ import annotations

from astropy.table import Table

__all__ = ["html_table"]


def html_table(table: Table) -> str:
    """HTML of all rows and columns of a table; the same table gives the same text."""
    return "\n".join(table.pformat(max_lines=-1, max_width=-1, html=True, tableid="table", tableclass="dataframe"))
