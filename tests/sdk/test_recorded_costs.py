"""The tests' own reading of a recorded usage, held to what the provider charged: nothing of the gateway takes part."""

import json
import pathlib

import pytest

from recorded.recording import PLACE
from recorded.wire import compatible

if not PLACE:
    pytest.skip("PORTCULLIS_RECORDINGS is not set", allow_module_level=True)

# USD for a million tokens when it was recorded: input, read from a cache, written to one, output (https://openrouter.ai/models). Google's
# models pay for what they write as for storage: 1 USD for an hour, of which it is kept five minutes.
PRICES = {
    "anthropic/claude-4.6-sonnet-20260217": (3, 0.3, 3.75, 15),
    "google/gemini-2.5-flash": (0.3, 0.03, 5 / 60, 2.5),
}


def charged() -> list:
    """Whole answers of the models above, with what OpenRouter says they cost."""
    found = []
    for line in open(pathlib.Path(PLACE) / "openrouter.jsonl", encoding="utf-8"):
        entry = json.loads(line)
        if not entry["operation"].endswith("chat/completions") or entry["stream"] or entry["status"] != 200:
            continue
        answer = json.loads(entry["response"]["text"])
        told = (answer.get("usage") or {}).get("cost_details") or {}
        if answer.get("model") in PRICES and told.get("upstream_inference_cost"):
            found.append(pytest.param(answer, told["upstream_inference_cost"], id=entry["id"]))
    return found


CHARGED = charged()


@pytest.mark.parametrize("answer, cost", CHARGED)
def test_a_usage_costs_what_was_charged(answer, cost):
    usage = compatible.usage(answer["usage"])
    fresh = usage.input - usage.read - usage.written
    counts = (fresh, usage.read, usage.written, usage.output)
    total = sum(count * price for count, price in zip(counts, PRICES[answer["model"]], strict=True))
    assert total / 1e6 == pytest.approx(cost)


def test_caches_were_written_and_read():
    usages = [compatible.usage(param.values[0]["usage"]) for param in CHARGED]
    assert sum(usage.written > 0 for usage in usages) >= 5
    assert sum(usage.read > 0 for usage in usages) >= 5
    assert any(0 < usage.written == usage.read for usage in usages)
