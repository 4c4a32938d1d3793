"""The server that stands in for archives answers as RFC 9110 has it where no fault is asked for."""

import pytest
import requests
from stand_in import Fault, Response, StandIn, serve_folder

CONTENT = bytes(range(256)) * 1000


@pytest.fixture
def server(tmp_path):
    (tmp_path / "sas" / "deep").mkdir(parents=True)
    (tmp_path / "sas" / "deep" / "a b").write_bytes(CONTENT)
    (tmp_path / "secret").write_bytes(b"secret")

    def handler(request):
        if request.path == "/echo":
            return Response(body=repr((request.method, request.query, request.body)).encode())
        if request.path == "/bytes":
            return Response(body=CONTENT)
        return serve_folder({"/dr14/": tmp_path / "sas"})(request)

    with StandIn(handler) as server:
        yield server


@pytest.mark.parametrize("place", ["/dr14/deep/a%20b", "/bytes"])
def test_ranges_and_validators(server, place):
    url = server.url + place
    head = requests.head(url, timeout=5)
    assert head.headers["Content-Length"] == str(len(CONTENT)) and not head.content
    etag, modified = head.headers["ETag"], head.headers["Last-Modified"]
    assert requests.get(url, timeout=5).content == CONTENT

    def ask(span, if_range=None):
        headers = {"Range": f"bytes={span}"} | ({"If-Range": if_range} if if_range else {})
        answer = requests.get(url, headers=headers, timeout=5)
        return answer.status_code, answer.content, answer.headers.get("Content-Range")

    n = len(CONTENT)
    assert ask("10-") == (206, CONTENT[10:], f"bytes 10-{n - 1}/{n}")
    assert ask("10-19") == (206, CONTENT[10:20], f"bytes 10-19/{n}")
    assert ask("-7") == (206, CONTENT[-7:], f"bytes {n - 7}-{n - 1}/{n}")
    assert ask(f"{n}-") == (416, b"", f"bytes */{n}")
    assert ask("10-", etag)[0] == ask("10-", modified)[0] == 206
    assert ask("10-", '"other"')[0] == ask("10-", "W/" + etag)[0] == 200
    assert ask("10-", "Tue, 01 Aug 2017 00:00:00 GMT") == (200, CONTENT, None)


def test_methods_queries_and_what_is_not_there(server):
    answer = requests.post(f"{server.url}/echo?x=1&y=a%20b", data={"q": "1 2"}, timeout=5)
    assert answer.content == b"('POST', {'x': '1', 'y': 'a b'}, b'q=1+2')"
    assert requests.delete(f"{server.url}/echo", timeout=5).content.startswith(b"('DELETE'")
    for path in ("/deep/a%20b", "/dr14/none", "/dr14/deep", "/dr14/%2e%2e/secret"):
        assert requests.get(server.url + path, timeout=5).status_code == 404
    assert [request.method for request in server.requests] == ["POST", "DELETE"] + ["GET"] * 4
    assert len(server.asked("/echo")) == 2 and server.requests[0].headers["content-length"] == "5"


def test_faults_happen_in_order_and_are_used_up(server):
    server.faults += [
        Fault("echo", "status", status=503),
        Fault("none", "status", status=500, times=None),
        Fault("", "status", status=429, times=2),
        Fault("", "status", status=418, method="POST"),
    ]
    url = f"{server.url}/echo"
    assert [requests.get(url, timeout=5).status_code for _ in range(4)] == [503, 429, 429, 200]
    assert requests.post(url, timeout=5).status_code == 418
    with pytest.raises(ValueError, match="unknown fault"):
        Fault("", "earthquake")


def test_random_faults_do_not_depend_on_the_order_of_requests():
    def kinds(order):
        fault = Fault.random(1, 0.5)
        drawn = {(path, turn): fault.drawn(path, turn) for path, turn in order}
        return {key: drawn[key] and (drawn[key].kind, drawn[key].options) for key in sorted(drawn)}

    order = [(f"/{path}", turn) for path in range(50) for turn in range(4)]
    assert kinds(order) == kinds(order[::-1])
    assert 70 < sum(kind is None for kind in kinds(order).values()) < 130


def test_errors_of_a_handler_are_told_and_connections_end_with_the_server():
    def handler(request):
        raise KeyError("a mistake in the test")

    session = requests.Session()
    with pytest.raises(KeyError, match="a mistake in the test"), StandIn(handler) as server:
        assert session.get(server.url, timeout=5).status_code == 500
    with pytest.raises(requests.ConnectionError):
        session.get(server.url, timeout=5)
