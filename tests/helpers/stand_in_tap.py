"""A TAP service for the tests: it reads the query that it is sent, and answers it from tables of its own."""

from __future__ import annotations

import email
import io
import itertools
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

import numpy as np
from astropy.io import votable
from astropy.table import MaskedColumn, Table
from scipy.spatial import cKDTree
from stand_in import Request, Response

__all__ = ["StandInTap"]

XML = {"Content-Type": "application/xml"}
VOTABLE = {"Content-Type": "application/x-votable+xml"}


class AdqlError(ValueError):
    """A query that this service does not understand."""


@dataclass
class Job:
    """One job: its parameters and uploads, and since it was told to run, how often its phase was asked for."""

    parameters: dict[str, str]
    uploads: dict[str, Table]
    looked_at: int = -1  # not yet told to run
    phase: str = ""  # in which it ends; empty: in none
    message: str = ""
    result: bytes = b""


@dataclass
class StandInTap:
    """Handler for ``stand_in.StandIn`` that serves TAP below ``/tap``: ``async``, ``sync`` and ``capabilities``.

    Attributes
    ----------
    tables
        Columns by name, of each table by its name; NaN, and 0 in `nullable`, are NULL.
    nullable
        Columns of whole numbers in which 0 stands for NULL.
    looks
        Looks at a job before it is done.
    row_cap, says_so
        Most rows of an answer, and whether a capped one says OVERFLOW.
    patience_stars, too_slow
        Jobs with more stars than this never finish ("executing") or are refused with status 504 ("504").
    failures
        How the next jobs end: "ERROR" or "ABORTED" each.
    broken_stars
        Jobs with a star at one of these right ascensions [deg] end in ERROR.
    shuffled, reversed_columns, without
        Rows in random order by this seed; columns in reverse order; a column that no answer has.
    encoding
        Of the answers' tables: "binary2" as the real archive's, or "tabledata".
    delay
        Seconds that a job takes when it is told to run.
    uploaded
        Of each job that ran: right ascensions [deg] of its stars.
    """

    tables: Mapping[str, Mapping[str, np.ndarray]]
    nullable: tuple[str, ...] = ()
    looks: int = 1
    row_cap: int | None = None
    says_so: bool = True
    patience_stars: int | None = None
    too_slow: str = "executing"
    failures: list[str] = field(default_factory=list)
    broken_stars: tuple[float, ...] = ()
    shuffled: int | None = None
    reversed_columns: bool = False
    without: str = ""
    encoding: str = "binary2"
    delay: float = 0.0
    jobs: dict[str, Job] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)
    uploaded: list[np.ndarray] = field(default_factory=list)

    def __post_init__(self):
        self.lock, self.numbers = threading.Lock(), itertools.count(1)

    def __call__(self, request: Request) -> Response:
        """Answer one request."""
        with self.lock:
            parts = request.path.strip("/").split("/")
            if parts[0] != "tap" or len(parts) < 2:
                return Response(404)
            if parts[1] == "async":
                return self.job_request(request, parts[2:])
            if parts[1] == "sync":
                return self.sync_request(request)
            if parts[1] == "capabilities":
                return Response(headers=XML, body=CAPABILITIES)
            return Response(404)

    def sync_request(self, request: Request) -> Response:
        parameters, uploads = _form(request)
        try:
            return Response(headers=VOTABLE, body=self.answer(Job(parameters, uploads)))
        except AdqlError as error:
            return Response(400, VOTABLE, _error_table(str(error)))

    def job_request(self, request: Request, parts: list[str]) -> Response:
        if not parts:
            if request.method != "POST":
                return Response(headers=XML, body=b'<uws:jobs xmlns:uws="http://www.ivoa.net/xml/UWS/v1.0"/>')
            job = Job(*_form(request))
            if self.too_slow == "504" and self.too_many(job):
                return Response(504)
            name = f"job{next(self.numbers)}"
            self.jobs[name] = job
            return Response(303, {"Location": _address(request, name)})
        name, *rest = parts
        if name not in self.jobs or name in self.deleted:
            return Response(404)
        job = self.jobs[name]
        if request.method == "DELETE":
            self.deleted.append(name)
            return Response(303, {"Location": _address(request, "")})
        if rest == ["phase"] and request.method == "POST":
            if _form(request)[0].get("PHASE") != "RUN" or job.looked_at >= 0:
                return Response(400, {"Content-Type": "text/plain"}, b"no such change of phase")
            self.start(job)
            return Response(303, {"Location": _address(request, name)})
        if rest == ["results", "result"] and job.phase == "COMPLETED":
            return Response(headers=VOTABLE, body=job.result)
        return Response(headers=XML, body=self.document(request, name, job)) if not rest else Response(404)

    def too_many(self, job: Job) -> bool:
        most = self.patience_stars
        return most is not None and any(len(table) > most for table in job.uploads.values())

    def start(self, job: Job) -> None:
        job.looked_at = 0
        time.sleep(self.delay)
        stars = np.concatenate([np.asarray(table["ra"]) for table in job.uploads.values()])
        self.uploaded.append(stars)
        if self.too_many(job):
            return
        if self.failures:
            job.phase, job.message = self.failures.pop(0), "the database is out of temper"
        elif np.isin(stars, self.broken_stars).any():
            job.phase, job.message = "ERROR", "this star is not to the database's liking"
        else:
            try:
                job.result, job.phase = self.answer(job), "COMPLETED"
            except AdqlError as error:
                job.phase, job.message = "ERROR", str(error)

    def document(self, request: Request, name: str, job: Job) -> bytes:
        """The job in XML; a look at it brings a running job nearer to its end."""
        phase, more = "PENDING", ""
        if job.looked_at >= 0:
            phase = ("QUEUED", "EXECUTING")[min(job.looked_at, 1)]
            job.looked_at += 1
            if job.phase and job.looked_at > self.looks:
                phase = job.phase
        if phase == "COMPLETED":
            href = f"{_address(request, name)}/results/result"
            more = f'<uws:results><uws:result id="result" xlink:href="{href}"/></uws:results>'
        elif phase == "ERROR":
            more = (
                '<uws:errorSummary type="fatal" hasDetail="false">'
                f"<uws:message>{escape(job.message)}</uws:message></uws:errorSummary>"
            )
        return (
            '<?xml version="1.0" encoding="UTF-8"?><uws:job xmlns:uws="http://www.ivoa.net/xml/UWS/v1.0" '
            'xmlns:xlink="http://www.w3.org/1999/xlink" version="1.1">'
            f"<uws:jobId>{name}</uws:jobId><uws:phase>{phase}</uws:phase>{more}</uws:job>"
        ).encode()

    def answer(self, job: Job) -> bytes:
        """The VOTable that a query gives."""
        table = select(job.parameters.get("QUERY", ""), self.tables, job.uploads)
        if self.without:
            table.remove_column(self.without)
        if self.reversed_columns:
            table = table[table.colnames[::-1]]
        if self.shuffled is not None:
            table = table[np.random.default_rng(self.shuffled).permutation(len(table))]
        capped = self.row_cap is not None and len(table) > self.row_cap
        if capped:
            table = table[: self.row_cap]
        document = votable.from_table(self.with_nulls(table))
        document.resources[0].infos.append(votable.tree.Info(name="QUERY_STATUS", value="OK"))
        written = io.BytesIO()
        document.to_xml(written, tabledata_format=self.encoding)
        if capped and self.says_so:
            overflow = b'</TABLE><INFO name="QUERY_STATUS" value="OVERFLOW"/>'
            return written.getvalue().replace(b"</TABLE>", overflow)
        return written.getvalue()

    def with_nulls(self, table: Table) -> Table:
        columns = {}
        for name in table.colnames:
            values = np.asarray(table[name])
            null = np.isnan(values) if values.dtype.kind == "f" else (values == 0) & (name in self.nullable)
            columns[name] = MaskedColumn(values, mask=null)
        return Table(columns, masked=True)


# --- the query --------------------------------------------------------------------------------------------------------

_QUERY = re.compile(
    r"SELECT (?P<distinct>DISTINCT )?(?P<columns>.+?) FROM TAP_UPLOAD\.(?P<upload>\w+) AS (?P<star>\w+) "
    r"JOIN (?P<table>[\w.]+) AS (?P<source>\w+) ON 1 = CONTAINS\((?P<point>POINT\(.+?\)), "
    r"CIRCLE\('ICRS', (?P<centre>[\w., ]+?), (?P<radius>[\d.]+)\)\)(?: WHERE (?P<where>.+))?",
    re.IGNORECASE,
)
_POINT = re.compile(r"POINT\('ICRS', (\w+)\.ra, \1\.dec\)", re.IGNORECASE)
_DISTANCE = re.compile(r"DISTANCE\(POINT\('ICRS', (\w+)\.ra, \1\.dec\), POINT\('ICRS', (\w+)\.ra, \2\.dec\)\)", re.I)
_TERM = re.compile(r"(?P<left>[^<>]+?) (?P<sign><=|>=|<|>) (?P<right>[^<>]+)")
_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+\.?\d*)|(?P<column>\w+\.\w+)|(?P<name>SQRT|DISTANCE)|(?P<sign>[-+*/()]))", re.I
)


def select(query: str, tables: Mapping[str, Mapping[str, np.ndarray]], uploads: Mapping[str, Table]) -> Table:
    """The rows that a query selects from `tables` around the stars of an uploaded table.

    Raises
    ------
    AdqlError
        If the query is anything but a join by position of an upload with a table, with an optional condition made of
        comparisons, AND and OR.
    """
    found = _QUERY.fullmatch(" ".join(query.split()))
    if found is None:
        raise AdqlError(f"cannot read the query {query}")
    star, source = found["star"], found["source"]
    point, centre = _POINT.fullmatch(found["point"]), re.fullmatch(r"(\w+)\.ra, \1\.dec", found["centre"])
    if point is None or centre is None or {point[1], centre[1]} != {star, source}:
        raise AdqlError("CONTAINS must compare a place of one table with a place of the other")
    if found["table"] not in tables:
        raise AdqlError(f"there is no table {found['table']}")
    if found["upload"] not in uploads:
        raise AdqlError(f"nothing was uploaded as {found['upload']}")
    table, stars = tables[found["table"]], uploads[found["upload"]]
    wanted = []
    for text in found["columns"].split(", "):
        alias, _, name = text.partition(".")
        if alias != source or name not in table:
            raise AdqlError(f"there is no column {text}")
        wanted.append(name)

    of_star, of_source, distance = _pairs(stars, table, float(found["radius"]))
    values = {f"{star}.{name}": np.asarray(stars[name])[of_star] for name in stars.colnames}
    values |= {f"{source}.{name}": np.asarray(column)[of_source] for name, column in table.items()}
    kept = np.ones(len(of_source), dtype=bool)
    if found["where"]:
        kept = _condition(found["where"], values, distance, {star, source})
    rows = np.unique(of_source[kept]) if found["distinct"] else of_source[kept]
    return Table({name: np.asarray(table[name])[rows] for name in wanted})


def _pairs(stars: Table, table: Mapping[str, np.ndarray], radius: float):
    """Rows of stars and sources nearer than `radius` [deg] to each other, and their distances [deg]."""
    places = [_unit_vectors(np.asarray(t["ra"], float), np.asarray(t["dec"], float)) for t in (stars, table)]
    chord = 2 * np.sin(np.radians(radius) / 2)
    around = cKDTree(places[1]).query_ball_point(places[0], chord)
    of_star = np.repeat(np.arange(len(stars)), [len(rows) for rows in around])
    of_source = np.concatenate([*around, []]).astype(int)
    separation = np.linalg.norm(places[0][of_star] - places[1][of_source], axis=-1)
    return of_star, of_source, np.degrees(2 * np.arcsin(separation / 2))


def _unit_vectors(ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    ra, dec = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)


def _condition(text: str, values: Mapping[str, np.ndarray], distance: np.ndarray, aliases: set[str]) -> np.ndarray:
    """Of comparisons joined by AND and OR, without parentheses around them; a comparison with NaN (NULL) is false."""

    def of_both(found: re.Match) -> str:
        if {found[1], found[2]} != aliases:
            raise AdqlError("DISTANCE must be from a place of one table to a place of the other")
        return "DISTANCE"

    text = _DISTANCE.sub(of_both, text)
    compare = {"<=": np.less_equal, "<": np.less, ">=": np.greater_equal, ">": np.greater}
    kept = np.zeros(len(distance), dtype=bool)
    for alternative in re.split(r" OR ", text, flags=re.I):
        all_of = np.ones(len(distance), dtype=bool)
        for term in re.split(r" AND ", alternative, flags=re.I):
            found = _TERM.fullmatch(term)
            if found is None:
                raise AdqlError(f"cannot read the condition {term}")
            sides = (_expression(found[side], values, distance) for side in ("left", "right"))
            all_of &= compare[found["sign"]](*sides)
        kept |= all_of
    return kept


def _expression(text: str, values: Mapping[str, np.ndarray], distance: np.ndarray):
    """The value of numbers, columns, SQRT and DISTANCE with + - * / and parentheses."""
    made, names, place = [], {"SQRT": np.sqrt, "DISTANCE": distance}, 0
    while place < len(text.rstrip()):
        token = _TOKEN.match(text, place)
        if token is None:
            raise AdqlError(f"cannot read the expression {text}")
        place = token.end()
        if token["column"]:
            if token["column"] not in values:
                raise AdqlError(f"there is no column {token['column']}")
            made.append(f"values[{token['column']!r}]")
        else:
            made.append(token["number"] or token["sign"] or token["name"].upper())
    try:
        # Every token is one of those above.
        return eval(" ".join(made), {"__builtins__": {}}, names | {"values": values})
    except (SyntaxError, TypeError) as error:
        raise AdqlError(f"cannot read the expression {text}") from error


# --- HTTP and XML -----------------------------------------------------------------------------------------------------


def _form(request: Request) -> tuple[dict[str, str], dict[str, Table]]:
    """Parameters and uploaded tables of a request."""
    kind = request.headers.get("Content-Type", "")
    head = f"Content-Type: {kind}\r\n\r\n".encode()
    if not kind.startswith("multipart/form-data"):
        return request.query | dict(parse_qsl(request.body.decode())), {}
    parameters, contents = {}, {}
    for part in email.message_from_bytes(head + request.body).get_payload():
        name = part.get_param("name", header="Content-Disposition")
        content = part.get_payload(decode=True)
        if part.get_filename() is None:
            parameters[name] = content.decode()
        else:
            contents[name] = content
    uploads = {}
    for upload in filter(None, parameters.get("UPLOAD", "").split(";")):
        name, _, place = upload.partition(",")
        content = contents[place.removeprefix("param:")]
        uploads[name] = votable.parse_single_table(io.BytesIO(content)).to_table()
    return parameters, uploads


def _address(request: Request, name: str) -> str:
    return f"http://{request.headers['Host']}/tap/async/{name}"


def _error_table(message: str) -> bytes:
    return (
        '<?xml version="1.0"?><VOTABLE version="1.3" xmlns="http://www.ivoa.net/xml/VOTable/v1.3">'
        f'<RESOURCE type="results"><INFO name="QUERY_STATUS" value="ERROR">{escape(message)}</INFO></RESOURCE>'
        "</VOTABLE>"
    ).encode()


CAPABILITIES = b"""<?xml version="1.0" encoding="UTF-8"?>
<vosi:capabilities xmlns:vosi="http://www.ivoa.net/xml/VOSICapabilities/v1.0"
  xmlns:tr="http://www.ivoa.net/xml/TAPRegExt/v1.0" xmlns:vs="http://www.ivoa.net/xml/VODataService/v1.1"
  xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
  <capability standardID="ivo://ivoa.net/std/TAP" xsi:type="tr:TableAccess">
    <interface role="std" xsi:type="vs:ParamHTTP"><accessURL use="base">http://127.0.0.1/tap</accessURL></interface>
    <language><name>ADQL</name><version ivo-id="ivo://ivoa.net/std/ADQL#v2.0">2.0</version></language>
    <outputFormat><mime>application/x-votable+xml</mime></outputFormat>
    <uploadMethod ivo-id="ivo://ivoa.net/std/TAPRegExt#upload-inline"/>
  </capability>
</vosi:capabilities>
"""
