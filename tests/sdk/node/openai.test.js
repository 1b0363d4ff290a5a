// The official JavaScript SDK against the demo: what it streams, joins, parses and throws, before both kinds of provider.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { demo, openai } from "./gateway.js";

const { default: OpenAI, ...sdk } = await openai();
const PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==";
const ASKED = [{ role: "user", content: "Count to 5" }];
const TOOLS = [
  ["get_weather", { city: { type: "string" } }],
  ["get_time", { zone: { enum: ["UTC"] } }],
].map(([name, properties]) => ({
  type: "function",
  function: { name, parameters: { type: "object", properties, required: Object.keys(properties) } },
}));

let gateway, client;

before(async () => {
  gateway = await demo();
  client = new OpenAI({ baseURL: gateway.url, apiKey: gateway.key, maxRetries: 0, timeout: 30_000 });
});

after(() => gateway?.stop());

/** Whole, or streamed through the SDK's own accumulation. */
async function ask(stream, request) {
  if (!stream) return client.chat.completions.create(request);
  return client.chat.completions.stream({ stream_options: { include_usage: true }, ...request }).finalChatCompletion();
}

for (const provider of ["demo", "demo-anthropic"]) {
  for (const stream of [false, true]) {
    describe(`${provider}, ${stream ? "stream" : "whole"}`, () => {
      test("text, finish reason and usage", async () => {
        const answer = await ask(stream, { model: `${provider}/demo`, messages: ASKED });
        assert.equal(answer.choices[0].message.content, "1, 2, 3, 4, 5");
        assert.equal(answer.choices[0].finish_reason, "stop");
        assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
        assert.ok(answer.usage.prompt_tokens > 0);
      });

      test("a limit", async () => {
        const { choices } = await client.chat.completions.create({
          model: `${provider}/demo`, messages: ASKED, max_completion_tokens: 3,
        });
        assert.deepEqual([choices[0].message.content, choices[0].finish_reason], ["1, 2", "length"]);
      });

      test("parallel calls and their results", async () => {
        const messages = [{ role: "user", content: "Please call the tools, both of them." }];
        const first = await ask(stream, { model: `${provider}/demo`, messages, tools: TOOLS });
        const { message, finish_reason } = first.choices[0];
        assert.equal(finish_reason, "tool_calls");
        assert.deepEqual(
          message.tool_calls.map((call) => [call.function.name, JSON.parse(call.function.arguments)]),
          [["get_weather", { city: "demo city" }], ["get_time", { zone: "UTC" }]],
        );
        messages.push(message);
        for (const call of message.tool_calls) {
          messages.push({ role: "tool", tool_call_id: call.id, content: `said ${call.function.name}` });
        }
        const second = await ask(stream, { model: `${provider}/demo`, messages, tools: TOOLS });
        assert.equal(
          second.choices[0].message.content,
          "The tool answered: said get_weather\nThe tool answered: said get_time",
        );
      });

      test("an image", async () => {
        const content = [
          { type: "text", text: "What is this?" },
          { type: "image_url", image_url: { url: `data:image/png;base64,${PICTURE}` } },
        ];
        const answer = await ask(stream, { model: `${provider}/demo`, messages: [{ role: "user", content }] });
        assert.match(answer.choices[0].message.content, /I received one image\./);
      });

      test("a schema", async () => {
        const schema = {
          type: "object", properties: { open: { type: "boolean" } }, required: ["open"], additionalProperties: false,
        };
        const answer = await ask(stream, {
          model: `${provider}/demo`,
          messages: [{ role: "user", content: "Open? JSON." }],
          response_format: { type: "json_schema", json_schema: { name: "gate", schema, strict: true } },
        });
        assert.deepEqual(JSON.parse(answer.choices[0].message.content), { open: true });
      });

      test("masked in the request", async () => {
        const messages = [{ role: "user", content: "I am ada@example.org." }];
        const answer = await ask(stream, { model: `${provider}/demo-echo`, messages });
        assert.equal(answer.choices[0].message.content, "I am [EMAIL].");
      });
    });
  }

  test(`${provider}: usage only where asked`, async () => {
    const usages = async (options) => {
      const found = [];
      const request = { model: `${provider}/demo`, messages: ASKED, stream: true, ...options };
      for await (const chunk of await client.chat.completions.create(request)) {
        assert.equal(chunk.object, "chat.completion.chunk");
        if (chunk.usage) found.push(chunk);
      }
      return found;
    };
    assert.deepEqual(await usages({}), []);
    const [only, ...more] = await usages({ stream_options: { include_usage: true } });
    assert.deepEqual([only.choices, more], [[], []]);
  });

  test(`${provider}: errors have their classes`, async () => {
    const failing = (model, key = gateway.key) =>
      new OpenAI({ baseURL: gateway.url, apiKey: key, maxRetries: 0 }).chat.completions.create({ model, messages: ASKED });
    await assert.rejects(failing(`${provider}/demo-error-400`), sdk.BadRequestError);
    await assert.rejects(failing(`${provider}/demo-error-404`), sdk.NotFoundError);
    await assert.rejects(failing("nobody/knows"), sdk.NotFoundError);
    await assert.rejects(failing(`${provider}/demo-error-429`), (error) => {
      assert.ok(error instanceof sdk.RateLimitError);
      assert.equal(error.headers.get("retry-after"), "1");
      return true;
    });
    await assert.rejects(failing(`${provider}/demo-error-500`), sdk.InternalServerError);
    await assert.rejects(failing(`${provider}/demo`, "pc_prod_wrong"), sdk.AuthenticationError);
  });

  test(`${provider}: an error within a stream`, async () => {
    const chunks = await client.chat.completions.create({
      model: `${provider}/demo-error-stream`, messages: ASKED, stream: true,
    });
    let said = "";
    await assert.rejects(async () => {
      for await (const chunk of chunks) said += chunk.choices[0]?.delta.content ?? "";
    }, sdk.APIError);
    assert.ok(said);
  });

  test(`${provider}: leaving early`, async () => {
    const chunks = await client.chat.completions.create({
      model: `${provider}/demo-long-500`, messages: ASKED, stream: true,
    });
    for await (const chunk of chunks) if (chunk.choices[0]?.delta.content) break;
    const answer = await client.chat.completions.create({ model: `${provider}/demo`, messages: ASKED });
    assert.equal(answer.choices[0].message.content, "1, 2, 3, 4, 5");
  });
}

test("auto, models and receipts", async () => {
  const { data, response } = await client.chat.completions.create({ model: "auto", messages: ASKED }).withResponse();
  assert.equal(data.choices[0].message.content, "1, 2, 3, 4, 5");
  const names = [];
  for await (const model of client.models.list()) names.push(model.id);
  assert.ok(names.includes("demo/demo") && names.includes("demo-anthropic/demo"));
  const id = response.headers.get("x-portcullis-request-id");
  assert.equal(data._request_id, id);
  for (let attempt = 0; ; attempt++) {
    const receipt = await fetch(`${gateway.url}/receipts/${id}`, { headers: { authorization: `Bearer ${gateway.key}` } });
    if (receipt.status === 404 && attempt < 200) {
      await new Promise((resolve) => setTimeout(resolve, 50));
      continue;
    }
    assert.equal((await receipt.json()).outcome.code, "ok");
    break;
  }
});
