"""google-genai's embeddings, which pass through to Google: a server that answers as its reference says
(<https://ai.google.dev/api/embeddings>)."""

import pytest
from google import genai

import gateway
from upstream import Received, Recorder


def embed(received: Received) -> tuple[int, dict]:
    model, _, method = received.path.rpartition("/v1beta/")[2].rpartition(":")
    assert method == "batchEmbedContents"
    if any(one["model"] != model for one in received.body["requests"]):
        # "The model in each of these requests must match the model specified."
        error = {"code": 400, "message": "The models do not match.", "status": "INVALID_ARGUMENT"}
        return 400, {"error": error}
    texts = ["".join(part["text"] for part in one["content"]["parts"]) for one in received.body["requests"]]
    return 200, {"embeddings": [{"values": [float(len(text)), 0.5]} for text in texts]}


@pytest.fixture(scope="module")
def client(folder):
    google = Recorder(embed)
    text = "[pricing]\nunknown = \"alarm\"\n"
    text += f'[providers.google]\nplugin = "gemini"\nbase_url = "{google.address}/v1beta"\nmodels = ["*"]\n'
    running = gateway.serve(folder / "google-embeddings", text)
    with genai.Client(api_key=running.key()["key"], http_options={"base_url": running.address}) as client:
        yield client
    running.process.stop()
    google.stop()


@pytest.mark.parametrize("model", ["gemini-embedding-001", "google/gemini-embedding-001"])
def test_embeddings(client, model):
    answer = client.models.embed_content(model=model, contents=["one", "three"])
    assert [one.values for one in answer.embeddings] == [[3.0, 0.5], [5.0, 0.5]]
