"""Policies from the operator's file: denials are `PermissionDeniedError` in both SDKs, constraints hold, and a change of the
file is live."""

import time

import anthropic
import openai
import pytest

import talk
from talk import user

ASKED = [user("Count to 5")]
RULES = """
[[plugin.policy-rules.config.rules]]
name = "no-echo"
when = { requested_models = ["*demo-echo*"] }
then = { deny = { code = "policy.no-echo", message = "Echoes are not allowed here." } }

[[plugin.policy-rules.config.rules]]
name = "no-tools"
when = { tools = ["delete_*"] }
then = { deny = { status = 422, message = "This tool is not allowed." } }

[[plugin.policy-rules.config.rules]]
name = "production-is-openai"
when = { environments = ["production"] }
then = { constrain = { providers = ["demo"], max_output_tokens = 3 } }
"""


@pytest.fixture(scope="module")
def gate(lab):
    return lab("policy", RULES)


@pytest.fixture(scope="module")
def secrets(gate):
    return {name: gate.key("--environment", name)["key"] for name in ("production", "development")}


def by_openai(gate, secret):
    return openai.OpenAI(base_url=gate.openai_url, api_key=secret, max_retries=0, timeout=30)


def by_anthropic(gate, secret):
    return anthropic.Anthropic(base_url=gate.address, api_key=secret, max_retries=0, timeout=30)


def test_denied(gate, secrets, provider, stream):
    secret = secrets["development"]
    with pytest.raises(openai.PermissionDeniedError, match="Echoes are not allowed here") as raised:
        talk.openai(by_openai(gate, secret), stream, model=f"{provider}/demo-echo", messages=ASKED)
    assert raised.value.code == "policy.no-echo"
    with pytest.raises(anthropic.PermissionDeniedError, match="Echoes are not allowed here") as raised:
        talk.anthropic(by_anthropic(gate, secret), stream, model=f"{provider}/demo-echo", messages=ASKED)
    assert raised.value.body["error"]["type"] == "permission_error"
    receipt = gate.receipt(raised.value.response.headers["x-portcullis-request-id"], secret)
    assert (receipt["outcome"]["code"], receipt["outcome"]["reason"]) == ("denied", "policy.no-echo")
    assert receipt["attempts"] == []


def test_denied_by_tool_with_its_own_status(gate, secrets, provider):
    secret = secrets["development"]
    schema = {"type": "object", "properties": {}}
    tool = {"type": "function", "function": {"name": "delete_all", "parameters": schema}}
    with pytest.raises(openai.UnprocessableEntityError, match="not allowed"):
        by_openai(gate, secret).chat.completions.create(model=f"{provider}/demo", messages=ASKED, tools=[tool])
    with pytest.raises(anthropic.UnprocessableEntityError, match="not allowed"):
        by_anthropic(gate, secret).messages.create(
            model=f"{provider}/demo", messages=ASKED, max_tokens=9, tools=[{"name": "delete_all", "input_schema": schema}]
        )


def test_constrained(gate, secrets, stream):
    """Production may use one provider, and gets three tokens, whatever it asks for."""
    client = by_openai(gate, secrets["production"])
    for more in ({}, {"max_tokens": 1000}, {"max_completion_tokens": 1000}):
        answer = talk.openai(client, stream, model="demo/demo", messages=ASKED, **more)
        assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("1, 2", "length")
    assert talk.openai(client, stream, model="demo/demo", messages=ASKED, max_tokens=2).usage.completion_tokens == 2
    message = talk.anthropic(by_anthropic(gate, secrets["production"]), stream, model="demo/demo", messages=ASKED)
    assert (talk.text_of(message), message.stop_reason) == ("1, 2", "max_tokens")
    for _ in range(5):
        answer = client.chat.completions.with_raw_response.create(model="auto", messages=ASKED)
        assert answer.headers["x-portcullis-provider"] == "demo"
    with pytest.raises(openai.APIStatusError) as raised:
        talk.openai(client, stream, model="demo-anthropic/demo", messages=ASKED)
    assert raised.value.status_code in (403, 404)


def test_development_is_not_constrained(gate, secrets, provider, stream):
    answer = talk.openai(by_openai(gate, secrets["development"]), stream, model=f"{provider}/demo", messages=ASKED)
    assert answer.choices[0].message.content == "1, 2, 3, 4, 5"


def test_a_new_rule_is_live(gate, secrets):
    client = by_openai(gate, secrets["development"])
    ask = lambda: client.chat.completions.create(model="demo/demo-burst-3", messages=ASKED)  # noqa: E731
    ask()
    old = gate.config.read_text()
    gate.config.write_text(old.replace("*demo-echo*", "*demo-burst*"))
    eventually(lambda: is_denied(ask))
    gate.config.write_text(old + "\n[serverr]\n")
    time.sleep(2)
    assert is_denied(ask), "a broken file changes nothing"
    gate.config.write_text(old)
    eventually(lambda: not is_denied(ask))


def is_denied(ask) -> bool:
    try:
        ask()
        return False
    except openai.PermissionDeniedError:
        return True


def eventually(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "nothing changed"
        time.sleep(0.1)
