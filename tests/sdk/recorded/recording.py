"""Recordings of real traffic: which there are, and how one is asked for through the gateway."""

import base64
import dataclasses
import json
import os
import pathlib
import re

PLACE = os.environ.get("PORTCULLIS_RECORDINGS")
OPERATIONS = {"openai": "chat/completions", "anthropic": "v1/messages"}


@dataclasses.dataclass(frozen=True)
class Recording:
    id: str
    provider: str
    stream: bool
    # Recorded from the beta part of an SDK, whose types are wider.
    beta: bool
    request: str
    answer: bytes

    @property
    def asked(self) -> dict:
        return json.loads(self.request)

    @property
    def asked_usage(self) -> bool:
        """Whether the recorded client wanted usage within its stream."""
        return bool((self.asked.get("stream_options") or {}).get("include_usage"))

    def request_for(self, model: str) -> str:
        """The recorded request, every byte of it, but for the model."""
        old = self.asked
        for found in re.finditer(r'"model"\s*:\s*("(?:[^"\\]|\\.)*")', self.request):
            start, end = found.span(1)
            changed = self.request[:start] + json.dumps(model) + self.request[end:]
            if json.loads(changed) == {**old, "model": model}:
                return changed
        raise AssertionError(f"recording {self.id} names no model")


def load(provider: str) -> list[Recording]:
    """Every answered chat of a provider; none where there are no recordings."""
    if not PLACE:
        return []
    found = []
    for line in open(pathlib.Path(PLACE) / f"{provider}.jsonl", encoding="utf-8"):
        entry = json.loads(line)
        if entry["operation"] == OPERATIONS[provider] and entry["status"] == 200:
            found.append(
                Recording(
                    id=entry["id"],
                    provider=provider,
                    stream=entry["stream"],
                    beta="beta=true" in entry["query"],
                    request=content(entry["request"]).decode(),
                    answer=content(entry["response"]),
                )
            )
    return found


def content(part: dict) -> bytes:
    return base64.b64decode(part["base64"]) if "base64" in part else part["text"].encode()
