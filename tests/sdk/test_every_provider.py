"""Every recorded answer of every provider through the gateway to each kind of client, streams also one byte at a time: valid by
the SDK's types, and saying what the provider said. `test_recordings.py` has what needs more than this: OpenAI's and Anthropic's
own, to clients of these two."""

import collections
import concurrent.futures
import dataclasses
import re
import shutil

import pydantic
import pytest

import gateway
from recorded import answers
from recorded.clients import CLIENTS, Client
from recorded.exchange import AT_ONCE, MODES, PRICES, Replay, ask, outcome
from recorded.explained import EXPLAINED
from recorded.recording import PLACE
from recorded.said import Said, Usage
from recorded.upstreams import UPSTREAMS, Upstream
from recorded.wire import responses

if not PLACE:
    pytest.skip("PORTCULLIS_RECORDINGS is not set", allow_module_level=True)

ANSWERS, OTHERS = answers.load()
PREFIXES = dict(zip(MODES, ("whole", "bytewise"), strict=True))


@dataclasses.dataclass(frozen=True)
class Case:
    recorded: answers.Recorded
    client: Client
    mode: str

    @property
    def name(self) -> str:
        return f"{self.recorded.upstream.name}-{self.recorded.id}-{self.client.name}-{self.mode}".replace(" ", "-")

    @property
    def model(self) -> str:
        return f"{connection(self.mode, self.recorded.upstream)}/rec-{self.recorded.id}"

    @property
    def explained(self) -> str | None:
        return EXPLAINED.get((self.recorded.id, self.client.name)) or EXPLAINED.get((self.recorded.id, "*"))


CASES = [
    Case(recorded, client, mode)
    for recorded in ANSWERS
    for client in CLIENTS
    for mode in (MODES if recorded.stream else MODES[:1])
    if client.name in (recorded.upstream.clients or client.name)
]


def connection(mode: str, upstream: Upstream) -> str:
    return f"{PREFIXES[mode]}-{re.sub('[^a-z]+', '-', upstream.name)}"


class Run:
    """A gateway with the recordings behind every plugin there is, and all that it answered."""

    def __init__(self, folder):
        plugins = folder / "plugins"
        plugins.mkdir(parents=True)
        present = [upstream for upstream in UPSTREAMS if upstream.present]
        for name in {upstream.plugin for upstream in present}:
            shutil.copy(gateway.PLUGINS / f"{name}.wasm", plugins)
        answers.write(folder / "answers", ANSWERS)
        self._replays = {mode: Replay(folder / f"replay-{mode}", mode, folder / "answers") for mode in MODES}
        asked_as_responses = [f"rec-{one.id}" for one in ANSWERS if one.upstream.wire == "responses"]
        text = f"[routing]\nattempts = 1\nbreaker_failures = 1000000\n[plugin.openai.config]\nresponses = {asked_as_responses}\n"
        for mode, replay in self._replays.items():
            for upstream in present:
                name = connection(mode, upstream)
                text += upstream.connection(name, f"http://127.0.0.1:{replay.port}")
                text += f'[[pricing.price]]\nmodel = "{name}/*"\n{PRICES}search = "0.01"\nimage = "0.01"\n'
        self.gateway = gateway.serve(folder / "gateway", text, plugins)
        self.key = self.gateway.key()["key"]
        cases = [case for case in CASES if case.recorded.upstream.present]
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            running = {case.name: pool.submit(self._ask, case) for case in cases}
            self.answers = {name: outcome(future) for name, future in running.items()}

    def _ask(self, case: Case):
        decoded = (case.recorded.upstream.wire, case.client.name) == ("responses", "openai")
        request = case.client.request(case.model, case.recorded.stream, decoded)
        return ask(self.gateway.address, self.key, case.client.path, request)

    def received(self) -> list[dict]:
        return [line for replay in self._replays.values() for line in replay.received()]

    def stop(self):
        self.gateway.process.stop()
        for replay in self._replays.values():
            replay.process.stop()


@pytest.fixture(scope="module")
def run(folder):
    run = Run(folder / "every-provider")
    try:
        yield run
    finally:
        run.stop()


def each() -> list:
    params = []
    for case in CASES:
        marks = []
        if not case.recorded.upstream.present:
            marks.append(pytest.mark.skip(reason=f"no {case.recorded.upstream.plugin}.wasm among the plugins"))
        elif case.explained:
            marks.append(pytest.mark.xfail(reason=case.explained, strict=True, raises=pydantic.ValidationError))
        params.append(pytest.param(case, marks=marks, id=case.name))
    return params


@pytest.mark.parametrize("case", each())
def test_says_what_the_provider_said(run, case, record_property):
    mode = ("stream" if case.recorded.stream else "json") + ("" if case.mode == "whole" else ", byte by byte")
    record_property("recorded", (case.recorded.upstream.name, case.client.name, mode))
    answer = run.answers[case.name]
    if isinstance(answer, Exception):
        raise answer
    wanted = case.recorded.said
    if wanted.failed:
        assert answer.status >= 400 or case.recorded.stream
        assert case.client.error(answer.body)
        return
    assert answer.status == 200, answer.body[:2000]
    theirs = case.recorded.upstream.wire == case.client.name
    if theirs and case.recorded.upstream.plugin in ("openai", "anthropic"):
        assert answer.body == case.recorded.answer, "what passes through is the provider's, byte for byte"
    for got in case.client.readings(answer.body, case.recorded.stream, recorded=theirs):
        assert_same(got, wanted, case)
    for signature in [*wanted.redacted, *(signature for _, signature in wanted.reasoning if signature)]:
        assert signature.encode() in answer.body, "what must come back to the provider reaches the client"
    if case.recorded.stream and case.client.name == "responses":
        got = responses.pieces(answer.body)
        assert (got.text, calls(got), thoughts(got)) == (wanted.text, calls(wanted), thoughts(wanted))


@pytest.mark.parametrize("case", [case for case in CASES if case.recorded.said.of_tools], ids=lambda case: case.name)
def test_signatures_of_the_providers_tools(run, case):
    """They reach the client or the receipt tells that they did not."""
    answer = run.answers[case.name]
    if any(signature.encode() not in answer.body for signature in case.recorded.said.of_tools):
        notes = run.gateway.receipt(answer.headers["x-portcullis-request-id"], run.key).get("notes") or []
        # Of the request, a Responses client is told that nothing is stored.
        assert [note for note in notes if note["subject"] != "store"]


def assert_same(got: Said, wanted: Said, case: Case):
    assert got.text == wanted.text
    assert calls(got) == case.client.calls(wanted)
    assert all(identity for identity, *_ in got.calls)
    # Where the provider gave ids they are the client's too.
    assert [one[0] for one, theirs in zip(got.calls, wanted.calls, strict=True) if theirs[0]] == [
        identity for identity, *_ in wanted.calls if identity
    ]
    assert thoughts(got) == thoughts(wanted)
    assert got.finish == case.client.end(wanted)
    # Bedrock and Cohere name no model in their answers.
    assert got.model == (wanted.model or case.model)
    expected, counted = wanted.usage or Usage(), got.usage or Usage()
    assert dataclasses.replace(counted, searches=0) == dataclasses.replace(expected, searches=0)
    assert counted.reasoning == expected.reasoning


def calls(one: Said) -> list:
    return [(name, arguments) for _, name, arguments in one.calls]


def thoughts(one: Said) -> str:
    return "".join(text for text, _ in one.reasoning)


@pytest.mark.parametrize("upstream", UPSTREAMS, ids=lambda upstream: upstream.name)
def test_credential(run, upstream):
    """Each provider got its credential, in its own way, with every request."""
    if not upstream.present:
        pytest.skip(f"no {upstream.plugin}.wasm among the plugins")
    header, begins = upstream.credential
    ids = {one.id for one in ANSWERS if one.upstream is upstream}
    received = [line for line in run.received() if ids & set(re.findall(r"rec-(\d{5})", line["path"] + line["body"]))]
    for line in received:
        sent = {name.lower(): value for name, value in line["headers"].items()}
        assert sent.get(header, "").startswith(begins), line["path"]


def test_nothing_is_left_out():
    """Each recorded conversation is played, or stands with its reason in `ELSEWHERE`; each explanation is of a recording."""
    assert len({one.id for one in ANSWERS}) == len(ANSWERS)
    assert {identity for identity, _ in EXPLAINED} <= {one.id for one in ANSWERS}
    counted = collections.Counter(one.upstream.name for one in ANSWERS)
    assert set(counted) == {upstream.name for upstream in UPSTREAMS}
