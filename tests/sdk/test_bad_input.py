"""What no SDK sends. Each is a clear error in the caller's own protocol, and the gateway serves on."""

import json
import socket
import urllib.parse

import pytest

import raw

OPENAI, ANTHROPIC = "/v1/chat/completions", "/v1/messages"
GOOD = {
    OPENAI: {"model": "demo/demo", "messages": [{"role": "user", "content": "Hello"}]},
    ANTHROPIC: {"model": "demo-anthropic/demo", "max_tokens": 50, "messages": [{"role": "user", "content": "Hello"}]},
}


def text_with(path: str, more: str) -> bytes:
    """A good request with something more in it."""
    return (json.dumps(GOOD[path])[:-1] + more + "}").encode()


BAD = {
    "empty": lambda _: b"",
    "no JSON": lambda _: b"hello",
    "cut off": lambda path: json.dumps(GOOD[path]).encode()[:-5],
    "two documents": lambda path: json.dumps(GOOD[path]).encode() * 2,
    "an array": lambda path: json.dumps([GOOD[path]]).encode(),
    "a number": lambda _: b"42",
    "a key twice": lambda path: text_with(path, ', "model": "demo/demo-echo"'),
    "a key twice, once escaped": lambda path: text_with(path, ', "mod\\u0065l": "demo/demo-echo"'),
    "no UTF-8": lambda path: text_with(path, ', "user": "?"').replace(b"?", b"\xff\xfe"),
    "half a surrogate": lambda path: text_with(path, ', "model2": "\\ud800", "model": 7'),
    "no model": lambda path: json.dumps({**GOOD[path], "model": None}).encode(),
    "a model that is a number": lambda path: json.dumps({**GOOD[path], "model": 7}).encode(),
    "a stream that is a word": lambda path: json.dumps({**GOOD[path], "stream": "yes"}).encode(),
    "a control character": lambda path: json.dumps(GOOD[path]).encode().replace(b"Hello", b"He\x00llo"),
    "nested without end": lambda path: text_with(path, ', "metadata": ' + "[" * 100_000 + "]" * 100_000),
}


def assert_openai_error(answer: raw.Answer, *statuses: int):
    assert answer.status in statuses, answer
    assert answer.headers["content-type"].startswith("application/json")
    error = answer.json()["error"]
    assert error["message"] and error["type"]
    assert {"param", "code"} <= error.keys()
    assert answer.headers["x-request-id"]


def assert_anthropic_error(answer: raw.Answer, *statuses: int):
    assert answer.status in statuses, answer
    assert answer.headers["content-type"].startswith("application/json")
    document = answer.json()
    assert document["type"] == "error"
    assert document["error"]["type"].endswith("_error") and document["error"]["message"]
    assert answer.headers["x-request-id"]


ASSERT_ERROR = {OPENAI: assert_openai_error, ANTHROPIC: assert_anthropic_error}


@pytest.fixture(params=[OPENAI, ANTHROPIC], ids=["openai", "anthropic"])
def path(request) -> str:
    return request.param


@pytest.fixture
def ask(demo, key):
    def asked(method: str, path: str, body: bytes | None = None, **headers) -> raw.Answer:
        return raw.ask(demo.address, method, path, body, {"authorization": f"Bearer {key}", **headers})

    return asked


@pytest.mark.parametrize("kind", BAD)
def test_bad_bodies(ask, path, kind):
    ASSERT_ERROR[path](ask("POST", path, BAD[kind](path)), 400)
    assert ask("POST", path, json.dumps(GOOD[path]).encode()).status == 200


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_wrong_method(ask, path, method):
    answer = ask(method, path, **{"anthropic-version": "2023-06-01"} if path == ANTHROPIC else {})
    ASSERT_ERROR[path](answer, 405)
    assert "POST" in answer.headers["allow"]


def test_unknown_route(ask):
    for path in ("/v1/nothing", "/", "/v1/chat/completions/", "/v1//messages", "/v1/receipts/none", "/v1/receipts/"):
        assert_openai_error(ask("GET" if "receipts" in path else "POST", path, b"{}"), 404)
    assert_anthropic_error(ask("POST", "/v1/nothing", b"{}", **{"anthropic-version": "2023-06-01"}), 404)


def test_huge_body(demo, key, path):
    """Refused by its declared length, before it is read."""
    place = urllib.parse.urlsplit(demo.address)
    with socket.create_connection((place.hostname, place.port), timeout=30) as connection:
        head = (
            f"POST {path} HTTP/1.1\r\nhost: gate\r\nauthorization: Bearer {key}\r\n"
            f"content-type: application/json\r\ncontent-length: {10**10}\r\n\r\n"
        )
        connection.sendall(head.encode())
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_body_that_grows_too_large(demo, key, path):
    """Without a declared length, as far as the limit and no further."""
    place = urllib.parse.urlsplit(demo.address)
    with socket.create_connection((place.hostname, place.port), timeout=30) as connection:
        head = (
            f"POST {path} HTTP/1.1\r\nhost: gate\r\nauthorization: Bearer {key}\r\n"
            "content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        connection.sendall(head.encode())
        piece = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
        answer = b""
        try:
            for _ in range(64):
                connection.sendall(piece)
        except OSError:
            # It stopped reading; what it said is still there.
            pass
        try:
            answer = connection.recv(65536)
        except ConnectionResetError:
            pytest.skip("the answer was lost with the connection, as TCP allows")
    assert answer.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    "head",
    [
        "POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        "POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nX",
        "POST {path} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        "POST {path} HTTP/1.1\r\nhost : a\r\n\r\n",
        "POST {path}\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01",
        "POST {path} HTTP/1.1\r\nhost: a\r\n" + "x: y\r\n" * 5000 + "\r\n",
    ],
    ids=["two lengths", "length and chunks", "bad chunk", "space in a name", "no version", "TLS", "headers without end"],
)
def test_bad_http(demo, ask, path, head):
    place = urllib.parse.urlsplit(demo.address)
    with socket.create_connection((place.hostname, place.port), timeout=30) as connection:
        connection.sendall(head.format(path=path).encode("latin-1"))
        try:
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(65536)
        except OSError:
            # Refused without a word.
            answer = b""
    assert not answer.startswith(b"HTTP/1.1 2")
    assert ask("POST", path, json.dumps(GOOD[path]).encode()).status == 200


def test_unusual_but_good(ask, path):
    """What is odd and right is served."""
    spaced = json.dumps(GOOD[path], indent=3).encode()
    assert ask("POST", path, b"\r\n\t " + spaced + b"\n ").status == 200
    assert ask("POST", path, spaced, **{"content-type": "application/json; charset=utf-8"}).status == 200
    escaped = json.dumps(GOOD[path]).replace('"model"', '"mod\\u0065l"').encode()
    assert ask("POST", path, escaped).status == 200
    assert ask("POST", path + "?beta=true", spaced).status == 200
