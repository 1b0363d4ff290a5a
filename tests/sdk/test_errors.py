"""Failures: each SDK raises the class it has for them, whatever the provider speaks; and no detail of the operator's account
gets out."""

import anthropic
import openai
import pytest

import talk
from talk import user

ASKED = [user("Hello")]
# What the provider said, and what the caller gets. That the provider refused the gateway's credentials is not the caller's doing.
EXPECTED = {
    400: (openai.BadRequestError, anthropic.BadRequestError),
    401: (openai.InternalServerError, anthropic.InternalServerError),
    403: (openai.InternalServerError, anthropic.InternalServerError),
    404: (openai.NotFoundError, anthropic.NotFoundError),
    413: (openai.APIStatusError, anthropic.APIStatusError),
    422: (openai.BadRequestError, anthropic.BadRequestError),
    429: (openai.RateLimitError, anthropic.RateLimitError),
    500: (openai.InternalServerError, anthropic.InternalServerError),
    502: (openai.InternalServerError, anthropic.InternalServerError),
    503: (openai.InternalServerError, anthropic.InternalServerError),
    529: (openai.InternalServerError, anthropic.InternalServerError),
}
SECRETS = ("api key", "this key", "incorrect")


@pytest.fixture(scope="module")
def gate(lab):
    return lab("errors")


@pytest.fixture(scope="module")
def secret(gate):
    return gate.key()["key"]


@pytest.fixture(scope="module")
def by_openai(gate, secret):
    return openai.OpenAI(base_url=gate.openai_url, api_key=secret, max_retries=0, timeout=30)


@pytest.fixture(scope="module")
def by_anthropic(gate, secret):
    return anthropic.Anthropic(base_url=gate.address, api_key=secret, max_retries=0, timeout=30)


@pytest.mark.parametrize("status", EXPECTED)
def test_openai(by_openai, provider, stream, status):
    with pytest.raises(EXPECTED[status][0]) as raised:
        talk.openai(by_openai, stream, model=f"{provider}/demo-error-{status}", messages=ASKED)
    error = raised.value
    assert error.message and error.type
    assert 400 <= error.status_code < 600 and (error.status_code >= 500) == (status in (401, 403) or status >= 500)
    assert not any(word in str(error).lower() for word in SECRETS)
    if status == 429:
        assert error.response.headers["retry-after"] == "1"
    assert error.request_id


@pytest.mark.parametrize("status", EXPECTED)
def test_anthropic(by_anthropic, provider, stream, status):
    with pytest.raises(EXPECTED[status][1]) as raised:
        talk.anthropic(by_anthropic, stream, model=f"{provider}/demo-error-{status}", messages=ASKED)
    error = raised.value
    assert error.body["type"] == "error" and error.body["error"]["type"] and error.body["error"]["message"]
    assert 400 <= error.status_code < 600 and (error.status_code >= 500) == (status in (401, 403) or status >= 500)
    assert not any(word in str(error).lower() for word in SECRETS)
    if status == 429:
        assert error.response.headers["retry-after"] == "1"


def test_the_sdk_waits_and_tries_again(gate, secret):
    """With `retry-after` of one second, which both SDKs honour."""
    patient = openai.OpenAI(base_url=gate.openai_url, api_key=secret, max_retries=1, timeout=30)
    with pytest.raises(openai.RateLimitError):
        patient.chat.completions.create(model="demo/demo-error-429", messages=ASKED)


def test_error_within_a_stream(by_openai, by_anthropic, provider):
    said = ""
    with pytest.raises(openai.APIError):
        for chunk in by_openai.chat.completions.create(model=f"{provider}/demo-error-stream", messages=ASKED, stream=True):
            said += "".join(choice.delta.content or "" for choice in chunk.choices)
    assert said
    with pytest.raises(anthropic.APIStatusError):
        with by_anthropic.messages.stream(model=f"{provider}/demo-error-stream", messages=ASKED, max_tokens=1000) as events:
            for _ in events:
                pass


def test_cut_stream_does_not_look_whole(by_openai, by_anthropic, provider):
    """Half an answer must not pass for an answer."""
    with pytest.raises((openai.APIError, openai.APIConnectionError)):
        talk.openai(by_openai, True, model=f"{provider}/demo-cut", messages=ASKED)
    with pytest.raises((anthropic.APIError, anthropic.APIConnectionError)):
        talk.anthropic(by_anthropic, True, model=f"{provider}/demo-cut", messages=ASKED)


def test_cut_answer(by_openai, by_anthropic, provider):
    with pytest.raises(openai.InternalServerError):
        talk.openai(by_openai, False, model=f"{provider}/demo-cut", messages=ASKED)
    with pytest.raises(anthropic.InternalServerError):
        talk.anthropic(by_anthropic, False, model=f"{provider}/demo-cut", messages=ASKED)


def test_unknown_model(by_openai, by_anthropic, stream):
    for model in ("nobody/knows", "no-such-model", ""):
        with pytest.raises(openai.NotFoundError, match="does not exist here") as raised:
            talk.openai(by_openai, stream, model=model, messages=ASKED)
        assert (raised.value.code, raised.value.param) == ("model_not_found", "model")
        with pytest.raises(anthropic.NotFoundError, match="does not exist here") as raised:
            talk.anthropic(by_anthropic, stream, model=model, messages=ASKED)
        assert raised.value.body["error"]["type"] == "not_found_error"


def test_invalid_requests_name_the_field(by_openai, by_anthropic):
    with pytest.raises(openai.BadRequestError, match="messages"):
        by_openai.chat.completions.create(model="demo-anthropic/demo", messages="not a list")
    with pytest.raises(anthropic.BadRequestError, match="messages"):
        by_anthropic.messages.create(model="demo/demo", max_tokens=10, messages="not a list")
    with pytest.raises(openai.BadRequestError):
        by_openai.chat.completions.create(model="demo-anthropic/demo", messages=[{"role": "nobody", "content": "Hi"}])
    with pytest.raises(anthropic.BadRequestError):
        by_anthropic.messages.create(model="demo/demo", max_tokens=10, messages=[{"role": "user", "content": [{"type": 7}]}])


def test_several_answers_cannot_come_from_anthropic(gate, secret, by_openai):
    raw = by_openai.chat.completions.with_raw_response.create(model="demo-anthropic/demo", messages=ASKED, n=2)
    assert len(raw.parse().choices) == 1
    assert {"code": "dropped", "subject": "n"} in gate.receipt(raw.headers["x-portcullis-request-id"], secret)["notes"]
