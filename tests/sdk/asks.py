"""What clients ask, in each protocol: a broad set of requests that every provider should be able to read."""

import talk

URL = f"data:image/png;base64,{talk.PICTURE}"
WAV = "UklGRiQAAABXQVZFZm10IA=="
PDF = "JVBERi0xLjQKJSVFT0YK"
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
# What providers' schema dialects stumble over.
TREE = {
    "type": "object",
    "properties": {
        "place": {"$ref": "#/$defs/place"},
        "unit": {"anyOf": [{"enum": ["C", "F"]}, {"type": "null"}]},
        "days": {"type": "integer", "minimum": 1, "maximum": 7},
        "names": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["place", "unit", "days", "names"],
    "additionalProperties": False,
    "$defs": {"place": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"], "additionalProperties": False}},
}
HELLO = [talk.user("Hello")]


def function(name: str, schema=None) -> dict:
    described = {"name": name, "description": f"Does {name}"}
    return {"type": "function", "function": described if schema is None else {**described, "parameters": schema}}


def called(identity: str, name: str, arguments: str) -> dict:
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}


def result(identity: str, content) -> dict:
    return {"role": "tool", "tool_call_id": identity, "content": content}


OPENAI_TURNS = [
    talk.user("What now?"),
    {"role": "assistant", "content": "Let me see.", "tool_calls": [called("call_1", "weather", '{"city": "Oslo"}'), called("call_2", "clock", "{}")]},
    result("call_1", "rain"),
    result("call_2", [{"type": "text", "text": "noon"}]),
]
OPENAI_TOOLS = [function("weather", CITY), function("clock")]
OPENAI = {
    "text": {"messages": HELLO},
    "system": {"messages": [{"role": "system", "content": "Be brief."}, {"role": "developer", "content": "And kind."}, *HELLO]},
    "turns": {"messages": [talk.user("One"), talk.assistant("Two"), talk.user("Three"), talk.user("Four")]},
    "empty": {"messages": [talk.user("One"), talk.assistant(""), talk.user("Three")]},
    "image": {"messages": [talk.user([{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": URL, "detail": "low"}}])]},
    "audio": {
        "messages": [
            talk.user([{"type": "text", "text": "What?"}, {"type": "input_audio", "input_audio": {"data": WAV, "format": "wav"}}])
        ]
    },
    "document": {
        "messages": [
            talk.user(
                [
                    {"type": "text", "text": "What?"},
                    {"type": "file", "file": {"filename": "notes.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}},
                ]
            )
        ]
    },
    "tools": {"messages": HELLO, "tools": OPENAI_TOOLS, "tool_choice": "auto"},
    "schemas": {"messages": HELLO, "tools": [function("tree", TREE)], "tool_choice": "required"},
    "strict": {"messages": HELLO, "tools": [{"type": "function", "function": {**function("w", CITY)["function"], "strict": True}}]},
    "named-tool": {"messages": HELLO, "tools": OPENAI_TOOLS, "tool_choice": {"type": "function", "function": {"name": "clock"}}},
    "no-tool": {"messages": HELLO, "tools": OPENAI_TOOLS, "tool_choice": "none"},
    "one-by-one": {"messages": HELLO, "tools": OPENAI_TOOLS, "parallel_tool_calls": False},
    "parallel-results": {"messages": OPENAI_TURNS, "tools": OPENAI_TOOLS},
    "results-and-remark": {"messages": [*OPENAI_TURNS, talk.user("Well?")], "tools": OPENAI_TOOLS},
    "results-without-tools": {"messages": OPENAI_TURNS},
    "schema": {"messages": HELLO, "response_format": {"type": "json_schema", "json_schema": {"name": "shape", "schema": TREE, "strict": True}}},
    "json": {"messages": [talk.user("JSON please")], "response_format": {"type": "json_object"}},
    "reasoning": {"messages": HELLO, "reasoning_effort": "high", "max_completion_tokens": 32000},
    "stop": {"messages": HELLO, "stop": ["END", "STOP"]},
    "one-stop": {"messages": HELLO, "stop": "END"},
    "sampling": {"messages": HELLO, "temperature": 0.5, "top_p": 0.9, "max_completion_tokens": 100, "seed": 7},
    "penalties": {"messages": HELLO, "presence_penalty": 0.5, "frequency_penalty": 0.25},
    "user": {"messages": HELLO, "user": "u-1", "metadata": {"a": "b"}, "store": False},
    "stream": {"messages": HELLO, "stream": True, "stream_options": {"include_usage": True}},
}

ANTHROPIC_TURNS = [
    talk.user("What now?"),
    talk.assistant(
        [
            {"type": "text", "text": "Let me see."},
            {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Oslo"}},
            {"type": "tool_use", "id": "toolu_2", "name": "clock", "input": {}},
        ]
    ),
    talk.user(
        [
            {"type": "tool_result", "tool_use_id": "toolu_1", "content": "rain", "is_error": True},
            {"type": "tool_result", "tool_use_id": "toolu_2", "content": [{"type": "text", "text": "noon"}]},
            {"type": "text", "text": "Well?"},
        ]
    ),
]
ANTHROPIC_TOOLS = [
    {"name": "weather", "description": "Does weather", "input_schema": CITY, "cache_control": {"type": "ephemeral"}},
    {"name": "clock", "input_schema": {"type": "object"}},
]
PICTURE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": talk.PICTURE}}
CACHED = {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
ANTHROPIC = {
    "text": {"messages": HELLO},
    "system": {"system": [CACHED, {"type": "text", "text": "And kind."}], "messages": HELLO},
    "turns": {"messages": [talk.user("One"), talk.assistant("Two"), talk.user("Three")]},
    "image": {"messages": [talk.user([PICTURE, {"type": "text", "text": "What?"}])]},
    "document": {
        "messages": [
            talk.user(
                [
                    {"type": "document", "title": "notes", "source": {"type": "base64", "media_type": "application/pdf", "data": PDF}},
                    {"type": "text", "text": "What?"},
                ]
            )
        ]
    },
    "tools": {"messages": HELLO, "tools": ANTHROPIC_TOOLS, "tool_choice": {"type": "auto"}},
    "schemas": {"messages": HELLO, "tools": [{"name": "tree", "input_schema": TREE}], "tool_choice": {"type": "any"}},
    "named-tool": {"messages": HELLO, "tools": ANTHROPIC_TOOLS, "tool_choice": {"type": "tool", "name": "clock"}},
    "one-by-one": {"messages": HELLO, "tools": ANTHROPIC_TOOLS, "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
    "parallel-results": {"messages": ANTHROPIC_TURNS, "tools": ANTHROPIC_TOOLS},
    "results-without-tools": {"messages": ANTHROPIC_TURNS},
    "image-result": {
        "messages": [
            *ANTHROPIC_TURNS[:1],
            talk.assistant([{"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}}]),
            talk.user([{"type": "tool_result", "tool_use_id": "toolu_1", "content": [PICTURE, {"type": "text", "text": "seen"}]}]),
        ],
        "tools": ANTHROPIC_TOOLS,
    },
    "schema": {"messages": HELLO, "output_config": {"format": {"type": "json_schema", "schema": TREE}}},
    "thinking": {"messages": HELLO, "thinking": {"type": "enabled", "budget_tokens": 2048}, "max_tokens": 4096},
    "signed-thinking": {
        "messages": [
            talk.user("Hello"),
            talk.assistant([{"type": "thinking", "thinking": "Hm.", "signature": "RGVt"}, {"type": "text", "text": "Yes?"}]),
            talk.user("Well?"),
        ],
        "thinking": {"type": "enabled", "budget_tokens": 2048},
        "max_tokens": 4096,
    },
    "stop": {"messages": HELLO, "stop_sequences": ["END", "STOP"]},
    "sampling": {"messages": HELLO, "temperature": 0.5},
    "top": {"messages": HELLO, "top_p": 0.9, "top_k": 40},
    "user": {"messages": HELLO, "metadata": {"user_id": "u-1"}},
    "stream": {"messages": HELLO, "stream": True},
}

RESPONSES_TOOLS = [
    {"type": "function", "name": "weather", "description": "Does weather", "parameters": CITY, "strict": True},
    {"type": "function", "name": "clock", "parameters": None, "strict": None},
]
RESPONSES_TURNS = [
    talk.user("What now?"),
    talk.assistant("Let me see."),
    {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": '{"city": "Oslo"}'},
    {"type": "function_call", "call_id": "call_2", "name": "clock", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "call_1", "output": "rain"},
    {"type": "function_call_output", "call_id": "call_2", "output": [{"type": "input_text", "text": "noon"}]},
    talk.user("Well?"),
]
REASONED = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}], "encrypted_content": "RGVt"}
RESPONSES = {
    "text": {"input": "Hello"},
    "system": {"instructions": "Be brief.", "input": [{"role": "developer", "content": "And kind."}, *HELLO]},
    "turns": {"input": [talk.user("One"), talk.assistant("Two"), talk.user("Three")]},
    "image": {
        "input": [talk.user([{"type": "input_text", "text": "What?"}, {"type": "input_image", "image_url": URL, "detail": "auto"}])]
    },
    "document": {
        "input": [
            talk.user(
                [
                    {"type": "input_text", "text": "What?"},
                    {"type": "input_file", "filename": "notes.pdf", "file_data": f"data:application/pdf;base64,{PDF}"},
                ]
            )
        ]
    },
    "tools": {"input": HELLO, "tools": RESPONSES_TOOLS, "tool_choice": "auto"},
    "schemas": {
        "input": HELLO,
        "tools": [{"type": "function", "name": "tree", "parameters": TREE, "strict": False}],
        "tool_choice": "required",
    },
    "named-tool": {"input": HELLO, "tools": RESPONSES_TOOLS, "tool_choice": {"type": "function", "name": "clock"}},
    "one-by-one": {"input": HELLO, "tools": RESPONSES_TOOLS, "parallel_tool_calls": False},
    "parallel-results": {"input": RESPONSES_TURNS, "tools": RESPONSES_TOOLS},
    "results-without-tools": {"input": RESPONSES_TURNS},
    "schema": {"input": HELLO, "text": {"format": {"type": "json_schema", "name": "shape", "schema": TREE, "strict": True}}},
    "json": {"input": "JSON please", "text": {"format": {"type": "json_object"}}},
    "reasoning": {"input": HELLO, "reasoning": {"effort": "high", "summary": "auto"}, "max_output_tokens": 32000},
    "encrypted": {
        "input": [talk.user("Hello"), REASONED, talk.assistant("Two"), talk.user("Well?")],
        "include": ["reasoning.encrypted_content"],
        "store": False,
    },
    "sampling": {"input": HELLO, "temperature": 0.5, "top_p": 0.9},
    "user": {"input": HELLO, "user": "u-1", "metadata": {"a": "b"}, "store": False},
    "stream": {"input": HELLO, "stream": True},
}


def said(role: str, *parts) -> dict:
    return {"role": role, "parts": list(parts)}


GEMINI_HELLO = [said("user", {"text": "Hello"})]
GEMINI_TOOLS = [
    {
        "functionDeclarations": [
            {
                "name": "weather",
                "description": "Does weather",
                "parameters": {"type": "OBJECT", "properties": {"city": {"type": "STRING", "nullable": True}}, "required": ["city"]},
            },
            {"name": "clock"},
        ]
    }
]
GEMINI_TURNS = [
    said("user", {"text": "What now?"}),
    said(
        "model",
        {"text": "Let me see."},
        {"functionCall": {"name": "weather", "args": {"city": "Oslo"}}, "thoughtSignature": "RGVt"},
        {"functionCall": {"name": "clock", "args": {}}},
    ),
    said(
        "user",
        {"functionResponse": {"name": "weather", "response": {"output": "rain"}}},
        {"functionResponse": {"name": "clock", "response": {"output": "noon"}}},
        {"text": "Well?"},
    ),
]


def calling(mode: str, *names) -> dict:
    return {"functionCallingConfig": {"mode": mode, **({"allowedFunctionNames": list(names)} if names else {})}}


GEMINI = {
    "text": {"contents": GEMINI_HELLO},
    "system": {"systemInstruction": {"parts": [{"text": "Be brief."}, {"text": "And kind."}]}, "contents": GEMINI_HELLO},
    "turns": {"contents": [said("user", {"text": "One"}), said("model", {"text": "Two"}), said("user", {"text": "Three"})]},
    "image": {"contents": [said("user", {"inlineData": {"mimeType": "image/png", "data": talk.PICTURE}}, {"text": "What?"})]},
    "audio": {"contents": [said("user", {"inlineData": {"mimeType": "audio/wav", "data": WAV}}, {"text": "What?"})]},
    "document": {"contents": [said("user", {"inlineData": {"mimeType": "application/pdf", "data": PDF}}, {"text": "What?"})]},
    "tools": {"contents": GEMINI_HELLO, "tools": GEMINI_TOOLS, "toolConfig": calling("AUTO")},
    "schemas": {
        "contents": GEMINI_HELLO,
        "tools": [{"functionDeclarations": [{"name": "tree", "description": "A", "parametersJsonSchema": TREE}]}],
        "toolConfig": calling("ANY"),
    },
    "named-tool": {"contents": GEMINI_HELLO, "tools": GEMINI_TOOLS, "toolConfig": calling("ANY", "clock")},
    "no-tool": {"contents": GEMINI_HELLO, "tools": GEMINI_TOOLS, "toolConfig": calling("NONE")},
    "parallel-results": {"contents": GEMINI_TURNS, "tools": GEMINI_TOOLS},
    "results-without-tools": {"contents": GEMINI_TURNS},
    "schema": {
        "contents": GEMINI_HELLO,
        "generationConfig": {"responseMimeType": "application/json", "responseJsonSchema": TREE},
    },
    "json": {"contents": [said("user", {"text": "JSON please"})], "generationConfig": {"responseMimeType": "application/json"}},
    "thinking": {
        "contents": GEMINI_HELLO,
        "generationConfig": {"thinkingConfig": {"thinkingBudget": 2048, "includeThoughts": True}, "maxOutputTokens": 4096},
    },
    "stop": {"contents": GEMINI_HELLO, "generationConfig": {"stopSequences": ["END", "STOP"]}},
    "sampling": {"contents": GEMINI_HELLO, "generationConfig": {"temperature": 0.5, "topP": 0.9, "topK": 40, "seed": 7}},
    "penalties": {"contents": GEMINI_HELLO, "generationConfig": {"presencePenalty": 0.5, "frequencyPenalty": 0.25}},
    "stream": {"contents": GEMINI_HELLO},
}
ALL = {"openai": OPENAI, "anthropic": ANTHROPIC, "responses": RESPONSES, "gemini": GEMINI}
# What somebody wrote: wherever a request goes, it arrives.
WORDS = [
    *("Hello", "One", "Two", "Three", "Four", "Be brief.", "And kind.", "JSON please", "What?", "What now?", "Let me see."),
    *("Oslo", "rain", "noon", "Well?", "seen"),
]
# Asks about something else than words, which a provider may have no ear for.
MEDIA = ["audio", "document"]
# What a provider may have no place for: tools, pictures in their results, and such.
OFFERED = ["weather", "clock", "tree", talk.PICTURE, WAV, PDF]


def request(protocol: str, name: str, model: str) -> tuple[str, dict]:
    """Path and body."""
    body = ALL[protocol][name]
    match protocol:
        case "gemini":
            method = "streamGenerateContent?alt=sse" if name == "stream" else "generateContent"
            return f"/v1beta/models/{model}:{method}", body
        case "anthropic":
            return "/v1/messages", {"model": model, "max_tokens": 1024, **body}
        case "responses":
            return "/v1/responses", {"model": model, **body}
        case _:
            return "/v1/chat/completions", {"model": model, **body}
