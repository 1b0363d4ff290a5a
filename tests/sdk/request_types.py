"""Whether a request is one that a provider can read, by the provider's own types: the official SDKs' request types, and for Bedrock
botocore's service model. Each raises with what is wrong; a member that the types do not know is wrong too."""

import base64
import inspect
import re
import urllib.parse
from typing import Any, get_type_hints

import botocore.loaders
import botocore.model
import botocore.validate
import pydantic
from anthropic.types import message_create_params as anthropic_params
from cohere.v2.client import V2Client
from google.genai import types as google
from mistralai.client.models import ChatCompletionRequest
from openai.types.chat import completion_create_params as openai_params
from openai.types.responses import response_create_params as responses_params

from recorded.asked import force
from upstream import Received

STRICT = pydantic.ConfigDict(extra="forbid")


def strictly(kind) -> pydantic.TypeAdapter:
    """In a tuple, since only so does a setting reach the dictionaries within."""
    return pydantic.TypeAdapter(tuple[kind], config=STRICT)


OPENAI = strictly(openai_params.CompletionCreateParams)
RESPONSES = strictly(responses_params.ResponseCreateParams)
ANTHROPIC = strictly(anthropic_params.MessageCreateParams)


def openai(received: Received, more: set = frozenset()):
    """`more` members are the provider's own, beyond OpenAI's: of the request, and with `messages/` of a message."""
    if received.path.endswith("/responses"):
        return responses(received)
    assert received.path.endswith("/chat/completions"), received.path
    body = without(received.body, more)
    body["messages"] = [without(message, {name.removeprefix("messages/") for name in more}) for message in body["messages"]]
    assert "stream_options" not in body or body.get("stream") is True
    force(OPENAI.validate_python((body,)))


def without(members: dict, names: set) -> dict:
    return {name: value for name, value in members.items() if name not in names}


def responses(received: Received):
    assert received.path.endswith("/responses"), received.path
    force(RESPONSES.validate_python((received.body,)))


def anthropic(received: Received):
    assert received.path.endswith("/v1/messages") and received.headers["anthropic-version"]
    # Of the API, and not of the SDK any more.
    force(ANTHROPIC.validate_python((without(received.body, {"temperature", "top_p", "top_k"}),)))


def claude_on_vertex(received: Received):
    """As the SDK's client for it makes of a message's parameters (`anthropic/lib/vertex`)."""
    path, _, method = received.path.rpartition(":")
    assert method == ("streamRawPredict" if received.body.get("stream") else "rawPredict"), received.path
    assert "model" not in received.body and received.body["anthropic_version"] == "vertex-2023-10-16"
    place, _, model = path.rpartition("/models/")
    assert place.endswith("/publishers/anthropic") and model, received.path
    body = without(received.body, {"temperature", "top_p", "top_k", "anthropic_version"})
    force(ANTHROPIC.validate_python(({**body, "model": model},)))


class GeminiRequest(pydantic.BaseModel):
    """The SDK has types of all members and none of the whole (<https://ai.google.dev/api/generate-content>)."""

    model_config = STRICT
    contents: list[google.Content]
    systemInstruction: google.Content | None = None
    tools: list[google.Tool] | None = None
    toolConfig: google.ToolConfig | None = None
    safetySettings: list[google.SafetySetting] | None = None
    generationConfig: google.GenerationConfig | None = None
    cachedContent: str | None = None


def gemini(received: Received):
    model, _, method = received.path.rpartition("/models/")[2].rpartition(":")
    assert model and method in ("generateContent", "streamGenerateContent?alt=sse"), received.path
    GeminiRequest.model_validate(received.body)
    for content in received.body["contents"]:
        assert content["role"] in ("user", "model") and content["parts"], content


def mistral(received: Received):
    assert received.path.endswith("/chat/completions"), received.path
    read = ChatCompletionRequest.model_validate(received.body)
    assert_known(received.body, read.model_dump(by_alias=True, mode="json"), "")
    for message in received.body["messages"]:
        for call in message.get("tool_calls") or []:
            # <https://docs.mistral.ai/capabilities/function_calling>: the API refuses other ids.
            assert re.fullmatch("[a-zA-Z0-9]{9}", call["id"]), call


def assert_known(body, read, at: str):
    """What was written was read: a type that ignores a member loses it."""
    if isinstance(body, dict) and isinstance(read, dict):
        for name, value in body.items():
            assert value is None or name in read, f"{at}/{name} is unknown"
            assert_known(value, read.get(name), f"{at}/{name}")
    elif isinstance(body, list) and isinstance(read, list):
        for index, (one, other) in enumerate(zip(body, read, strict=True)):
            assert_known(one, other, f"{at}/{index}")


def cohere_members() -> dict[str, Any]:
    """Parameters of the SDK's method, but for its own."""
    hints = get_type_hints(V2Client.chat)
    parameters = inspect.signature(V2Client.chat).parameters
    return {
        name: (hints[name], ... if parameter.default is inspect.Parameter.empty else None)
        for name, parameter in parameters.items()
        if name not in ("self", "request_options")
    }


COHERE = pydantic.create_model("COHERE", __config__=STRICT, stream=(bool, False), **cohere_members())


def cohere_v2(received: Received):
    assert received.path.endswith("/v2/chat"), received.path
    assert_nothing_more(COHERE.model_validate(received.body), "")


def assert_nothing_more(value, at: str):
    """Nothing that a type took without knowing it."""
    if isinstance(value, pydantic.BaseModel):
        assert not value.model_extra, f"{at}: {value.model_extra}"
        for name in type(value).model_fields:
            assert_nothing_more(getattr(value, name), f"{at}/{name}")
    elif isinstance(value, list):
        for index, one in enumerate(value):
            assert_nothing_more(one, f"{at}/{index}")


BEDROCK = botocore.model.ServiceModel(botocore.loaders.Loader().load_service_model("bedrock-runtime", "service-2"))


def bedrock(received: Received):
    path = urllib.parse.unquote(received.path)
    model, _, method = path.rpartition("/model/")[2].rpartition("/")
    operation = BEDROCK.operation_model({"converse": "Converse", "converse-stream": "ConverseStream"}[method])
    parameters = {"modelId": model, **from_wire(received.body, operation.input_shape)}
    report = botocore.validate.ParamValidator().validate(parameters, operation.input_shape)
    assert not report.has_errors(), report.generate_report()
    for message in received.body["messages"]:
        # Not in the model: the API refuses empty texts (recordings of its errors).
        assert message["content"] and all(block.get("text") != "" for block in message["content"]), message
    roles = [message["role"] for message in received.body["messages"]]
    assert roles[0] == "user" and all(one != other for one, other in zip(roles, roles[1:], strict=False)), roles


def from_wire(value, shape):
    """Bytes stand as base64 in JSON, and are bytes to the validator, which leaves words of a list to the service."""
    match shape.type_name:
        case "string" if shape.enum and value not in shape.enum:
            raise AssertionError(f"{value!r} is none of {shape.enum}")
        case "blob":
            return base64.b64decode(value, validate=True)
        case "structure" if not shape.is_document_type and isinstance(value, dict):
            return {name: from_wire(one, shape.members[name]) if name in shape.members else one for name, one in value.items()}
        case "list" if isinstance(value, list):
            return [from_wire(one, shape.member) for one in value]
    return value
