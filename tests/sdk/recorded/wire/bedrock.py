"""Bedrock's Converse and ConverseStream, and the framing of AWS event streams."""

import base64
import json
import struct

from ..said import Said, Usage, arguments

# Nova's tools, which Amazon runs itself.
PROVIDERS_OWN = "server_tool_use"
FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop_sequence",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
    "refusal": "content_filter",
}


def read(body: bytes, stream: bool) -> Said:
    return streamed(body) if stream else whole(json.loads(body))


def whole(answer: dict) -> Said:
    found = Said(finish=FINISH[answer["stopReason"]], usage=usage(answer["usage"]))
    for block in answer["output"]["message"]["content"]:
        if "text" in block:
            found.text += block["text"]
        elif (call := block.get("toolUse")) and call.get("type") != PROVIDERS_OWN:
            found.calls.append((call["toolUseId"], call["name"], call["input"]))
        elif thought := block.get("reasoningContent"):
            if text := thought.get("reasoningText"):
                found.reasoning.append((text["text"], text.get("signature") or ""))
            if "redactedContent" in thought:
                found.redacted.append(thought["redactedContent"])
    return found


def streamed(body: bytes) -> Said:
    blocks: dict = {}
    found = Said()
    for kind, headers, event in messages(body):
        if headers.get(":message-type") == "exception":
            found.failed = event.get("message") or kind
        elif kind == "contentBlockStart" and "toolUse" in event["start"]:
            call = event["start"]["toolUse"]
            kind = "theirs" if call.get("type") == PROVIDERS_OWN else "call"
            blocks[event["contentBlockIndex"]] = {kind: [call["toolUseId"], call["name"], ""]}
        elif kind == "contentBlockDelta":
            block, delta = blocks.setdefault(event["contentBlockIndex"], {}), event["delta"]
            if "text" in delta:
                block["text"] = block.get("text", "") + delta["text"]
            if "toolUse" in delta and "call" in block:
                block["call"][2] += delta["toolUse"]["input"]
            for name, value in (delta.get("reasoningContent") or {}).items():
                block[f"thought-{name}"] = block.get(f"thought-{name}", "") + value
        elif kind == "messageStop":
            found.finish = FINISH[event["stopReason"]]
        elif kind == "metadata":
            found.usage = usage(event["usage"])
    for _, block in sorted(blocks.items()):
        found.text += block.get("text", "")
        if call := block.get("call"):
            found.calls.append((call[0], call[1], arguments(call[2])))
        if "thought-text" in block or "thought-signature" in block:
            found.reasoning.append((block.get("thought-text", ""), block.get("thought-signature", "")))
        if "thought-redactedContent" in block:
            found.redacted.append(block["thought-redactedContent"])
    return found


def usage(counted: dict) -> Usage:
    read, written = counted.get("cacheReadInputTokens") or 0, counted.get("cacheWriteInputTokens") or 0
    return Usage(input=counted["inputTokens"] + read + written, read=read, written=written, output=counted["outputTokens"])


def messages(body: bytes):
    """Event name, headers and document of each message of an event stream (lengths, checksum, headers, payload, checksum)."""
    at = 0
    while at < len(body):
        size, head = struct.unpack_from(">II", body, at)
        headers = strings(body[at + 12 : at + 12 + head])
        payload = body[at + 12 + head : at + size - 4]
        yield headers.get(":event-type") or headers.get(":exception-type", ""), headers, json.loads(payload or b"{}")
        at += size


def strings(raw: bytes) -> dict:
    """Headers, which all are strings (type 7)."""
    found, at = {}, 0
    while at < len(raw):
        end = at + 1 + raw[at]
        name = raw[at + 1 : end].decode()
        kind, size = struct.unpack_from(">BH", raw, end)
        assert kind == 7, f"a header of type {kind}"
        found[name] = raw[end + 3 : end + 3 + size].decode()
        at = end + 3 + size
    return found


def invoked(body: bytes) -> list[dict]:
    """What the chunks of `InvokeModelWithResponseStream` hold: the model's own documents."""
    return [json.loads(base64.b64decode(event["bytes"])) for kind, _, event in messages(body) if kind == "chunk"]
