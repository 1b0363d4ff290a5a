"""Every recorded answer past a guard that finds nothing in it: held, shown again and released, wherever it is cut, and still
the same. Whole answers are the same bytes; in streams words may come a frame later than they were sent."""

import pytest

from recorded import said
from recorded.exchange import PATHS, Recorded, cases
from recorded.recording import PLACE

if not PLACE:
    pytest.skip("PORTCULLIS_RECORDINGS is not set", allow_module_level=True)

# A pattern that nothing matches and many words begin, so that streams are held.
GUARD = """
[plugin.pii]
deadline_ms = 1000
[plugin.pii.config]
email = "off"
phone = "off"
card = "off"
ssn = "off"
iban = "off"
ip = "off"
api-key = "off"
[[plugin.pii.config.custom]]
name = "nowhere"
pattern = '[a-z]+ [a-z]+ #[0-9]{9}#'
"""
CASES = cases()
READERS = {
    "openai": lambda body: said.openai_stream(said.events(body)),
    # The whole message, citations and results of the provider's own tools included.
    "anthropic": lambda body: said.anthropic_joined(said.events(body)),
}


@pytest.fixture(scope="module")
def answers(folder):
    recorded = Recorded(folder / "guarded", "pii", GUARD)
    try:
        yield recorded.ask_all({case.name: (PATHS[case.dialect], case.request()) for case in CASES})
    finally:
        recorded.stop()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_nothing_found_nothing_changed(answers, case, record_property):
    record_property("recorded", (case.recording.provider, case.dialect, f"guarded, {case.mode}"))
    answer, recording = answers[case.name], case.recording
    if isinstance(answer, Exception):
        raise answer
    assert answer.status == 200, answer.body[:2000]
    if case.passes_through and not recording.stream:
        assert answer.body == recording.answer
    elif case.passes_through:
        read = READERS[case.dialect]
        assert read(answer.body) == read(case.recorded_bytes())
    elif case.dialect == "openai":
        wanted, (got,) = said.anthropic(recording.answer, recording.stream), said.openai(answer.body, recording.stream)
        assert (got.text, got.calls, got.reasoning) == (wanted.text, wanted.calls, wanted.reasoning)
    else:
        wanted, got = said.openai(recording.answer, recording.stream)[0], said.anthropic(answer.body, recording.stream)
        assert (got.text, [call[1:] for call in got.calls]) == (wanted.text, [call[1:] for call in wanted.calls])
