"""Keys: both headers, none, wrong, revoked and expired ones, and what a key may use."""

import time

import anthropic
import openai
import pytest

import raw
import talk
from talk import user

ASKED = [user("Hello")]
GOOD = b'{"model": "demo/demo", "max_tokens": 20, "messages": [{"role": "user", "content": "Hello"}]}'
PATHS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}


@pytest.fixture(scope="module")
def gate(lab):
    return lab("keys")


def by_openai(gate, secret):
    return openai.OpenAI(base_url=gate.openai_url, api_key=secret, max_retries=0, timeout=30)


def by_anthropic(gate, secret, **how):
    return anthropic.Anthropic(base_url=gate.address, max_retries=0, timeout=30, **(how or {"api_key": secret}))


def assert_refused(gate, secret):
    """Within the moment that a change takes to be noticed."""
    end = time.monotonic() + 5
    while True:
        try:
            by_openai(gate, secret).models.list()
            assert time.monotonic() < end, "the key still works"
            time.sleep(0.1)
        except openai.AuthenticationError as error:
            assert error.response.headers["www-authenticate"] == "Bearer"
            break
    with pytest.raises(anthropic.AuthenticationError) as raised:
        talk.anthropic(by_anthropic(gate, secret), False, model="demo/demo", messages=ASKED)
    assert raised.value.body["error"]["type"] == "authentication_error"


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_either_header(gate, path):
    secret = gate.key()["key"]
    for headers in ({"authorization": f"Bearer {secret}"}, {"authorization": f"bearer {secret}"}, {"x-api-key": secret}):
        assert raw.ask(gate.address, "POST", path, GOOD, headers).status == 200


def test_anthropic_client_with_bearer(gate):
    client = by_anthropic(gate, None, auth_token=gate.key()["key"])
    assert talk.anthropic(client, False, model="demo/demo", messages=ASKED).content


@pytest.mark.parametrize("secret", ["pc_prod_wrong", "sk-something", "pc_dev_" + "A" * 43, "x" * 5000])
def test_wrong(gate, secret):
    assert_refused(gate, secret)


def test_none(gate):
    for path in [*PATHS.values(), "/v1/models"]:
        method = "GET" if path == "/v1/models" else "POST"
        for headers in ({}, {"authorization": ""}, {"authorization": "Bearer "}, {"authorization": "Basic abc"}):
            answer = raw.ask(gate.address, method, path, GOOD, headers)
            assert answer.status == 401, headers
            assert "error" in answer.json()


def test_health_needs_no_key(gate):
    for path in ("/healthz", "/readyz"):
        assert raw.ask(gate.address, "GET", path).status == 200


def test_prefixes(gate):
    assert gate.key("--environment", "production")["key"].startswith("pc_prod_")
    assert gate.key("--environment", "development")["key"].startswith("pc_dev_")


def test_revoked(gate):
    made = gate.key()
    by_openai(gate, made["key"]).models.list()
    gate.command("key", "revoke", made["id"])
    assert_refused(gate, made["key"])


def test_expired(gate):
    by_openai(gate, gate.key("--expires-in-days", "1")["key"]).models.list()
    assert_refused(gate, gate.key("--expires-in-days", "0")["key"])


def test_secrets_are_not_kept(gate):
    secret = gate.key()["key"]
    assert secret not in gate.command("key", "list", "--json")
    files = [file for file in gate.config.parent.rglob("*") if file.is_file()]
    assert gate.config.parent / "portcullis.db" in files
    assert not any(secret.encode() in file.read_bytes() for file in files)
    assert secret not in gate.process.text()


def test_allowed_models(gate):
    secret = gate.key("--model", "demo/demo")["key"]
    client = by_openai(gate, secret)
    assert talk.openai(client, False, model="demo/demo", messages=ASKED).choices
    for model in ("demo/demo-echo", "demo-anthropic/demo"):
        with pytest.raises((openai.PermissionDeniedError, openai.NotFoundError)):
            client.chat.completions.create(model=model, messages=ASKED)
        with pytest.raises((anthropic.PermissionDeniedError, anthropic.NotFoundError)):
            talk.anthropic(by_anthropic(gate, secret), False, model=model, messages=ASKED)
    assert [model.id for model in client.models.list()] == ["demo/demo"]


def test_allowed_providers(gate):
    secret = gate.key("--provider", "demo-anthropic")["key"]
    client = by_openai(gate, secret)
    assert talk.openai(client, False, model="demo-anthropic/demo", messages=ASKED).choices
    assert talk.openai(client, False, model="auto", messages=ASKED).choices
    with pytest.raises((openai.PermissionDeniedError, openai.NotFoundError)):
        client.chat.completions.create(model="demo/demo", messages=ASKED)
    assert {model.id.split("/")[0] for model in client.models.list()} == {"demo-anthropic"}
