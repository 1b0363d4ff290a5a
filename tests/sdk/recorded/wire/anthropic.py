"""Anthropic Messages."""

from .. import said

FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop_sequence",
    "max_tokens": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
    "pause_turn": "pause",
}


def read(body: bytes, stream: bool) -> said.Said:
    found = said.anthropic(body, stream)
    found.finish = FINISH[found.finish]
    return found
