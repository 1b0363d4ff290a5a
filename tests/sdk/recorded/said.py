"""What an answer says, whatever its protocol: read from recorded bytes with nothing but `json`, so that neither the gateway nor
an SDK is its own judge."""

import dataclasses
import json
import re


@dataclasses.dataclass
class Usage:
    """Input with all that was cached, and what of it was read from and written to caches."""

    input: int = 0
    read: int = 0
    written: int = 0
    output: int = 0
    # Web searches, which cost apart.
    searches: int = 0
    # Part of the output, where a protocol tells it apart.
    reasoning: int = dataclasses.field(default=0, compare=False)


@dataclasses.dataclass
class Said:
    text: str = ""
    # Name, and arguments as a value; the id where the protocol has one.
    calls: list = dataclasses.field(default_factory=list)
    # Text and signature of each block.
    reasoning: list = dataclasses.field(default_factory=list)
    redacted: list = dataclasses.field(default_factory=list)
    # Signatures of what the provider's own tools did: parts that its own protocol alone has.
    of_tools: list = dataclasses.field(default_factory=list)
    finish: str = ""
    # The text is the model's refusal (OpenAI has a field for it).
    refused: bool = False
    usage: Usage | None = None
    model: str = ""
    # The provider's own words for why there is no answer, or no more of it.
    failed: str = ""


def events(body: bytes) -> list[dict]:
    """The documents of an event stream."""
    text = body.decode().replace("\r\n", "\n")
    found = []
    for frame in re.split(r"\n\n+", text):
        data = "\n".join(line[5:].removeprefix(" ") for line in frame.split("\n") if line.startswith("data:"))
        if data and data != "[DONE]":
            found.append(json.loads(data))
    return found


def arguments(text: str):
    """Arguments as a value; free text and what broke off stay text."""
    try:
        return json.loads(text or "{}")
    except ValueError:
        return text


# --- OpenAI Chat Completions ----------------------------------------------------------------------------------------


def openai(body: bytes, stream: bool) -> list[Said]:
    """What each choice says."""
    return openai_stream(events(body)) if stream else openai_whole(json.loads(body))


def openai_whole(answer: dict) -> list[Said]:
    said = []
    for choice in sorted(answer["choices"], key=lambda choice: choice["index"]):
        message = choice["message"]
        calls = [one_call(call) for call in message.get("tool_calls") or []]
        if legacy := message.get("function_call"):
            calls.append(("", legacy["name"], arguments(legacy["arguments"])))
        said.append(
            Said(
                text=(message.get("content") or "") + (message.get("refusal") or ""),
                calls=calls,
                reasoning=openai_reasoning([message]),
                redacted=openai_redacted([message]),
                finish=choice["finish_reason"],
                refused=bool(message.get("refusal")),
                usage=openai_usage(answer.get("usage")),
                model=answer["model"],
            )
        )
    return said


def openai_stream(chunks: list[dict]) -> list[Said]:
    by_index, usage, model = {}, None, ""
    for chunk in chunks:
        usage = openai_usage(chunk.get("usage")) or usage
        model = model or chunk.get("model", "")
        for choice in chunk["choices"]:
            state = by_index.setdefault(choice["index"], {"text": "", "calls": {}, "deltas": [], "finish": ""})
            delta = choice["delta"]
            state["deltas"].append(delta)
            state["text"] += (delta.get("content") or "") + (delta.get("refusal") or "")
            for call in delta.get("tool_calls") or []:
                whole = state["calls"].setdefault(call["index"], {"id": "", "name": "", "arguments": ""})
                whole["id"] += call.get("id") or ""
                part = call.get("function") or call.get("custom") or {}
                whole["name"] += part.get("name") or ""
                whole["arguments"] += part.get("arguments") or part.get("input") or ""
            if legacy := delta.get("function_call"):
                whole = state["calls"].setdefault(-1, {"id": "", "name": "", "arguments": ""})
                whole["name"] += legacy.get("name") or ""
                whole["arguments"] += legacy.get("arguments") or ""
            state["finish"] = choice.get("finish_reason") or state["finish"]
    return [
        Said(
            text=state["text"],
            calls=[(call["id"], call["name"], arguments(call["arguments"])) for _, call in sorted(state["calls"].items())],
            reasoning=openai_reasoning(state["deltas"]),
            redacted=openai_redacted(state["deltas"]),
            finish=state["finish"],
            refused=any(delta.get("refusal") for delta in state["deltas"]),
            usage=usage,
            model=model,
        )
        for _, state in sorted(by_index.items())
    ]


def one_call(call: dict):
    if call["type"] == "custom":
        return call["id"], call["custom"]["name"], arguments(call["custom"]["input"])
    return call["id"], call["function"]["name"], arguments(call["function"]["arguments"])


def openai_reasoning(messages: list[dict]) -> list:
    """Reasoning by the conventions `reasoning_details`, `reasoning_content` and `reasoning`."""
    blocks: dict = {}
    for message in messages:
        for detail in message.get("reasoning_details") or []:
            if detail["type"] != "reasoning.encrypted":
                block = blocks.setdefault(detail["index"], ["", ""])
                block[0] += detail.get("text") or detail.get("summary") or ""
                block[1] += detail.get("signature") or ""
    if blocks:
        return [tuple(block) for _, block in sorted(blocks.items())]
    plain = "".join(message.get("reasoning_content") or message.get("reasoning") or "" for message in messages)
    return [(plain, "")] if plain else []


def openai_redacted(messages: list[dict]) -> list:
    details = [detail for message in messages for detail in message.get("reasoning_details") or []]
    return [detail["data"] for detail in details if detail["type"] == "reasoning.encrypted"]


def openai_usage(usage: dict | None) -> Usage | None:
    if not usage:
        return None
    details = usage.get("prompt_tokens_details") or {}
    return Usage(
        input=usage["prompt_tokens"],
        read=details.get("cached_tokens") or 0,
        written=details.get("cache_write_tokens") or 0,
        output=usage["completion_tokens"],
        reasoning=(usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0,
    )


# --- Anthropic Messages ---------------------------------------------------------------------------------------------


def anthropic(body: bytes, stream: bool) -> Said:
    return anthropic_whole(anthropic_joined(events(body)) if stream else json.loads(body))


def anthropic_joined(sent: list[dict]) -> dict:
    """A stream's message."""
    message: dict = {}
    pieces: dict = {}
    for event in sent:
        match event["type"]:
            case "message_start":
                message = json.loads(json.dumps(event["message"]))
            case "content_block_start":
                assert event["index"] == len(message["content"]), "blocks come in order"
                message["content"].append(dict(event["content_block"]))
            case "content_block_delta":
                block, delta = message["content"][event["index"]], event["delta"]
                match delta["type"]:
                    case "text_delta":
                        block["text"] += delta["text"]
                    case "thinking_delta":
                        block["thinking"] += delta["thinking"]
                    case "signature_delta":
                        block["signature"] = block.get("signature", "") + delta["signature"]
                    case "citations_delta":
                        block["citations"] = [*(block.get("citations") or []), delta["citation"]]
                    case "input_json_delta":
                        pieces[event["index"]] = pieces.get(event["index"], "") + delta["partial_json"]
            case "message_delta":
                message.update(event["delta"])
                message["usage"].update({name: n for name, n in event["usage"].items() if n is not None})
    for index, text in pieces.items():
        message["content"][index]["input"] = arguments(text)
    return message


def anthropic_whole(message: dict) -> Said:
    said = Said(finish=message["stop_reason"], usage=anthropic_usage(message["usage"]), model=message["model"])
    for block in message["content"]:
        match block["type"]:
            case "text":
                said.text += block["text"]
            case "tool_use":
                said.calls.append((block["id"], block["name"], block["input"]))
            case "thinking":
                said.reasoning.append((block["thinking"], block.get("signature") or ""))
            case "redacted_thinking":
                said.redacted.append(block["data"])
    return said


def anthropic_usage(usage: dict) -> Usage:
    read, written = usage.get("cache_read_input_tokens") or 0, usage.get("cache_creation_input_tokens") or 0
    return Usage(
        input=usage["input_tokens"] + read + written,
        read=read,
        written=written,
        output=usage["output_tokens"],
        reasoning=(usage.get("output_tokens_details") or {}).get("thinking_tokens") or 0,
        searches=(usage.get("server_tool_use") or {}).get("web_search_requests") or 0,
    )
