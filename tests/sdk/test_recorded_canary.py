"""Every recorded request of protocols that `tests/it` knows no recordings of, with a canary in each of its strings: a guard that
masks it leaves none, in what passes through and in what crosses to other protocols' providers."""

import collections
import concurrent.futures
import json
import pathlib
import re
import shutil

import pytest

import gateway
from recorded import answers
from recorded.exchange import AT_ONCE, Replay, ask, outcome
from recorded.recording import PLACE, content

if not PLACE:
    pytest.skip("PORTCULLIS_RECORDINGS is not set", allow_module_level=True)

CANARY = "ZQX-7319-CANARY"
CONFIGURATION = """
[plugin.openai.config]
responses = ["*"]
[plugin.pii]
deadline_ms = 1000
[[plugin.pii.config.custom]]
name = "canary"
pattern = 'ZQX-[0-9]{4}-CANARY'
mask = "(none)"
max-length = 32
"""
# Words that decide how a document is read: another one there makes another document, which is refused.
STRUCTURE = {"model", "role", "type"}
GEMINI = ("generateContent", "streamGenerateContent")
RESPONSES = ("responses", "v1/responses")
FILES = {
    "gemini": [("gemini", GEMINI), ("vertex", GEMINI)],
    "responses": [(provider, RESPONSES) for provider in ("openai", "azure", "bedrock", "deepseek", "openrouter")],
}
# Who answers: a connection, its plugin, where it stands, and the wire format of what it answers.
PROVIDERS = {
    "gemini": ("gemini", "/v1beta", "gemini"),
    "responses": ("openai", "/v1", "responses"),
    "chat": ("openai-compatible", "/v1", "compatible"),
    "messages": ("anthropic", "", "anthropic"),
}


def requests() -> list:
    """Protocol, file, id, whether it streams, and the document."""
    found = []
    for protocol, files in FILES.items():
        for provider, operations in files:
            for text in open(pathlib.Path(PLACE) / f"{provider}.jsonl", encoding="utf-8"):
                line = json.loads(text)
                if line["operation"] in operations and line["status"] == 200 and not answers.is_no_answer(line):
                    document = json.loads(content(line["request"]))
                    stream = line["operation"] == "streamGenerateContent" or document.get("stream") is True
                    found.append((protocol, provider, line["id"], stream, document))
    return found


def marked(value, name: str = ""):
    """The document with a canary at the end of every string."""
    match value:
        case str():
            return value if name in STRUCTURE else value + CANARY
        case list():
            return [marked(item) for item in value]
        case dict():
            return {name: marked(member, name) for name, member in value.items()}
    return value


REQUESTS = requests()
PLUGINS = {plugin for plugin, *_ in PROVIDERS.values()} | {"pii"}
if missing := [name for name in sorted(PLUGINS) if not (gateway.PLUGINS / f"{name}.wasm").exists()]:
    pytest.skip(f"no {missing[0]}.wasm among the plugins", allow_module_level=True)


class Run:
    def __init__(self, folder):
        plugins = folder / "plugins"
        plugins.mkdir(parents=True)
        for name in PLUGINS:
            shutil.copy(gateway.PLUGINS / f"{name}.wasm", plugins)
        played, _ = answers.load()
        answers.write(folder / "answers", played)
        self._replay = Replay(folder / "replay", "whole", folder / "answers")
        address = f"http://127.0.0.1:{self._replay.port}"
        text = f"[routing]\nattempts = 1\nbreaker_failures = 1000000\n[pricing]\nunknown = 'alarm'\n{CONFIGURATION}"
        for name, (plugin, base, _) in PROVIDERS.items():
            text += f'[providers.{name}]\nplugin = "{plugin}"\nbase_url = "{address}{base}"\nmodels = ["rec-00000", "*"]\nonly = ["none"]\n'
            # Recorded requests name files of the account that they were recorded with.
            text += "shared_objects = true\n"
        self.gateway = gateway.serve(folder / "gateway", text, plugins)
        self.key = self.gateway.key()["key"]
        # Any answer does for a request in another protocol.
        self._any = {
            (wire, stream): next(one.id for one in played if (one.upstream.wire, one.stream) == (wire, stream))
            for _, _, wire in PROVIDERS.values()
            for stream in (False, True)
        }
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            running = {
                (identity, name): pool.submit(self._ask, name, protocol, identity, stream, document)
                for protocol, _, identity, stream, document in REQUESTS
                for name in PROVIDERS
            }
            self.answers = {place: outcome(future) for place, future in running.items()}
        self.received = self._replay.received()

    def _ask(self, name: str, protocol: str, identity: str, stream: bool, document: dict):
        answer = identity if name == protocol else self._any[PROVIDERS[name][2], stream]
        model = f"{name}/rec-{answer}"
        sent = marked(document)
        if protocol == "gemini":
            method = "streamGenerateContent?alt=sse" if stream else "generateContent"
            path = f"/v1beta/models/{model}:{method}"
        else:
            path, sent["model"] = "/v1/responses", model
            # A conversation of which the gateway knows nothing is refused, and the caller told its own id.
            sent.pop("previous_response_id", None)
            # Nor is one answered that the provider would have to keep.
            sent.pop("background", None)
        return ask(self.gateway.address, self.key, path, json.dumps(sent))

    def stop(self):
        self.gateway.process.stop()
        self._replay.process.stop()


@pytest.fixture(scope="module")
def run(folder):
    run = Run(folder / "canary")
    try:
        yield run
    finally:
        run.stop()


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("request_", REQUESTS, ids=lambda one: f"{one[1]}-{one[2]}")
def test_client_is_not_told(run, request_, provider, record_property):
    protocol, file, identity, _, _ = request_
    record_property("recorded", (file, protocol, f"canary, to {provider}"))
    answer = run.answers[identity, provider]
    if isinstance(answer, Exception):
        raise answer
    assert answer.status < 500, answer.body[:2000]
    assert CANARY.encode() not in answer.body


def test_nothing_reaches_a_provider(run):
    for line in run.received:
        for text in (line["path"], json.dumps(line["headers"]), line["body"], json.dumps(json.loads(line["body"]), ensure_ascii=False)):
            assert "ZQX-" not in text and "-CANARY" not in text, text[max(0, text.find("ZQX-") - 500) :][:1000]


@pytest.mark.parametrize("protocol", FILES)
def test_the_guard_masks_and_does_not_refuse(run, protocol):
    passed, asked = collections.Counter(), 0
    for of, _, identity, _, _ in REQUESTS:
        asked += of == protocol
        for provider in PROVIDERS:
            passed[provider] += of == protocol and run.answers[identity, provider].status == 200
    print(f"{protocol}: {asked} requests, passed on {dict(passed)}, received in all {len(run.received)}")
    assert passed[protocol] == asked
    for provider in PROVIDERS:
        assert passed[provider] > asked / 2, (protocol, provider, passed)
    bodies = [line["body"] for line in run.received]
    assert sum(bool(re.search(r"\(none\)", body)) for body in bodies) == len(bodies)
