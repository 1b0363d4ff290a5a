"""Reasoning over all four pairs. The demo signs its thoughts as Anthropic does and refuses one that comes back altered: that a
conversation goes on proves that its signature was kept, and that an altered one is refused proves that it was sent."""

import anthropic
import openai
import pytest

import talk
from talk import user

ASKED = [user("Why?")]
THINKING = {"type": "enabled", "budget_tokens": 1024}
NEXT = user("And then?")


def test_openai_client_sees_reasoning(openai_client, provider, stream):
    answer = talk.openai(openai_client, stream, model=f"{provider}/demo-think", messages=ASKED)
    message = answer.choices[0].message
    assert 'an answer to "Why?"' in message.model_extra["reasoning_content"]
    assert message.content and answer.usage.completion_tokens_details.reasoning_tokens > 0
    assert ("reasoning_details" in message.model_extra) == (provider == talk.ANTHROPIC)


def test_openai_client_keeps_the_signature(openai_client, stream):
    """In `reasoning_details`, which the SDK joins in a stream by their index."""
    model = f"{talk.ANTHROPIC}/demo-think"
    first = talk.openai(openai_client, stream, model=model, messages=ASKED).choices[0].message.to_dict()
    again = talk.openai(openai_client, stream, model=model, messages=[*ASKED, first, NEXT])
    assert "And then?" in again.choices[0].message.content
    first["reasoning_details"][0]["text"] += " Or not."
    with pytest.raises(openai.BadRequestError, match="signature"):
        talk.openai(openai_client, stream, model=model, messages=[*ASKED, first, NEXT])


def test_anthropic_client_keeps_the_signature(anthropic_client, stream):
    request = {"model": f"{talk.ANTHROPIC}/demo", "thinking": THINKING}
    first = talk.anthropic(anthropic_client, stream, messages=ASKED, **request)
    assert [block.type for block in first.content] == ["thinking", "text"]
    blocks = [block.to_dict() for block in first.content]
    assert blocks[0]["thinking"] and blocks[0]["signature"]
    turn = {"role": "assistant", "content": blocks}
    talk.anthropic(anthropic_client, stream, messages=[*ASKED, turn, NEXT], **request)
    blocks[0]["thinking"] += " Or not."
    with pytest.raises(anthropic.BadRequestError, match="signature"):
        talk.anthropic(anthropic_client, stream, messages=[*ASKED, turn, NEXT], **request)


def test_anthropic_client_sees_unsigned_reasoning(anthropic_client, stream):
    """Of a provider that does not sign; the block may come back."""
    model = f"{talk.OPENAI}/demo-think"
    first = talk.anthropic(anthropic_client, stream, model=model, messages=ASKED)
    assert [block.type for block in first.content] == ["thinking", "text"]
    assert 'an answer to "Why?"' in first.content[0].thinking
    turn = {"role": "assistant", "content": [block.to_dict() for block in first.content]}
    again = talk.anthropic(anthropic_client, stream, model=model, messages=[*ASKED, turn, NEXT])
    assert "And then?" in talk.text_of(again)


def test_a_signature_goes_to_nobody_else(anthropic_client, demo, key):
    """Thoughts of one provider shown to another are dropped, and the receipt says so."""
    signed = talk.anthropic(anthropic_client, False, model=f"{talk.ANTHROPIC}/demo-think", messages=ASKED)
    turn = {"role": "assistant", "content": [block.to_dict() for block in signed.content]}
    raw = anthropic_client.messages.with_raw_response.create(
        model=f"{talk.OPENAI}/demo", max_tokens=100, messages=[*ASKED, turn, NEXT]
    )
    notes = demo.receipt(raw.headers["x-portcullis-request-id"], key)["notes"]
    assert "signature-dropped" in {note["code"] for note in notes}


def test_effort(openai_client, provider, stream):
    answer = talk.openai(
        openai_client, stream, model=f"{provider}/demo", messages=ASKED, reasoning_effort="low", max_completion_tokens=4096
    )
    assert answer.usage.completion_tokens_details.reasoning_tokens > 0


def test_budget_becomes_effort(anthropic_client, stream):
    answer = talk.anthropic(
        anthropic_client, stream, model=f"{talk.OPENAI}/demo", messages=ASKED, thinking=THINKING, max_tokens=4096
    )
    assert answer.usage.output_tokens > 64
