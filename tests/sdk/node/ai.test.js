// The Vercel AI SDK: its OpenAI provider (Chat Completions and Responses), its Anthropic and its Google provider, before providers of
// three protocols.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { demo, load } from "./gateway.js";

const { embedMany, generateText, Output, stepCountIs, streamText, tool } = await load("ai");
const { createOpenAI } = await load("@ai-sdk/openai");
const { createAnthropic } = await load("@ai-sdk/anthropic");
const { createGoogleGenerativeAI } = await load("@ai-sdk/google");
const { z } = await load("zod");
const PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==";

let gateway, clients, openai;

before(async () => {
  gateway = await demo();
  openai = createOpenAI({ baseURL: gateway.url, apiKey: gateway.key });
  const anthropic = createAnthropic({ baseURL: gateway.url, apiKey: gateway.key });
  const google = createGoogleGenerativeAI({ baseURL: gateway.url.replace(/v1$/, "v1beta"), apiKey: gateway.key });
  // What has a slash it takes for a path, so that the path is whole.
  clients = { chat: openai.chat, responses: openai.responses, messages: anthropic, google: (name) => google(`models/${name}`) };
});

after(() => gateway?.stop());

/** Text, calls, finish reason and usage of an answer, whole or streamed. */
async function ask(stream, request) {
  const options = { maxRetries: 0, maxOutputTokens: 4096, ...request };
  if (!stream) {
    const { text, steps, finishReason, usage, output } = await generateText(options);
    return { text, steps, finishReason, usage, output: request.output && output };
  }
  const errors = [];
  const answer = streamText({ ...options, onError: ({ error }) => errors.push(error) });
  let pieces = "";
  for await (const piece of answer.textStream) pieces += piece;
  if (errors.length) throw errors[0];
  const [text, steps, finishReason, usage] = await Promise.all([answer.text, answer.steps, answer.finishReason, answer.usage]);
  assert.ok(pieces.endsWith(text));
  return { text, steps, finishReason, usage, output: request.output && (await answer.output) };
}

for (const protocol of ["chat", "responses", "messages", "google"]) {
  for (const provider of ["demo", "demo-anthropic", "demo-gemini"]) {
    for (const stream of [false, true]) {
      describe(`${protocol} to ${provider}, ${stream ? "stream" : "whole"}`, () => {
        const model = (name = "demo") => clients[protocol](`${provider}/${name}`);

        test("text, finish reason and usage", async () => {
          const answer = await ask(stream, { model: model(), system: "Be brief.", prompt: "Count to 5" });
          assert.deepEqual([answer.text, answer.finishReason], ["1, 2, 3, 4, 5", "stop"]);
          assert.equal(answer.usage.outputTokens, 9);
          assert.ok(answer.usage.inputTokens > 0);
        });

        test("a limit", async () => {
          const answer = await ask(stream, { model: model(), prompt: "Count to 5", maxOutputTokens: 3 });
          assert.deepEqual([answer.text, answer.finishReason], ["1, 2", "length"]);
        });

        test("tools, run and answered", async () => {
          const tools = {
            get_weather: tool({
              description: "The weather",
              inputSchema: z.object({ city: z.string() }),
              execute: async ({ city }) => `rain in ${city}`,
            }),
            get_time: tool({ description: "The time", inputSchema: z.object({}), execute: async () => "noon" }),
          };
          const answer = await ask(stream, {
            model: model(), prompt: "Please call the tools, both of them.", tools, stopWhen: stepCountIs(3),
          });
          assert.deepEqual(
            answer.steps[0].toolCalls.map((call) => [call.toolName, call.input]),
            [["get_weather", { city: "demo city" }], ["get_time", {}]],
          );
          assert.equal(answer.steps.length, 2);
          assert.match(answer.text, /rain in demo city[^]*noon/);
        });

        test("an image", async () => {
          const content = [{ type: "text", text: "What is this?" }, { type: "image", image: PICTURE, mediaType: "image/png" }];
          const answer = await ask(stream, { model: model(), messages: [{ role: "user", content }] });
          assert.match(answer.text, /I received one image\./);
        });

        test("structured output", async () => {
          const output = Output.object({ schema: z.object({ open: z.boolean(), keeper: z.string() }) });
          const answer = await ask(stream, { model: model(), prompt: "Open?", output });
          assert.deepEqual(answer.output, { open: true, keeper: "demo keeper" });
        });
      });
    }

    test(`${protocol} to ${provider}: errors have their status`, async () => {
      const failing = generateText({ model: clients[protocol](`${provider}/demo-error-429`), prompt: "Hello", maxRetries: 0 });
      await assert.rejects(failing, (error) => error.statusCode === 429);
    });
  }
}

test("embeddings", async () => {
  const { embeddings, usage } = await embedMany({ model: openai.embedding("demo/text-embedding-3-small"), values: ["one", "two"] });
  assert.deepEqual([embeddings.length, embeddings[0].length, usage.tokens], [2, 8, 2]);
});
