"""JSON mode and JSON schemas over all four pairs."""

import json

import talk
from talk import user

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "open": {"type": "boolean"}},
    "required": ["city", "open"],
    "additionalProperties": False,
}
# What the demo makes of the schema.
VALUE = {"city": "demo city", "open": True}
ASKED = [user("Is the gate open? Answer in JSON.")]


def test_openai_schema(openai_client, provider, stream):
    form = {"type": "json_schema", "json_schema": {"name": "gate", "schema": SCHEMA, "strict": True}}
    answer = talk.openai(openai_client, stream, model=f"{provider}/demo", messages=ASKED, response_format=form)
    assert json.loads(answer.choices[0].message.content) == VALUE
    assert answer.choices[0].finish_reason == "stop"


def test_openai_object(openai_client, provider, stream):
    form = {"type": "json_object"}
    answer = talk.openai(openai_client, stream, model=f"{provider}/demo", messages=ASKED, response_format=form)
    if provider == talk.OPENAI:
        assert isinstance(json.loads(answer.choices[0].message.content), dict)
    else:
        # Anthropic has no such mode; the answer comes all the same.
        assert answer.choices[0].message.content


def test_anthropic_schema(anthropic_client, provider, stream):
    form = {"format": {"type": "json_schema", "schema": SCHEMA}}
    answer = talk.anthropic(anthropic_client, stream, model=f"{provider}/demo", messages=ASKED, output_config=form)
    assert json.loads(talk.text_of(answer)) == VALUE
    assert answer.stop_reason == "end_turn"
