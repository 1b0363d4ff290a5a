"""Every recorded answer through the gateway to both kinds of client: valid by the SDK's types, and saying what the provider
said."""

import json

import pytest

from recorded import said, sdk
from recorded.exchange import PATHS, Case, Recorded, cases, nano_usd
from recorded.recording import PLACE

if not PLACE:
    pytest.skip("PORTCULLIS_RECORDINGS is not set", allow_module_level=True)

CASES = cases()
# What an end is called in the other protocol.
TO_ANTHROPIC = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
TO_OPENAI = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


class Run:
    """All answers, and all that reached the provider."""

    def __init__(self, recorded: Recorded):
        self._recorded = recorded
        self._answers = recorded.ask_all({case.name: (PATHS[case.dialect], case.request()) for case in CASES})
        self.received = recorded.received()

    def answer(self, case: Case) -> bytes:
        answer = self._answers[case.name]
        if isinstance(answer, Exception):
            raise answer
        assert answer.status == 200, answer.body[:2000]
        return answer.body

    def receipt(self, case: Case) -> dict:
        identity = self._answers[case.name].headers["x-portcullis-request-id"]
        return self._recorded.gateway.receipt(identity, self._recorded.key)


@pytest.fixture(scope="module")
def run(folder):
    recorded = Recorded(folder / "recorded")
    try:
        yield Run(recorded)
    finally:
        recorded.stop()


def each(chosen: list[Case]):
    return pytest.mark.parametrize("case", chosen, ids=lambda case: case.name)


@pytest.fixture
def counted(case, record_property):
    """Puts the test into the table."""
    mode = ("stream" if case.recording.stream else "json") + ("" if case.mode == "whole" else ", byte by byte")
    record_property("recorded", (case.recording.provider, case.dialect, mode))


@each([case for case in CASES if case.passes_through])
def test_same_protocol(run, case, counted):
    body = run.answer(case)
    assert body == case.recorded_bytes()
    if case.dialect == "openai":
        sdk.read_openai(body, case.recording.stream)
    else:
        sdk.read_anthropic(body, case.recording.stream, case.recording.beta, recorded=True)
    assert_sent(run.received[case.recording.id], case)


@each([case for case in CASES if not case.passes_through and case.dialect == "anthropic"])
def test_openai_to_anthropic(run, case, counted):
    body = run.answer(case)
    message = sdk.read_anthropic(body, case.recording.stream, beta=False)
    wanted = said.openai(case.recording.answer, case.recording.stream)[0]
    # What the SDK gathered and what stands in the bytes must be the same.
    for got in (said.anthropic_whole(message), said.anthropic(body, case.recording.stream)):
        assert got.text == wanted.text
        assert [(name, value) for _, name, value in got.calls] == [(name, value) for _, name, value in wanted.calls]
        assert all(identity for identity, _, _ in got.calls)
        assert [identity for identity, _, _ in got.calls if wanted.calls[0][0]] == [i for i, _, _ in wanted.calls if i]
        assert [text for text, _ in got.reasoning] == [text for text, _ in wanted.reasoning]
        assert got.finish == anthropic_end(wanted)
        assert got.model == wanted.model
        assert got.usage == (wanted.usage or said.Usage())


@each([case for case in CASES if not case.passes_through and case.dialect == "openai"])
def test_anthropic_to_openai(run, case, counted):
    body = run.answer(case)
    completion = sdk.read_openai(body, case.recording.stream)
    wanted = said.anthropic(case.recording.answer, case.recording.stream)
    wanted.finish = TO_OPENAI[wanted.finish]
    # What this protocol does not count.
    wanted.usage.searches = 0
    in_bytes = said.openai(body, case.recording.stream)
    assert len(in_bytes) == 1
    assert in_bytes[0] == wanted
    gathered = said.openai_whole(completion)[0]
    assert (gathered.text, gathered.calls, gathered.finish, gathered.usage, gathered.model) == (
        wanted.text,
        wanted.calls,
        wanted.finish,
        wanted.usage,
        wanted.model,
    )


@each(CASES)
def test_receipt(run, case, counted):
    receipt = run.receipt(case)
    recording = case.recording
    if recording.provider == "openai":
        wanted = said.openai(recording.answer, recording.stream)[0]
    else:
        wanted = said.anthropic(recording.answer, recording.stream)
    assert receipt["outcome"]["code"] == "ok"
    assert receipt["passthrough"] == case.passes_through
    assert receipt["attempts"][0].get("answered_model", f"rec-{recording.id}") == wanted.model
    usage = receipt["usage"]
    written = usage["cache_write_short"] + usage["cache_write_long"]
    counted = said.Usage(
        searches=usage["searches"],
        input=usage["input"] + usage["cache_read"] + written,
        read=usage["cache_read"],
        written=written,
        output=usage["output"],
    )
    if wanted.usage:
        assert (counted, usage["estimated"]) == (wanted.usage, False)
    else:
        # The provider counted nothing, so the gateway did.
        assert usage["estimated"] and counted.input > 0 and counted.output > 0
    ended = [attempt["ended"] for attempt in receipt["attempts"]]
    if counted.searches and case.mode == "bytes":
        # Nobody said what a search costs, and an unknown price is never nothing.
        assert (ended, receipt.get("cost")) == (["quarantined"], None)
    else:
        assert (ended, receipt["cost"]["total_nano"]) == (["settled"], nano_usd(counted))


def anthropic_end(wanted: said.Said) -> str:
    """OpenAI says `stop` after a call that was forced and after a refusal; Anthropic tells them apart."""
    if wanted.finish == "stop" and wanted.calls:
        return "tool_use"
    return "refusal" if wanted.refused else TO_ANTHROPIC[wanted.finish]


def assert_sent(bodies: list[str], case: Case):
    """The provider got the client's bytes, the model and the usage flag apart."""
    recording = case.recording
    wanted = recording.request_for(f"rec-{recording.id}")
    if recording.provider != "openai" or not recording.stream or recording.asked_usage:
        assert wanted in bodies
        return
    flagged = [body for body in bodies if is_insertion(body, wanted)]
    assert flagged, "no request is the client's with something added in one place"
    options = {**(recording.asked.get("stream_options") or {}), "include_usage": True}
    document = {**json.loads(wanted), "stream_options": options}
    assert any(json.loads(body) == document for body in flagged)


def is_insertion(longer: str, shorter: str) -> bool:
    at = next((i for i, (one, two) in enumerate(zip(longer, shorter, strict=False)) if one != two), len(shorter))
    return len(longer) > len(shorter) and longer.endswith(shorter[at:])
