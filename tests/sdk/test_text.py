"""Words in, words out, over all four pairs: system, turns, stop, limits, finish reasons."""

import pytest

import talk
from talk import assistant, user

TURNS = [user("Who are you?"), assistant("A demo."), user("Count to 5")]
ASKED = "Why do gates open?"


def test_openai_text(openai_client, provider, stream):
    answer = talk.openai(openai_client, stream, model=f"{provider}/demo", messages=[user(ASKED)])
    (choice,) = answer.choices
    assert ASKED in choice.message.content
    assert (choice.message.role, choice.finish_reason, answer.model) == ("assistant", "stop", "demo")
    assert answer.id and answer.created > 1_700_000_000


def test_anthropic_text(anthropic_client, provider, stream):
    answer = talk.anthropic(anthropic_client, stream, model=f"{provider}/demo", messages=[user(ASKED)])
    assert ASKED in talk.text_of(answer)
    assert (answer.role, answer.stop_reason, answer.stop_sequence) == ("assistant", "end_turn", None)
    assert answer.id and answer.model == "demo"


def test_every_pair_says_the_same(openai_client, anthropic_client, stream):
    for model in [f"{name}/demo" for name in talk.PROVIDERS]:
        answer = talk.openai(openai_client, stream, model=model, messages=TURNS)
        message = talk.anthropic(anthropic_client, stream, model=model, messages=TURNS)
        assert answer.choices[0].message.content == talk.text_of(message) == "1, 2, 3, 4, 5"


def prompt_tokens(client, provider, stream, messages, **more) -> int:
    return talk.openai(client, stream, model=f"{provider}/demo", messages=messages, **more).usage.prompt_tokens


def input_tokens(client, provider, stream, messages, **more) -> int:
    return talk.anthropic(client, stream, model=f"{provider}/demo", messages=messages, **more).usage.input_tokens


def test_turns_arrive(openai_client, anthropic_client, provider, stream):
    """The demo counts what it gets: the same in every pair, and more than the last turn alone."""
    counts = {prompt_tokens(openai_client, provider, stream, TURNS), input_tokens(anthropic_client, provider, stream, TURNS)}
    assert len(counts) == 1
    assert counts.pop() > prompt_tokens(openai_client, provider, stream, TURNS[-1:])


SYSTEM = "Answer as briefly as a gate can."


def test_system_arrives(openai_client, anthropic_client, provider, stream):
    bare = prompt_tokens(openai_client, provider, stream, TURNS)
    as_message = prompt_tokens(openai_client, provider, stream, [{"role": "system", "content": SYSTEM}, *TURNS])
    as_developer = prompt_tokens(openai_client, provider, stream, [{"role": "developer", "content": SYSTEM}, *TURNS])
    as_field = input_tokens(anthropic_client, provider, stream, TURNS, system=SYSTEM)
    as_blocks = input_tokens(anthropic_client, provider, stream, TURNS, system=[{"type": "text", "text": SYSTEM}])
    assert bare < as_message
    assert as_message == as_developer
    assert as_field == as_blocks > input_tokens(anthropic_client, provider, stream, TURNS)


def test_top_level_system_of_an_openai_request(openai_client, provider, stream):
    """A habit of Anthropic's clients, understood as a system message."""
    as_message = prompt_tokens(openai_client, provider, stream, [{"role": "system", "content": SYSTEM}, *TURNS])
    assert prompt_tokens(openai_client, provider, stream, TURNS, extra_body={"system": SYSTEM}) == as_message


def test_openai_stop(openai_client, provider, stream):
    for stop in (" 4", [" 4", "9"]):
        answer = talk.openai(openai_client, stream, model=f"{provider}/demo", messages=TURNS, stop=stop)
        assert answer.choices[0].message.content == "1, 2, 3,"
        assert answer.choices[0].finish_reason == "stop"


def test_anthropic_stop(anthropic_client, provider, stream):
    answer = talk.anthropic(anthropic_client, stream, model=f"{provider}/demo", messages=TURNS, stop_sequences=[" 4"])
    assert talk.text_of(answer) == "1, 2, 3,"
    if provider == talk.ANTHROPIC:
        assert (answer.stop_reason, answer.stop_sequence) == ("stop_sequence", " 4")
    else:
        # OpenAI does not say that it was a sequence which ended the text, nor which.
        assert (answer.stop_reason, answer.stop_sequence) == ("end_turn", None)


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_openai_limit(openai_client, provider, stream, field):
    answer = talk.openai(openai_client, stream, model=f"{provider}/demo", messages=TURNS, **{field: 3})
    assert answer.choices[0].message.content == "1, 2"
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 3


def test_anthropic_limit(anthropic_client, provider, stream):
    answer = talk.anthropic(anthropic_client, stream, model=f"{provider}/demo", messages=TURNS, max_tokens=3)
    assert (talk.text_of(answer), answer.stop_reason, answer.usage.output_tokens) == ("1, 2", "max_tokens", 3)


# This version of the SDK has no parameters for them; the API takes them.
SAMPLING = {"temperature": 0.5, "top_k": 5}


def test_sampling_is_taken(openai_client, anthropic_client, provider, stream):
    talk.openai(openai_client, stream, model=f"{provider}/demo", messages=TURNS, temperature=0.5, top_p=0.9, seed=7, user="ada")
    talk.anthropic(anthropic_client, stream, model=f"{provider}/demo", messages=TURNS, extra_body=SAMPLING)


def test_unusual_characters(openai_client, anthropic_client, provider, stream):
    text = 'Grüße, "世界" 👩‍👩‍👧 \\ / \u2028 \x7f \t end'
    answer = talk.openai(openai_client, stream, model=f"{provider}/demo-echo", messages=[user(text)])
    assert answer.choices[0].message.content == text
    message = talk.anthropic(anthropic_client, stream, model=f"{provider}/demo-echo", messages=[user(text)])
    assert talk.text_of(message) == text
