"""What answers say of their way and cost, as the official SDKs read it: their types, validated strictly, take the members beside
their own, and hand them on."""

import json

import httpx2
import pytest

import talk
from talk import user

ASKED = [user("Hello")]
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
