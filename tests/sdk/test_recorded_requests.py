"""Every recorded request in the other protocol: valid by the types of the provider's own SDK, with every word, call, tool and
image."""

import collections
import json
import re

import pytest

from recorded import asked
from recorded.exchange import PATHS, Recorded
from recorded.recording import PLACE, Recording, load

if not PLACE:
    pytest.skip("PORTCULLIS_RECORDINGS is not set", allow_module_level=True)

OTHER = {"openai": "anthropic", "anthropic": "openai"}
RECORDINGS = {provider: load(provider) for provider in PATHS}
ALL = [recording for recordings in RECORDINGS.values() for recording in recordings]


def answer_for(recording: Recording) -> Recording:
    """Some recording of the other provider to answer it."""
    return next(one for one in RECORDINGS[OTHER[recording.provider]] if one.stream == recording.stream)


class Run:
    def __init__(self, recorded: Recorded):
        self._recorded = recorded
        self.answers = {}
        self.sent = {}
        # One after the other, so that what the provider received can be told apart.
        for recording in ALL:
            model = f"recorded-{OTHER[recording.provider]}/rec-{answer_for(recording).id}"
            self.answers[recording.id] = recorded.ask(PATHS[recording.provider], recording.request_for(model))
        received = collections.deque(line for replay in recorded.replays() for line in replay.received())
        for recording in ALL:
            if self.answers[recording.id].status == 200:
                self.sent[recording.id] = json.loads(received.popleft()["body"])
        assert not received

    def notes(self, recording: Recording) -> set:
        identity = self.answers[recording.id].headers["x-portcullis-request-id"]
        receipt = self._recorded.gateway.receipt(identity, self._recorded.key)
        return {(note["code"], note["subject"]) for note in receipt.get("notes", [])}


@pytest.fixture(scope="module")
def run(folder):
    recorded = Recorded(folder / "requests")
    try:
        yield Run(recorded)
    finally:
        recorded.stop()


@pytest.mark.parametrize("recording", ALL, ids=lambda one: f"{one.provider}-{one.id}")
def test_crosses(run, recording, record_property):
    record_property("recorded", (recording.provider, OTHER[recording.provider], "request"))
    answer = run.answers[recording.id]
    assert answer.status == 200, answer.body
    provider = OTHER[recording.provider]
    sent = run.sent[recording.id]
    asked.validate(provider, sent)
    wanted = asked.READERS[recording.provider](recording.asked)
    got = asked.READERS[provider](sent)
    assert_texts(wanted, got)
    assert got.calls == wanted.calls
    assert got.results == wanted.results
    noted = {subject for code, subject in run.notes(recording) if code == "dropped"}
    if recording.asked.get("n", 1) > 1:
        assert "n" in noted and "n" not in sent
    if uploaded(recording):
        assert noted & {"messages.image", "messages.document", "tool_result.image", "tool_result.document"}, noted
    else:
        assert got.images == wanted.images
    assert set(got.tools) == set(wanted.tools)
    for name, schema in wanted.tools.items():
        assert set((got.tools[name] or {}).get("properties", {})) == set((schema or {}).get("properties", {}))
    assert sent["model"] == f"rec-{answer_for(recording).id}"
    assert bool(sent.get("stream")) == recording.stream


def uploaded(recording: Recording) -> bool:
    """Whether it names files that were uploaded to its provider, which the other does not know: they are left out with a note."""
    sources = re.findall(r'"source":\s*\{[^}]*\}', recording.request)
    return any(re.search(r'"type":\s*"file"', source) for source in sources)


def assert_texts(wanted: asked.Asked, got: asked.Asked):
    """All of them, in order; the other protocol may join them."""
    everything = "\n".join(got.texts)
    at = 0
    for text in wanted.texts:
        if text.strip():
            found = everything.find(text, at)
            assert found >= 0, f"{text[:200]!r} is not there after {at}"
            at = found + len(text)
