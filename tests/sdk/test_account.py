"""What answers say of their way and cost, as the official SDKs read it: their types, validated strictly, take the members beside
their own, and hand them on."""

import json
import types

import httpx2
import pytest
from google import genai
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

import talk
from talk import user

ASKED = [user("Hello")]
RESPONSE_EVENT = TypeAdapter(ResponseStreamEvent)
BODY = {"x-portcullis-metadata": "body"}


def check(extra: dict, usage, receipt: dict, provider: str):
    """The account of an answer against its receipt; the SDK's extra members are those that its types do not name."""
    metadata, gateway = extra["metadata"], extra["x-llm-gateway"]
    routing = metadata["routing"]
    # OpenAI's metadata are texts.
    routing = json.loads(routing) if isinstance(routing, str) else routing
    assert metadata["used_provider"] == provider and metadata["used_model"] == "demo"
    assert [(one["status_code"], one["error_type"]) for one in routing] == [(200, None)]
    assert gateway["request_id"] == receipt["request_id"] and gateway["fallback_used"] is False
    cost = receipt["cost"]
    nano = {name: round(getattr(usage, f"cost_usd_{name}") * 1e9) for name in ("total", "input", "output")}
    assert nano == {name: cost[f"{name}_nano"] for name in nano}
    assert nano["total"] > 0


def test_openai(openai_client, demo, key, provider):
    """Encoded for one provider, passed through for the other and told because the client asks."""
    answer = talk.openai(openai_client, False, model=f"{provider}/demo", messages=ASKED, extra_headers=BODY)
    extra = {"metadata": answer.metadata, **answer.model_extra}
    check(extra, answer.usage, demo.receipt(extra["x-llm-gateway"]["request_id"], key), provider)


def test_openai_stream(openai_client, demo, key, provider):
    request = {"model": f"{provider}/demo", "messages": ASKED, "extra_headers": BODY}
    chunks = list(openai_client.chat.completions.create(stream=True, stream_options={"include_usage": True}, **request))
    for chunk in chunks:
        type(chunk).model_validate_json(chunk.to_json(), strict=True)
    (told,) = [chunk for chunk in chunks if "x-llm-gateway" in chunk.model_extra]
    assert told is chunks[-1] and told.choices == []
    receipt = demo.receipt(told.model_extra["x-llm-gateway"]["request_id"], key)
    check(told.model_extra, told.usage, receipt, provider)


def test_openai_stream_without_usage(openai_client, provider):
    """No chunk that a client which did not ask for usage would stumble over."""
    request = {"model": f"{provider}/demo", "messages": ASKED, "extra_headers": BODY}
    chunks = list(openai_client.chat.completions.create(stream=True, **request))
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)
    (told,) = [chunk for chunk in chunks if "x-llm-gateway" in chunk.model_extra]
    assert told is chunks[-1] and told.choices[0].finish_reason == "stop"
    assert told.model_extra["metadata"]["used_provider"] == provider


def test_anthropic(anthropic_client, demo, key, provider):
    raw = anthropic_client.messages.with_raw_response.create(
        model=f"{provider}/demo", max_tokens=64, messages=ASKED, extra_headers=BODY
    )
    message = talk.Message.model_validate_json(raw.text(), strict=True)
    check(message.model_extra, message.usage, demo.receipt(raw.headers["x-portcullis-request-id"], key), provider)


def test_anthropic_stream(anthropic_client, demo, key, provider):
    events = anthropic_client.messages.create(
        model=f"{provider}/demo", max_tokens=64, messages=ASKED, stream=True, extra_headers=BODY
    )
    told = [talk.MESSAGE_EVENT.validate_python(event.to_dict()) for event in events]
    (delta,) = [event for event in told if "x-llm-gateway" in event.model_extra]
    assert delta.type == "message_delta"
    receipt = demo.receipt(delta.model_extra["x-llm-gateway"]["request_id"], key)
    check(delta.model_extra, delta.usage, receipt, provider)


def test_responses(openai_client, demo, key, provider, stream):
    request = {"model": f"{provider}/demo", "input": "Hello", "extra_headers": BODY}
    if stream:
        events = list(openai_client.responses.create(stream=True, **request))
        for event in events:
            RESPONSE_EVENT.validate_python(event.to_dict())
        told = [event for event in events if "x-llm-gateway" in getattr(event, "response", event).model_extra]
        assert told == events[-1:] and told[0].type == "response.completed"
        answer = told[0].response
    else:
        raw = openai_client.responses.with_raw_response.create(**request)
        answer = Response.model_validate_json(raw.content, strict=True)
    extra = {"metadata": answer.metadata, **answer.model_extra}
    check(extra, answer.usage, demo.receipt(extra["x-llm-gateway"]["request_id"], key), provider)


@pytest.fixture(scope="module")
def google_client(demo, key):
    options = genai.types.HttpOptions(base_url=demo.address, timeout=30_000, headers=BODY)
    with genai.Client(api_key=key, http_options=options) as client:
        yield client


@pytest.mark.parametrize("answering", ["demo-gemini", *talk.PROVIDERS])
def test_gemini(google_client, demo, key, answering, stream):
    """The SDK's types refuse what they do not know, so that its client leaves the account out: it is read beside."""
    asked = {"model": f"{answering}/demo", "contents": "Hello"}
    if stream:
        chunks = list(google_client.models.generate_content_stream(**asked))
    else:
        chunks = [google_client.models.generate_content(**asked)]
    assert "".join(chunk.text or "" for chunk in chunks).startswith("Hello!")
    method = "streamGenerateContent?alt=sse" if stream else "generateContent"
    body = {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]}
    url = f"{demo.address}/v1beta/models/{answering}/demo:{method}"
    raw = httpx2.post(url, json=body, headers={"x-goog-api-key": key, **BODY}).raise_for_status()
    documents = [json.loads(line[6:]) for line in raw.text.splitlines() if line.startswith("data: ")] if stream else [raw.json()]
    (told,) = [document for document in documents if "x-llm-gateway" in document]
    assert told is documents[-1] and told["candidates"][0]["finishReason"] == "STOP"
    usage = types.SimpleNamespace(**told["usageMetadata"])
    check(told, usage, demo.receipt(told["x-llm-gateway"]["request_id"], key), answering)


def test_passed_answers_say_it_in_their_head(openai_client, demo, key):
    raw = openai_client.chat.completions.with_raw_response.create(model="demo/demo", messages=ASKED)
    gateway, metadata = (json.loads(raw.headers[name]) for name in ("x-llm-gateway", "x-llm-gateway-metadata"))
    usage = types.SimpleNamespace(
        cost_usd_total=gateway["cost_usd"], cost_usd_input=gateway["cost_usd_input"], cost_usd_output=gateway["cost_usd_output"]
    )
    check({"metadata": metadata, "x-llm-gateway": gateway}, usage, demo.receipt(gateway["request_id"], key), "demo")


def test_passed_answers_say_nothing_unasked(openai_client, anthropic_client, stream):
    answer = talk.openai(openai_client, stream, model="demo/demo", messages=ASKED)
    assert answer.metadata is None and "x-llm-gateway" not in answer.model_extra
    assert not hasattr(answer.usage, "cost_usd_total")
    message = talk.anthropic(anthropic_client, stream, model="demo-anthropic/demo", messages=ASKED)
    assert not {"metadata", "x-llm-gateway"} & set(message.model_extra)


def test_models_by_openai(openai_client):
    for model in openai_client.models.list():
        type(model).model_validate_json(model.to_json(), strict=True)
        assert set(model.pricing) <= {"input", "output"} and all(float(price) >= 0 for price in model.pricing.values())
        assert isinstance(model.capabilities, list) and isinstance(model.operations, list)
        assert model.context_length is None or model.context_length > 0
        assert model.max_output_tokens is None or model.max_output_tokens > 0


def test_models_by_anthropic(anthropic_client):
    for model in anthropic_client.models.list():
        # Dates are texts in JSON, which strict validation takes from JSON alone.
        type(model).model_validate_json(model.to_json(), strict=True)
        assert isinstance(model.model_extra["capability_names"], list) and "pricing" in model.model_extra


@pytest.mark.parametrize(
    "path, headers", [("/api/v1/llm/chat", {}), ("/v1/chat/completions", {"x-portcullis-format": "flat"})]
)
def test_flat(demo, key, path, headers, provider):
    """No SDK speaks it: any HTTP client does."""
    body = {"model": f"{provider}/demo", "system": "Be brief.", "messages": ASKED}
    headers = {"authorization": f"Bearer {key}", **headers}
    told = httpx2.post(demo.address + path, json=body, headers=headers).raise_for_status().json()
    assert told["content"].startswith("Hello!") and told["provider"] == provider and told["route_method"] == "explicit"
    cost = demo.receipt(told["x-llm-gateway"]["request_id"], key)["cost"]
    assert round(told["usage"]["cost_usd"] * 1e9) == cost["total_nano"]
