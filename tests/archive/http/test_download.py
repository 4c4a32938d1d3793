"""Each thing that archives do to a download: the file comes whole, or the outcome says in words why it does not."""

import gzip
import random
import re
import time
from itertools import pairwise

import pytest
from small_archive import SmallArchive, fetch, fits_like, sha1
from stand_in import Fault, Response, StandIn, serve_folder

from apogaia.archive.http import server_responses, transfers
from apogaia.archive.http.download import fetch_file
from apogaia.archive.http.remote_files import RemoteFile, State

CONTENT = fits_like(100, seed=1)  # 288,000 bytes
HASH = sha1(CONTENT)


@pytest.fixture
def serve(tmp_path):
    """A server of one file, as a function of the faults; `get` fetches the file from it."""
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "star.fits").write_bytes(CONTENT)
    servers = []

    def start(*faults, handler=None):
        server = StandIn(handler or serve_folder(tmp_path / "served"), faults)
        servers.append(server.__enter__())
        return server

    yield start
    for server in servers:
        server.__exit__(None, None, None)


@pytest.fixture
def get(tmp_path):
    def fetch_star(server, hash=HASH, name="star.fits", size=None, **settings):
        file = RemoteFile(tmp_path / "here" / name, f"{server.url}/star.fits", hash, size)
        return fetch([file], **settings)[0]

    return fetch_star


WHOLE = {"star.fits": "whole"}


def here(tmp_path):
    """What is in the client's folder: whole, or how many bytes of something else."""
    found = {path.name: path.read_bytes() for path in (tmp_path / "here").iterdir()}
    return {name: "whole" if content == CONTENT else len(content) for name, content in found.items()}


def test_many_files_come_in_order_over_few_connections_and_only_once(tmp_path):
    archive = SmallArchive(tmp_path, 30)
    with StandIn(serve_folder(archive.served)) as server:
        files = archive.files(server.url)
        outcomes = fetch((file for file in files), streams=3)
        assert [outcome.file for outcome in outcomes] == files
        assert {outcome.state for outcome in outcomes} == {State.FETCHED}
        assert sum(outcome.bytes_fetched for outcome in outcomes) == archive.n_bytes == server.bytes_sent
        assert server.connections_made == 3 and server.most_at_once <= 3 and len(server.requests) == 30
        archive.assert_whole()
        # what is there is not asked for again, and what is missing is
        files[7].path.unlink()
        again = fetch(files, streams=3)
        assert [outcome.state for outcome in again] == [State.PRESENT] * 7 + [State.FETCHED] + [State.PRESENT] * 22
        assert len(server.requests) == 31
    archive.assert_whole()


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_a_dropped_connection_is_resumed(serve, get, tmp_path, seed, reset):
    server = serve(Fault("", "drop", seed=seed, reset=reset))
    outcome = get(server)
    assert outcome.state is State.FETCHED and here(tmp_path) == WHOLE
    first, second = server.requests
    assert "Range" not in first.headers
    begun = int(second.headers["Range"].removeprefix("bytes=").removesuffix("-"))
    # after FIN all that was sent has come; RST may overtake some of it
    sent = random.Random(seed).randrange(len(CONTENT))
    assert begun <= sent if reset else begun == sent
    assert second.headers["If-Range"].startswith('"')
    assert outcome.bytes_fetched == len(CONTENT) and server.bytes_sent < 2 * len(CONTENT)


def test_a_connection_that_ends_before_the_answer(serve, get, tmp_path):
    server = serve(Fault("", "drop", at=-1, times=3))
    assert get(server).state is State.FETCHED and len(server.requests) == 4
    assert here(tmp_path) == WHOLE
    (tmp_path / "here" / "star.fits").unlink()
    server.faults.append(Fault("", "drop", at=-1, times=None))
    outcome = get(server, attempts=2)
    assert outcome.state is State.FAILED and outcome.reason == "given up after 2 attempts: the connection broke"
    assert here(tmp_path) == {}


def test_a_large_file_may_break_more_often_than_there_are_attempts(tmp_path):
    content = fits_like(2500, seed=3)  # 7.2 MB
    every = 1_500_000
    with StandIn(lambda request: Response(body=content), [Fault("", "drop", at=every, times=None)]) as server:
        file = RemoteFile(tmp_path / "table.fits", f"{server.url}/table.fits", sha1(content))
        assert fetch([file], attempts=2)[0].state is State.FETCHED
        assert len(server.requests) == 5 and server.bytes_sent == len(content)
        # without progress, attempts are counted
        server.faults[:] = [Fault("", "drop", at=1000, times=None)]
        file.path.unlink()
        assert fetch([file], attempts=2)[0].state is State.FAILED and len(server.requests) == 7


@pytest.mark.parametrize("at", [-1, 100_000])
def test_a_stalled_server(serve, get, tmp_path, at):
    server = serve(Fault("", "stall", at=at))
    assert get(server, timeout_s=1.0).state is State.FETCHED
    assert here(tmp_path) == WHOLE
    assert server.requests[1].headers.get("Range") == (None if at < 0 else "bytes=100000-")
    (tmp_path / "here" / "star.fits").unlink()
    server.faults[:] = [Fault("", "stall", at=-1, times=None)]
    outcome = get(server, timeout_s=0.1, attempts=2)
    assert outcome.reason == "given up after 2 attempts: time-out: nothing arrived for 0.1 s"


def test_a_server_that_drips(serve, get):
    """Each byte is in time, but days would go by."""
    outcome = get(serve(Fault("", "slow", rate=300, times=None)), timeout_s=0.3, attempts=2)
    assert outcome.state is State.FAILED and re.search("only [0-9]+ bytes arrived in", outcome.reason)


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_holds_for_all_streams(tmp_path, as_date):
    """One stream is told to wait while the other is at work; from then on no request comes until the time is over."""
    archive, times = SmallArchive(tmp_path, 8), []

    def handler(request):
        times.append(time.monotonic())
        time.sleep(0.1)
        return serve_folder(archive.served)(request)

    fault = Fault("0002", "status", status=429, retry_after=1, as_date=as_date)
    with StandIn(handler, [fault]) as server:
        assert all(outcome.whole for outcome in fetch(archive.files(server.url), streams=2))
    pauses = [second - first for first, second in pairwise(times)]
    # a whole second by the server's clock; as a date, it may have begun a little earlier
    assert 0.7 < max(pauses) < 4 and len(times) == 8
    archive.assert_whole()


def test_files_that_are_absent_cost_no_connection(tmp_path):
    archive = SmallArchive(tmp_path, 3)
    with StandIn(serve_folder(archive.served)) as server:
        missing = [RemoteFile(archive.folder / f"{n}.fits", f"{server.url}/none-{n}.fits") for n in range(5)]
        states = [outcome.state for outcome in fetch(missing + archive.files(server.url), streams=1)]
        assert states == [State.ABSENT] * 5 + [State.FETCHED] * 3
        assert server.connections_made == 1
    archive.assert_whole()


def test_retry_after_is_bounded(serve, get, monkeypatch):
    monkeypatch.setattr(server_responses, "LONGEST_WAIT_S", 0.1)
    begun = time.monotonic()
    assert get(serve(Fault("", "status", status=503, retry_after=86400))).whole
    assert 0.1 < time.monotonic() - begun < 4


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_passing_refusals(serve, get, tmp_path, status):
    server = serve(Fault("", "status", status=status, times=2))
    assert get(server).state is State.FETCHED and len(server.requests) == 3
    assert here(tmp_path) == WHOLE
    (tmp_path / "here" / "star.fits").unlink()
    server.faults[:] = [Fault("", "status", status=status, times=None)]
    assert f"HTTP {status}" in get(server, attempts=2).reason


@pytest.mark.parametrize(
    "status, state, words",
    [
        (404, State.ABSENT, "no such file"),
        (410, State.ABSENT, "no such file"),
        (401, State.FAILED, "refuses access"),
        (403, State.FAILED, "refuses access"),
        (400, State.FAILED, "HTTP 400"),
    ],
)
def test_lasting_refusals_are_asked_once(serve, get, tmp_path, status, state, words):
    server = serve(Fault("", "drop", at=5000), Fault("", "status", status=503), Fault("", "status", status=status))
    assert get(server, attempts=2).state is State.FAILED
    assert ".star.fits.part" in here(tmp_path)
    outcome = get(server)
    assert outcome.state is state and words in outcome.reason and len(server.requests) == 3
    # what came earlier is of no use once the archive has no such file
    assert (here(tmp_path) == {}) == (state is State.ABSENT)


def test_redirects(serve, get, tmp_path):
    server = serve(Fault("", "redirect"))
    assert get(server).state is State.FETCHED and here(tmp_path) == WHOLE
    (tmp_path / "here" / "star.fits").unlink()
    server.faults.append(Fault("", "redirect_loop"))
    outcome = get(server)
    assert outcome.state is State.FAILED and outcome.reason == "redirected more than 10 times"
    server.faults.append(Fault("", "redirect", to="ftp://127.0.0.1/star.fits"))
    assert "not an address that can be fetched" in get(server).reason
    assert here(tmp_path) == {}


@pytest.mark.parametrize("content_type", ["text/html", "application/fits"])
def test_a_page_instead_of_the_file(serve, get, tmp_path, content_type):
    page = Fault("", "html", content_type=content_type, times=2)
    server = serve(Fault("", "drop", at=150_000), page)
    assert get(server, hash=None).state is State.FETCHED and here(tmp_path) == WHOLE
    # the page did not cost the part that was there before it
    assert [request.headers.get("Range") for request in server.requests] == [None] + ["bytes=150000-"] * 3
    (tmp_path / "here" / "star.fits").unlink()
    page.times = None
    outcome = get(server, hash=None, attempts=2)
    assert outcome.reason == "given up after 2 attempts: an HTML page (Maintenance) instead of the file"
    assert here(tmp_path) == {}


@pytest.mark.parametrize("change", [-1000, 1000])
@pytest.mark.parametrize("known", ["hash", "size", "nothing"])
def test_a_wrong_length_that_looks_right(serve, get, tmp_path, change, known):
    """Without hash and size, that a FITS file has whole blocks tells it."""
    server = serve(Fault("", "wrong_length", change=change))
    hash, size = HASH if known == "hash" else None, len(CONTENT) if known == "size" else None
    assert get(server, hash=hash, size=size).state is State.FETCHED
    assert here(tmp_path) == WHOLE and len(server.requests) == 2
    if known == "size":  # told by the header: the wrong file is not taken at all
        assert server.requests[1].headers.get("Range") is None
    (tmp_path / "here" / "star.fits").unlink()
    server.faults.append(Fault("", "wrong_length", change=change, times=None))
    outcome = get(server, hash=hash, size=size)
    assert outcome.state is State.FAILED and here(tmp_path) == {}


def test_a_file_of_another_size_is_not_taken_to_its_end(tmp_path):
    content = fits_like(1500, seed=3)  # 4.3 MB
    with StandIn(lambda request: Response(body=content)) as server:
        file = RemoteFile(tmp_path / "table.fits", f"{server.url}/table.fits", size=len(content) + 2880)
        outcome = fetch([file], attempts=2)[0]
    assert outcome.state is State.FAILED and f"has {len(content)} bytes" in outcome.reason
    assert outcome.bytes_fetched <= 2 * transfers.CHUNK_BYTES


def test_a_flipped_bit(serve, get, tmp_path):
    server = serve(Fault("", "flip", seed=5), Fault("", "drop", at=9000), Fault("", "flip", seed=6))
    outcome = get(server)
    assert outcome.state is State.FETCHED and here(tmp_path) == WHOLE
    # whole and wrong; cut; its end wrong; from zero
    assert [request.headers.get("Range") for request in server.requests] == [None, None, "bytes=9000-", None]


def test_a_wrong_entry_in_the_list_is_told_after_two_fetches(serve, get, tmp_path):
    server = serve()
    outcome = get(server, hash="sha1:" + "0" * 40)
    assert outcome.state is State.FAILED and len(server.requests) == 2 and here(tmp_path) == {}
    digits = HASH.removeprefix("sha1:")
    assert outcome.reason == (
        f"the file's SHA-1 is {digits}, the archive's list says {'0' * 40}, twice the same: "
        "the list or the file is wrong"
    )


def test_a_server_that_ignores_ranges(serve, get, tmp_path):
    server = serve(Fault("", "drop", at=200_000), Fault("", "ignore_range"))
    assert get(server).state is State.FETCHED and here(tmp_path) == WHOLE
    assert "Range" in server.requests[1].headers and len(server.requests) == 2


def test_a_server_that_sends_another_range(serve, get, tmp_path):
    server = serve(Fault("", "drop", at=200_000), Fault("", "shifted_range"))
    assert get(server, hash=None).state is State.FETCHED and here(tmp_path) == WHOLE
    assert server.requests[2].headers.get("Range") is None


@pytest.mark.parametrize("ignores_validator", [False, True])
def test_a_file_that_changes_between_attempts(tmp_path, ignores_validator):
    """No hash is known: only the validators keep the pieces of two versions apart."""
    versions = [CONTENT, fits_like(100, seed=2)]

    def handler(request):
        content = versions[min(handler.calls, 1)]
        handler.calls += 1
        if ignores_validator:
            del request.headers["If-Range"]
        return Response(body=content)

    handler.calls = 0
    with StandIn(handler, [Fault("", "drop", at=100_000)]) as server:
        file = RemoteFile(tmp_path / "star.fits", f"{server.url}/star.fits")
        assert fetch([file])[0].state is State.FETCHED
        assert file.path.read_bytes() == versions[1]
        assert server.requests[1].headers["Range"] == "bytes=100000-"


@pytest.mark.parametrize(
    "headers, hash, if_range",
    [
        ({"ETag": ""}, None, "Tue, 01 Aug 2017 00:00:00 GMT"),  # the date is old enough to tell versions apart
        ({"ETag": 'W/"1"', "Last-Modified": ""}, None, None),
        ({"ETag": "", "Last-Modified": ""}, None, None),
        ({"ETag": "", "Last-Modified": ""}, HASH, None),
    ],
)
def test_parts_are_gone_on_with_only_if_something_tells_their_version(tmp_path, headers, hash, if_range):
    headers = {"Last-Modified": "Tue, 01 Aug 2017 00:00:00 GMT", **headers}
    with StandIn(lambda _: Response(headers=headers, body=CONTENT), [Fault("", "drop", at=100_000)]) as server:
        file = RemoteFile(tmp_path / "star.fits", f"{server.url}/star.fits", hash)
        assert fetch([file])[0].state is State.FETCHED and file.path.read_bytes() == CONTENT
        assert server.requests[1].headers.get("If-Range") == if_range
        resumed = if_range is not None or hash is not None
        assert server.requests[1].headers.get("Range") == ("bytes=100000-" if resumed else None)


@pytest.mark.parametrize("name, hash, state", [("a.fits", None, 1), ("a.csv", None, 0), ("a.csv", HASH, 1)])
def test_a_body_without_stated_length(serve, get, tmp_path, name, hash, state):
    """Whether it is whole must show in another way."""
    server = serve(Fault("", "unsized", at=10_000), Fault("", "unsized", times=None))
    outcome = get(server, name=name, hash=hash)
    if state:
        assert outcome.state is State.FETCHED and here(tmp_path) == {name: "whole"} and len(server.requests) == 2
    else:
        assert outcome.state is State.FAILED and "does not state the file's length" in outcome.reason


@pytest.mark.parametrize("name", ["star.fits", "star.fits.gz"])
def test_encoded_bodies(tmp_path, name):
    """Compressed for the way: undone. A .gz that a server calls encoded: kept as it is."""
    packed = gzip.compress(CONTENT)
    expected = packed if name.endswith(".gz") else CONTENT
    response = Response(headers={"Content-Encoding": "gzip"}, body=packed)
    with StandIn(lambda _: response, [Fault("", "drop", at=1000)]) as server:
        file = RemoteFile(tmp_path / name, f"{server.url}/{name}", sha1(expected), len(expected))
        assert fetch([file])[0].state is State.FETCHED and file.path.read_bytes() == expected
        # not asked for: sizes, hashes and ranges are those of the file as it is kept
        assert server.requests[0].headers["Accept-Encoding"] == "identity"


def test_a_part_that_is_whole_gets_its_name_without_a_request(serve, get, tmp_path, monkeypatch):
    """As after a kill between the last byte and the name."""
    server = serve()
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        get(server)
    monkeypatch.undo()
    assert set(here(tmp_path)) == {".star.fits.part", ".star.fits.part.note"}
    assert get(server).state is State.FETCHED and len(server.requests) == 1
    assert here(tmp_path) == WHOLE


def test_parts_of_present_files_go(serve, get, tmp_path):
    (tmp_path / "here").mkdir()
    for name in ("star.fits", ".star.fits.part", ".star.fits.part.note"):
        (tmp_path / "here" / name).write_bytes(b"as it was")
    server = serve()
    assert get(server).state is State.PRESENT
    assert here(tmp_path) == {"star.fits": 9} and not server.requests


@pytest.mark.parametrize("note", ["", "{", "[]", '{"url": "elsewhere", "length": 288000, "validator": "x"}'])
def test_parts_of_which_nothing_is_known_are_not_gone_on_with(serve, get, tmp_path, note):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / ".star.fits.part").write_bytes(b"SIMPLE  = another file")
    (tmp_path / "here" / ".star.fits.part.note").write_text(note)
    server = serve()
    assert get(server, hash=None).state is State.FETCHED and "Range" not in server.requests[0].headers
    assert here(tmp_path) == WHOLE


def test_a_file_asked_for_twice_is_fetched_once(serve, tmp_path):
    server = serve(Fault("", "slow", rate=2e6))
    files = [RemoteFile(tmp_path / "here" / "star.fits", f"{server.url}/star.fits", HASH)] * 4
    states = sorted(outcome.state for outcome in fetch(files))
    assert states == [State.FETCHED] + [State.PRESENT] * 3 and len(server.requests) == 1
    assert here(tmp_path) == WHOLE


def test_names_that_the_disk_refuses_concern_one_file(serve, tmp_path):
    server = serve()
    (tmp_path / "here" / "folder.fits").mkdir(parents=True)
    names = ["x" * 300 + ".fits", "folder.fits", "star.fits"]
    files = [RemoteFile(tmp_path / "here" / name, f"{server.url}/star.fits") for name in names]
    outcomes = fetch(files)
    assert [outcome.state for outcome in outcomes] == [State.FAILED, State.FAILED, State.FETCHED]
    assert "name too long" in outcomes[0].reason and "directory" in outcomes[1].reason


def test_single_file_and_bars(serve, get, tmp_path, capsys):
    server = serve()
    file = RemoteFile(tmp_path / "here" / "star.fits", f"{server.url}/star.fits", size=len(CONTENT))
    assert fetch_file(file, attempts=2, timeout_s=5).state is State.FETCHED
    bar = capsys.readouterr().err
    assert "star.fits: 100%" in bar and "288k/288k" in bar
    missing = RemoteFile(tmp_path / "here" / "none.fits", f"{server.url}/none.fits")
    fetch([file, missing], progress=True, description="spectra")
    bar = capsys.readouterr().err
    assert "spectra: 100%" in bar and "2/2" in bar and "1 absent" in bar
    fetch([file, missing], progress=True, total_bytes=len(CONTENT))
    assert "288k/288k" in capsys.readouterr().err


@pytest.mark.parametrize("settings", [{"streams": 0}, {"attempts": 0}, {"timeout_s": 0}])
def test_settings_that_make_no_sense(settings):
    with pytest.raises(ValueError, match="must be at least 1"):
        fetch([], **settings)
    assert fetch([]) == []


def test_pauses_double(tmp_path):
    times = []

    def handler(request):
        times.append(time.monotonic())
        return Response(500)

    with StandIn(handler) as server:
        fetch([RemoteFile(tmp_path / "star.fits", server.url)], attempts=5, first_wait_s=0.05)
    pauses = [second - first for first, second in pairwise(times)]
    assert len(pauses) == 4
    for number, pause in enumerate(pauses):
        assert 0.05 * 2**number <= pause < 0.05 * 2**number + 0.05 + 3
    assert transfers.LONGEST_BACK_OFF_S == 120
