"""Who was recorded, and by which plugin the gateway speaks to them: a table, from which the configuration is written."""

import dataclasses

import gateway


@dataclasses.dataclass(frozen=True)
class Upstream:
    # As the table of results names it.
    name: str
    # The recordings' file, and which of its operations.
    provider: str
    operations: tuple
    plugin: str
    # The reader in `wire`.
    wire: str
    # Before the endpoint's own path.
    base: str = ""
    auth: str = "bearer"
    # The header that shows the credential, and how it begins.
    credential: tuple = ("authorization", "Bearer secret-of-tests")
    # Words that the recorded path must have.
    path: str = ""
    # The protocols of clients that reach it; all where none is named.
    clients: tuple = ()

    @property
    def present(self) -> bool:
        return (gateway.PLUGINS / f"{self.plugin}.wasm").exists()

    def connection(self, name: str, address: str) -> str:
        secret = "" if self.auth == "aws-sigv4" else 'api_key = "secret-of-tests"\n'
        keys = 'access_key_id = "AKIDTESTS"\nsecret_access_key = "secret"\nregion = "us-east-1"\n'
        signing = f"[providers.{name}.aws]\n{keys}" if self.auth == "aws-sigv4" else ""
        return (
            f'[providers.{name}]\nplugin = "{self.plugin}"\nbase_url = "{address}{self.base}"\nauth = "{self.auth}"\n{secret}'
            f'models = ["rec-00000", "*"]\nonly = ["none"]\n{signing}'
        )


def chat(provider: str, plugin: str, base: str = "/v1", **more) -> Upstream:
    return Upstream(f"{provider}, chat" if plugin != provider else provider, provider, ("chat/completions",), plugin, "compatible", base, **more)


def responses(provider: str, base: str = "/v1", operation: str = "v1/responses") -> Upstream:
    return Upstream(f"{provider}, responses", provider, (operation,), "openai", "responses", base)


GOOGLE = {"auth": "header:x-goog-api-key", "credential": ("x-goog-api-key", "secret-of-tests")}
AZURE = {"auth": "header:api-key", "credential": ("api-key", "secret-of-tests")}
ANTHROPIC = {"auth": "header:x-api-key", "credential": ("x-api-key", "secret-of-tests")}
AWS = {"auth": "aws-sigv4", "credential": ("authorization", "AWS4-HMAC-SHA256 Credential=AKIDTESTS/")}
VERTEX = "/v1/projects/p/locations/global/publishers/google"
GEMINI = ("generateContent", "streamGenerateContent")

UPSTREAMS = [
    # Tested with clients of both protocols in `test_recordings.py`. A client of Responses reaches OpenAI at its Responses
    # endpoint, and these answers at a server that has none.
    Upstream("openai", "openai", ("chat/completions",), "openai-compatible", "compatible", "/v1", clients=("responses",)),
    responses("openai"),
    Upstream("anthropic", "anthropic", ("v1/messages",), "anthropic", "anthropic", clients=("responses",), **ANTHROPIC),
    Upstream("gemini", "gemini", GEMINI, "gemini", "gemini", "/v1beta", **GOOGLE),
    Upstream("vertex", "vertex", GEMINI, "gemini", "gemini", VERTEX),
    Upstream("bedrock", "bedrock", ("converse", "converse-stream"), "bedrock", "bedrock", **AWS),
    # Claude on Bedrock by its own documents, whose frames are taken out of Amazon's.
    Upstream(
        "bedrock, claude's",
        "bedrock",
        ("invoke", "invoke-with-response-stream"),
        "anthropic",
        "anthropic",
        path="anthropic.claude",
        **ANTHROPIC,
    ),
    responses("bedrock", "/openai/v1"),
    chat("bedrock", "openai-compatible", "/openai/v1"),
    Upstream("cohere", "cohere", ("v2/chat",), "cohere", "cohere"),
    Upstream("ollama", "ollama", ("api/chat",), "ollama", "ollama"),
    chat("ollama", "openai-compatible"),
    chat("gemini", "openai-compatible", "/v1beta/openai"),
    chat("azure", "azure", "/openai", **AZURE),
    responses("azure", "/openai/v1"),
    chat("mistral", "mistral"),
    chat("deepseek", "deepseek", ""),
    responses("deepseek", "/v1", "responses"),
    chat("groq", "groq", "/openai/v1"),
    chat("cerebras", "cerebras"),
    chat("together", "together"),
    chat("openrouter", "openrouter", "/api/v1"),
    responses("openrouter", "/api/v1"),
    chat("z.ai", "openai-compatible", "/api/paas/v4"),
]

# What else was recorded of conversations, and why it does not come in here.
ELSEWHERE = {
    ("bedrock", "invoke"): "models' own formats; the plugin speaks Converse, which is the same for all models",
    ("bedrock", "invoke-with-response-stream"): "models' own formats; the plugin speaks ConverseStream",
    ("cohere", "v1/chat"): "the first version, which Cohere replaced by the second",
    ("ollama", "api/generate"): "completion of a text; the plugin speaks Ollama's chat",
    ("openai", "v1/completions"): "passes through, whatever its shape; tests/it covers the operation",
    ("together", "v1/completions"): "passes through, whatever its shape; tests/it covers the operation",
}
CONVERSATIONS = {operation for upstream in UPSTREAMS for operation in upstream.operations} | {
    operation for _, operation in ELSEWHERE
}
