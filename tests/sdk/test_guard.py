"""What is masked: in requests before any provider sees it, in answers before the client does, in streams wherever it is cut."""

import json

import anthropic
import openai
import pytest
from google import genai

import raw
import talk
from talk import user

SECRET = "ada.lovelace@example.org"
CARD = "4111 1111 1111 1111"
PROMPT = f"Write to {SECRET} or charge {CARD}, please."
MASKED = "Write to [EMAIL] or charge [CARD], please."
ANSWERS = """
[plugin.pii.config]
directions = ["answer"]
"""
BLOCKING = """
[plugin.pii.config]
card = "block"
"""


class Clients:
    def __init__(self, gate):
        secret = gate.key()["key"]
        self.gate, self.secret = gate, secret
        self.openai = openai.OpenAI(base_url=gate.openai_url, api_key=secret, max_retries=0, timeout=30)
        self.anthropic = anthropic.Anthropic(base_url=gate.address, api_key=secret, max_retries=0, timeout=30)
        self.google = genai.Client(api_key=secret, http_options={"base_url": gate.address})


@pytest.fixture(scope="module")
def answers(lab) -> Clients:
    """Masks answers alone, so that the demo gets what it is to say."""
    return Clients(lab("guard-answers", ANSWERS))


@pytest.fixture(scope="module")
def blocking(lab) -> Clients:
    return Clients(lab("guard-blocks", BLOCKING))


def test_requests(openai_client, anthropic_client, provider, stream):
    answer = talk.openai(openai_client, stream, model=f"{provider}/demo-echo", messages=[user(PROMPT)])
    assert answer.choices[0].message.content == MASKED
    message = talk.anthropic(anthropic_client, stream, model=f"{provider}/demo-echo", messages=[user(PROMPT)])
    assert talk.text_of(message) == MASKED


def test_receipt_counts_and_does_not_quote(openai_client, demo, key):
    answer = openai_client.chat.completions.with_raw_response.create(model="demo/demo-echo", messages=[user(PROMPT)])
    receipt = demo.receipt(answer.headers["x-portcullis-request-id"], key)
    found = {(one["direction"], one["kind"]): one["count"] for one in receipt["findings"]}
    assert found == {("request", "email"): 1, ("request", "card"): 1}
    assert SECRET not in json.dumps(receipt) and CARD not in json.dumps(receipt)


def test_answers(answers, provider, stream):
    answer = talk.openai(answers.openai, stream, model=f"{provider}/demo-echo", messages=[user(PROMPT)])
    assert answer.choices[0].message.content == MASKED
    message = talk.anthropic(answers.anthropic, stream, model=f"{provider}/demo-echo", messages=[user(PROMPT)])
    assert talk.text_of(message) == MASKED


def test_answers_without_anything_are_untouched(answers, provider, stream):
    text = "Nothing here but 12 gates @ noon, 4111, and a.b.c."
    answer = talk.openai(answers.openai, stream, model=f"{provider}/demo-echo", messages=[user(text)])
    assert answer.choices[0].message.content == text
    message = talk.anthropic(answers.anthropic, stream, model=f"{provider}/demo-echo", messages=[user(text)])
    assert talk.text_of(message) == text


SCHEMA = {
    "type": "object",
    "properties": {"to": {"type": "string", "const": SECRET}, "body": {"type": "string", "const": f'a "quote" {CARD}\n'}},
    "required": ["to", "body"],
}
MASKED_ARGUMENTS = {"to": "[EMAIL]", "body": 'a "quote" [CARD]\n'}


def test_tool_arguments(answers, provider, stream):
    """Scanned as what they say, and still JSON afterwards."""
    tool = {"type": "function", "function": {"name": "send", "parameters": SCHEMA}}
    answer = talk.openai(answers.openai, stream, model=f"{provider}/demo-tool", messages=[user("Call the tool")], tools=[tool])
    (call,) = answer.choices[0].message.tool_calls
    assert json.loads(call.function.arguments) == MASKED_ARGUMENTS
    message = talk.anthropic(
        answers.anthropic,
        stream,
        model=f"{provider}/demo-tool",
        messages=[user("Call the tool")],
        tools=[{"name": "send", "input_schema": SCHEMA}],
    )
    (block,) = [block for block in message.content if block.type == "tool_use"]
    assert block.input == MASKED_ARGUMENTS


def test_everything_in_the_bytes(answers, provider):
    """No frame of a stream shows it, in whatever field."""
    for path, more in (("/v1/chat/completions", {}), ("/v1/messages", {"max_tokens": 1000})):
        body = {"model": f"{provider}/demo-echo", "messages": [user(PROMPT)], "stream": True, **more}
        headers = {"authorization": f"Bearer {answers.secret}"}
        answer = raw.ask(answers.gate.address, "POST", path, json.dumps(body).encode(), headers)
        assert answer.status == 200
        for part in ("lovelace", "example.org", "4111 1111", "1111 1111"):
            assert part.encode() not in answer.body


def test_unsigned_reasoning(answers, stream):
    prompt = f"Is {SECRET} mine?"
    answer = talk.openai(answers.openai, stream, model="demo/demo-think", messages=[user(prompt)])
    assert "[EMAIL]" in answer.choices[0].message.model_extra["reasoning_content"]
    assert SECRET not in str(answer.to_dict())
    message = talk.anthropic(answers.anthropic, stream, model="demo/demo-think", messages=[user(prompt)])
    assert "[EMAIL]" in message.content[0].thinking
    assert SECRET not in str(message.to_dict())


def test_signed_reasoning_does_not_show_it(answers, stream):
    model, turns = "demo-anthropic/demo-think", [user(f"Is {SECRET} mine?")]
    assert SECRET not in str(talk.anthropic(answers.anthropic, stream, model=model, messages=turns).to_dict())
    assert SECRET not in str(talk.openai(answers.openai, stream, model=model, messages=turns).to_dict())


def test_conversation_goes_on_after_a_masked_thought(answers, stream):
    """Signed reasoning is passed or dropped and never edited: what was masked lost its signature and is not sent again."""
    model, turns = "demo-anthropic/demo-think", [user(f"Is {SECRET} mine?")]
    first = talk.anthropic(answers.anthropic, stream, model=model, messages=turns)
    assert (first.content[0].type, first.content[0].signature) == ("thinking", "")
    turns += [{"role": "assistant", "content": [block.to_dict() for block in first.content]}, user("Sure?")]
    assert talk.text_of(talk.anthropic(answers.anthropic, stream, model=model, messages=turns))
    turns = turns[:1]
    answer = talk.openai(answers.openai, stream, model=model, messages=turns)
    turns += [answer.choices[0].message.to_dict(), user("Sure?")]
    assert talk.openai(answers.openai, stream, model=model, messages=turns).choices[0].message.content


def test_conversation_goes_on_after_a_masked_thought_to_a_gemini_client(answers, stream):
    chat = answers.google.chats.create(
        model="demo-anthropic/demo-think",
        config={"thinking_config": {"include_thoughts": True, "thinking_budget": 2048}, "max_output_tokens": 8192},
    )

    def said(prompt: str) -> str:
        chunks = list(chat.send_message_stream(prompt)) if stream else [chat.send_message(prompt)]
        return "".join(chunk.text or "" for chunk in chunks)

    assert said(f"Is {SECRET} mine?")
    thoughts = [part.text or "" for content in chat.get_history() for part in content.parts or [] if part.thought]
    assert "[EMAIL]" in "".join(thoughts)
    assert said("Sure?")


def test_conversation_goes_on_after_a_masked_thought_to_a_client_of_responses(answers, stream):
    asked = {
        "model": "demo-anthropic/demo-think",
        "reasoning": {"effort": "low", "summary": "auto"},
        "include": ["reasoning.encrypted_content"],
        "store": False,
    }
    turns = [user(f"Is {SECRET} mine?")]
    for first in (True, False):
        answer = answers.openai.responses.create(input=turns, stream=stream, **asked)
        if stream:
            answer = list(answer)[-1].response
        assert answer.output_text
        if first:
            assert "[EMAIL]" in str([item.to_dict() for item in answer.output if item.type == "reasoning"])
            turns += [*(item.to_dict() for item in answer.output), user("Sure?")]


def test_an_unmasked_thought_keeps_its_signature(answers, stream):
    model, turns = "demo-anthropic/demo-think", [user("Is it mine?")]
    first = talk.anthropic(answers.anthropic, stream, model=model, messages=turns)
    assert first.content[0].signature
    answer = talk.openai(answers.openai, stream, model=model, messages=turns)
    assert answer.choices[0].message.model_extra["reasoning_details"][0]["signature"] == first.content[0].signature


def test_block(blocking, provider, stream):
    with pytest.raises(openai.APIStatusError) as raised:
        talk.openai(blocking.openai, stream, model=f"{provider}/demo", messages=[user(PROMPT)])
    assert raised.value.status_code in (400, 403)
    assert "pii.card" in str(raised.value.body) and CARD not in str(raised.value.body)
    with pytest.raises(anthropic.APIStatusError) as raised:
        talk.anthropic(blocking.anthropic, stream, model=f"{provider}/demo", messages=[user(PROMPT)])
    assert raised.value.status_code in (400, 403)
    assert "pii.card" in str(raised.value.body) and CARD not in str(raised.value.body)
    receipt = blocking.gate.receipt(raised.value.response.headers["x-portcullis-request-id"], blocking.secret)
    assert (receipt["outcome"]["code"], receipt["outcome"]["reason"]) == ("blocked", "pii.card")
    assert receipt["attempts"] == []
