"""Models, `auto`, request ids and receipts."""

import hashlib
import re

import anthropic
import openai
import pytest

import gateway
import raw
import talk
from talk import user

ASKED = [user("Hello")]


def test_models_by_openai(openai_client):
    models = list(openai_client.models.list())
    names = [model.id for model in models]
    assert {"demo/demo", "demo-anthropic/demo"} <= set(names)
    assert names == sorted(set(names))
    assert all(model.object == "model" and model.owned_by for model in models)


def test_models_by_anthropic(anthropic_client, openai_client):
    page = anthropic_client.models.list()
    type(page).model_validate(page.to_dict())
    names = [model.id for model in page]
    assert names == [model.id for model in openai_client.models.list()]
    assert all(model.type == "model" and model.display_name for model in page)


def test_auto(openai_client, anthropic_client, stream):
    answer = talk.openai(openai_client, stream, model="auto", messages=ASKED)
    assert answer.choices[0].message.content.startswith("Hello!")
    message = talk.anthropic(anthropic_client, stream, model="auto", messages=ASKED)
    assert talk.text_of(message).startswith("Hello!")


def test_auto_is_explained(openai_client, demo, key):
    answer = openai_client.chat.completions.with_raw_response.create(model="auto", messages=ASKED)
    receipt = demo.receipt(answer.headers["x-portcullis-request-id"], key)
    routing = receipt["routing"]
    assert {f"{one['provider']}/{one['model']}" for one in routing["candidates"]} == {"demo/demo", "demo-anthropic/demo"}
    winner = routing["candidates"][routing["winner"]]
    assert winner["provider"] == answer.headers["x-portcullis-provider"]
    assert "price_usd=" in routing["reason"] and "score=" in routing["reason"]
    assert routing["strategy"].startswith("heuristic")


def test_request_ids(openai_client, anthropic_client, stream):
    """Ours where the caller has none, the caller's where it has; ours in any case in `x-portcullis-request-id`."""
    for create, more in (
        (openai_client.chat.completions.with_raw_response.create, {}),
        (anthropic_client.messages.with_raw_response.create, {"max_tokens": 20}),
    ):
        request = {"model": "demo/demo", "messages": ASKED, "stream": stream, **more}
        first, second = create(**request).headers, create(**request).headers
        assert first["x-request-id"] == first["x-portcullis-request-id"] != second["x-request-id"]
        theirs = create(**request, extra_headers={"x-request-id": "trace-42"}).headers
        assert theirs["x-request-id"] == "trace-42" != theirs["x-portcullis-request-id"]
        assert theirs["x-portcullis-provider"] == "demo" and theirs["x-portcullis-model"] == "demo"
        assert int(theirs["x-portcullis-overhead-us"]) > 0


def test_request_id_that_cannot_be_repeated(demo, key):
    for bad in ("a b", "x" * 500):
        answer = raw.ask(demo.address, "GET", "/v1/models", headers={"authorization": f"Bearer {key}", "x-request-id": bad})
        assert answer.status == 200
        assert answer.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
def test_receipt_names_every_plugin(openai_client, anthropic_client, demo, key, provider, stream, dialect):
    if dialect == "openai":
        raw_answer = openai_client.chat.completions.with_raw_response.create(
            model=f"{provider}/demo", messages=ASKED, stream=stream
        )
        if stream:
            list(raw_answer.parse())
    else:
        raw_answer = anthropic_client.messages.with_raw_response.create(
            model=f"{provider}/demo", messages=ASKED, stream=stream, max_tokens=100
        )
        if stream:
            list(raw_answer.parse())
    receipt = demo.receipt(raw_answer.headers["x-portcullis-request-id"], key)
    roles = {plugin["role"]: plugin for plugin in receipt["plugins"]}
    assert {"policy", "guard", "router", "provider"} <= roles.keys()
    crosses = (dialect == "openai") != (provider == talk.OPENAI)
    assert receipt["passthrough"] != crosses
    assert ("dialect" in roles) or not crosses
    for plugin in receipt["plugins"]:
        component = (gateway.PLUGINS / f"{plugin['name']}.wasm").read_bytes()
        assert plugin["hash"] == hashlib.sha256(component).hexdigest()
        assert plugin["calls"] > 0 and plugin["verdict"]
    assert receipt["dialect"] == dialect
    assert receipt["stream"] == stream
    assert receipt["outcome"] == {"status": 200, "code": "ok", "finish_reasons": ["stop"]}
    (attempt,) = receipt["attempts"]
    assert (attempt["provider"], attempt["status"], attempt["ended"]) == (provider, 200, "settled")
    assert 0 < attempt["settled"] <= attempt["reserved"]
    assert receipt["cost"]["total_nano"] == attempt["settled"]
    assert receipt["timings"]["total_us"] >= receipt["timings"]["overhead_us"] > 0
    assert "Hello" not in str(receipt)


def test_receipt_says_what_was_dropped(anthropic_client, demo, key):
    answer = anthropic_client.messages.with_raw_response.create(
        model="demo/demo", messages=ASKED, max_tokens=100, extra_body={"top_k": 5}
    )
    notes = demo.receipt(answer.headers["x-portcullis-request-id"], key)["notes"]
    assert {"code": "dropped", "subject": "top_k"} in notes


def test_receipt_of_a_failure(openai_client, demo, key):
    with pytest.raises(openai.BadRequestError) as raised:
        openai_client.chat.completions.create(model="demo/demo-error-400", messages=ASKED)
    receipt = demo.receipt(raised.value.response.headers["x-portcullis-request-id"], key)
    assert (receipt["outcome"]["code"], receipt["outcome"]["status"]) == ("failed", 400)
    assert [attempt["ended"] for attempt in receipt["attempts"]] == ["refunded"]
    assert "cost" not in receipt


def test_receipts_answer_to_their_own_key(openai_client, demo, key):
    answer = openai_client.chat.completions.with_raw_response.create(model="demo/demo", messages=ASKED)
    identity = answer.headers["x-portcullis-request-id"]
    demo.receipt(identity, key)
    other = demo.key()["key"]
    refused = raw.ask(demo.address, "GET", f"/v1/receipts/{identity}", headers={"authorization": f"Bearer {other}"})
    assert refused.status == 404
    assert raw.ask(demo.address, "GET", f"/v1/receipts/{identity}").status == 401


def test_usage_command(openai_client, demo):
    openai_client.chat.completions.create(model="demo/demo", messages=ASKED)
    assert re.search(r"\bdemo\b", demo.command("usage"))


def test_anthropic_sdk_sees_the_request_id(anthropic_client):
    with pytest.raises(anthropic.NotFoundError) as raised:
        anthropic_client.messages.create(model="nobody/knows", messages=ASKED, max_tokens=1)
    assert raised.value.body["request_id"].startswith("req_")
