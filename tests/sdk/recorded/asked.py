"""What a request asks, whatever its protocol: read with nothing but `json`."""

import dataclasses
from typing import get_type_hints

from anthropic.types import message_create_params as anthropic_params
from openai.types.chat import completion_create_params as openai_params
from pydantic import TypeAdapter

from .said import arguments


@dataclasses.dataclass
class Asked:
    # Every text that somebody wrote, in order.
    texts: list = dataclasses.field(default_factory=list)
    # Name and arguments.
    calls: list = dataclasses.field(default_factory=list)
    # How many results of tools.
    results: int = 0
    # Name and schema of functions.
    tools: dict = dataclasses.field(default_factory=dict)
    images: int = 0


def openai(request: dict) -> Asked:
    asked = Asked()
    for message in request["messages"]:
        content = message.get("content")
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
        for part in parts:
            if part["type"] in ("text", "refusal"):
                asked.texts.append(part[part["type"]])
            asked.images += part["type"] == "image_url"
        if isinstance(message.get("refusal"), str):
            asked.texts.append(message["refusal"])
        for call in message.get("tool_calls") or []:
            if call["type"] == "function":
                asked.calls.append((call["function"]["name"], arguments(call["function"]["arguments"])))
        if legacy := message.get("function_call"):
            asked.calls.append((legacy["name"], arguments(legacy["arguments"])))
        asked.results += message["role"] in ("tool", "function")
    for tool in request.get("tools") or []:
        if tool["type"] == "function":
            asked.tools[tool["function"]["name"]] = tool["function"].get("parameters")
    for function in request.get("functions") or []:
        asked.tools[function["name"]] = function.get("parameters")
    return asked


def anthropic(request: dict) -> Asked:
    asked = Asked()
    system = request.get("system") or []
    asked.texts += [system] if isinstance(system, str) else [block["text"] for block in system]
    for message in request["messages"]:
        anthropic_blocks(asked, message["content"])
    for tool in request.get("tools") or []:
        if "input_schema" in tool:
            asked.tools[tool["name"]] = tool["input_schema"]
    return asked


def anthropic_blocks(asked: Asked, content):
    for block in [{"type": "text", "text": content}] if isinstance(content, str) else content or []:
        match block["type"]:
            case "text":
                asked.texts.append(block["text"])
            case "image":
                asked.images += 1
            case "tool_use":
                asked.calls.append((block["name"], block["input"]))
            case "tool_result":
                asked.results += 1
                anthropic_blocks(asked, block.get("content"))


PARAMETERS = {
    "openai": openai_params.CompletionCreateParamsNonStreaming,
    "anthropic": anthropic_params.MessageCreateParamsNonStreaming,
}
# Kept: what is validated as it is read needs its adapter until then.
ADAPTERS = {protocol: TypeAdapter(kind) for protocol, kind in PARAMETERS.items()}
READERS = {"openai": openai, "anthropic": anthropic}
# Of the API, and not of the SDK any more.
MORE_KEYS = {"openai": set(), "anthropic": {"temperature", "top_p", "top_k"}}


def validate(protocol: str, request: dict):
    """The request has the types that the protocol's own SDK lets an application write, and no member it does not know."""
    kind = PARAMETERS[protocol]
    keys = set(get_type_hints(kind)) | MORE_KEYS[protocol] | {"stream"}
    assert set(request) <= keys, set(request) - keys
    force(ADAPTERS[protocol].validate_python({**request, "stream": False}))


def force(value):
    """Lists are validated as they are read."""
    if isinstance(value, dict):
        for member in value.values():
            force(member)
    elif not isinstance(value, str | bytes | int | float | bool | None):
        for item in value:
            force(item)
