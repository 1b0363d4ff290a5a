"""The recordings behind the gateway, and everything asked of them at once, so that the whole run takes seconds."""

import concurrent.futures
import dataclasses
import http.client
import json
import pathlib
import shutil
import socket
import sys
import urllib.parse
import urllib.request

import gateway

from .recording import PLACE, Recording, load

PATHS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}
# The replay's way of writing a stream: frame by frame, or one byte at a time.
MODES = ("whole", "bytes")
AT_ONCE = 12
# USD per million tokens, and for a search: named for one way of writing, and left unknown for the other.
SEARCH = {"whole": 'search = "0.01"', "bytes": ""}
PRICES = """
input = "1.00"
cache_read = "0.50"
cache_write_short = "1.25"
cache_write_long = "1.25"
output = "2.00"
"""


def nano_usd(usage) -> int:
    """What a usage costs by those prices."""
    fresh = usage.input - usage.read - usage.written
    tokens = fresh * 1000 + usage.read * 500 + usage.written * 1250 + usage.output * 2000
    return tokens + usage.searches * 10_000_000


@dataclasses.dataclass(frozen=True)
class Case:
    recording: Recording
    # The client's protocol.
    dialect: str
    mode: str

    @property
    def name(self) -> str:
        kind = "stream" if self.recording.stream else "json"
        return f"{self.recording.provider}-{kind}-{self.recording.id}-{self.dialect}-{self.mode}"

    @property
    def model(self) -> str:
        prefix = "recorded" if self.mode == "whole" else "bytewise"
        return f"{prefix}-{self.recording.provider}/rec-{self.recording.id}"

    @property
    def passes_through(self) -> bool:
        return self.dialect == self.recording.provider

    def request(self) -> str:
        if self.passes_through:
            return self.recording.request_for(self.model)
        return json.dumps(foreign_request(self.dialect, self.model, self.recording.stream))

    def recorded_bytes(self) -> bytes:
        """What a client of the same protocol gets: the recorded bytes, less a usage frame that it did not ask for."""
        recording = self.recording
        if recording.provider != "openai" or not recording.stream or recording.asked_usage:
            return recording.answer
        frames = recording.answer.split(b"\n\n")
        return b"\n\n".join(frame for frame in frames if not is_usage(frame))


def is_usage(frame: bytes) -> bool:
    data = frame.removeprefix(b"data: ")
    if not data.startswith(b"{"):
        return False
    chunk = json.loads(data)
    return chunk.get("choices") == [] and bool(chunk.get("usage"))


@dataclasses.dataclass
class Answer:
    status: int
    headers: dict
    body: bytes


def cases() -> list[Case]:
    """Every recording to both kinds of client, streams also one byte at a time."""
    return [
        Case(recording, dialect, mode)
        for provider in PATHS
        for recording in load(provider)
        for dialect in PATHS
        for mode in (MODES if recording.stream else MODES[:1])
    ]


def foreign_request(dialect: str, model: str, stream: bool) -> dict:
    """A request in the other protocol: what comes back depends on the model's name alone."""
    request = {"model": model, "messages": [{"role": "user", "content": "Say it again."}], "max_tokens": 4096}
    if stream:
        request["stream"] = True
        if dialect == "openai":
            request["stream_options"] = {"include_usage": True}
    return request


class Recorded:
    """A gateway with the recordings as its providers and no plugins but the two protocols', and those that are named."""

    def __init__(self, folder: pathlib.Path, plugin: str | None = None, configuration: str = ""):
        folder.mkdir(parents=True, exist_ok=True)
        plugins = folder / "plugins"
        plugins.mkdir()
        for name in [*PATHS, *([plugin] if plugin else [])]:
            shutil.copy(gateway.PLUGINS / f"{name}.wasm", plugins)
        self._replays = {mode: Replay(folder / f"replay-{mode}", mode) for mode in MODES}
        text = f"[routing]\nattempts = 1\n{configuration}\n"
        for mode, prefix in zip(MODES, ("recorded", "bytewise"), strict=True):
            base = f"http://127.0.0.1:{self._replays[mode].port}"
            for provider, url in (("openai", base + "/v1"), ("anthropic", base)):
                text += (
                    # The recorded requests name files and containers of the account that made them.
                    f'[providers.{prefix}-{provider}]\nplugin = "{provider}"\nbase_url = "{url}"\nshared_objects = true\n'
                    f'models = ["rec-00000", "*"]\nonly = ["none"]\n'
                    f'[[pricing.price]]\nmodel = "{prefix}-{provider}/*"\n{PRICES}{SEARCH[mode]}\n'
                )
        self.gateway = gateway.serve(folder / "gateway", text, plugins)
        self.key = self.gateway.key()["key"]

    def stop(self):
        self.gateway.process.stop()
        for replay in self.replays():
            replay.process.stop()

    def ask(self, path: str, body: str) -> Answer:
        return ask(self.gateway.address, self.key, path, body)

    def ask_all(self, questions: dict) -> dict:
        """`{name: (path, body)}` to `{name: Answer}`."""
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            running = {name: pool.submit(self.ask, *question) for name, question in questions.items()}
            return {name: outcome(future) for name, future in running.items()}

    def replays(self) -> list:
        return list(self._replays.values())

    def received(self) -> dict:
        """What the provider was sent: by recording, the bodies."""
        found: dict = {}
        for replay in self.replays():
            for line in replay.received():
                document = json.loads(line["body"])
                found.setdefault(document["model"].removeprefix("rec-"), []).append(line["body"])
        return found


def ask(gateway_address: str, key: str, path: str, body: str) -> Answer:
    address = urllib.parse.urlsplit(gateway_address)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=120)
    headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
    connection.request("POST", path, body.encode(), headers)
    response = connection.getresponse()
    answer = Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
    connection.close()
    return answer


def outcome(future):
    """A request that came to nothing fails its own test and no other."""
    error = future.exception()
    return error if error else future.result()


class Replay:
    """The recordings' own server."""

    def __init__(self, log: pathlib.Path, mode: str, place: pathlib.Path | None = None):
        """`place` holds the server and what it serves, where those are not the recordings themselves."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        script = (place or pathlib.Path(PLACE)) / "replay"
        environment = {"SPLIT": "1" if mode == "bytes" else "0", "PYTHONDONTWRITEBYTECODE": "1"}
        self.process = gateway.Process([sys.executable, script, self.port], log, environment)
        self.process.says(r"recordings on 127\.0\.0\.1:(\d+)")
        self.process.wait_until("the port", self._listens)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def received(self) -> list[dict]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/_requests", timeout=60) as answer:
            return [json.loads(line) for line in answer.read().decode().splitlines()]
