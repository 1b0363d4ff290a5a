"""Every recorded answer of every provider, as a server of the recordings is to give it."""

import base64
import dataclasses
import functools
import json
import pathlib
import shutil

from . import wire
from .recording import PLACE, content
from .said import Said
from .upstreams import CONVERSATIONS, ELSEWHERE, UPSTREAMS, Upstream
from .wire import bedrock


@dataclasses.dataclass(frozen=True)
class Recorded:
    upstream: Upstream
    id: str
    stream: bool
    answer: bytes
    content_type: str | None

    @functools.cached_property
    def said(self) -> Said:
        return wire.READERS[self.upstream.wire](self.answer, self.stream)

    def line(self) -> dict:
        """As the recordings' own server reads it."""
        return {
            "id": self.id,
            "status": 200,
            "stream": self.stream,
            "content_type": self.content_type,
            "response_headers": {},
            "response": {"base64": base64.b64encode(self.answer).decode()},
        }


def load() -> tuple[list[Recorded], list[dict]]:
    """Answers that have an upstream, and the lines of other conversations."""
    found, other = [], []
    for provider in sorted({upstream.provider for upstream in UPSTREAMS}) if PLACE else []:
        for text in open(pathlib.Path(PLACE) / f"{provider}.jsonl", encoding="utf-8"):
            line = json.loads(text)
            if line["status"] != 200 or line["operation"] not in CONVERSATIONS or is_no_answer(line):
                continue
            fitting = [one for one in UPSTREAMS if fits(one, line)]
            if fitting:
                (upstream,) = fitting
                found.append(recorded(upstream, line))
            else:
                assert (provider, line["operation"]) in ELSEWHERE, f"nobody plays recording {line['id']}"
                other.append(line)
    return found, other


def fits(upstream: Upstream, line: dict) -> bool:
    return (upstream.provider, upstream.path in line["path"]) == (line["provider"], True) and line["operation"] in upstream.operations


def is_no_answer(line: dict) -> bool:
    """Beside the conversation: a history made shorter, a stored answer deleted."""
    return line["method"] != "POST" or line["path"].endswith("/compact")


def recorded(upstream: Upstream, line: dict) -> Recorded:
    body, stream, kind = content(line["response"]), line["stream"], line["content_type"]
    if line["operation"] == "streamGenerateContent" and not stream:
        # Recorded without `alt=sse`, which the gateway always asks for: the same chunks in the other framing.
        body, stream, kind = events(json.loads(body)), True, "text/event-stream"
    elif line["operation"] == "invoke-with-response-stream":
        body, kind = events(bedrock.invoked(body), named=True), "text/event-stream"
    if not kind or "REDACTED" in kind:
        kind = "text/event-stream" if stream else "application/json"
    return Recorded(upstream, line["id"], stream, body, kind)


def events(documents: list[dict], named: bool = False) -> bytes:
    frames = []
    for document in documents:
        name = f"event: {document['type']}\n" if named else ""
        frames.append(f"{name}data: {json.dumps(document)}\n\n".encode())
    return b"".join(frames)


def write(folder: pathlib.Path, answers: list[Recorded]):
    """The recordings' server with these answers beside it."""
    folder.mkdir(parents=True)
    shutil.copy(pathlib.Path(PLACE) / "replay", folder)
    lines = "".join(json.dumps(answer.line()) + "\n" for answer in answers)
    (folder / "answers.jsonl").write_text(lines)
