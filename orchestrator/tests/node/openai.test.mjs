// The official client against the real orchestrator at URL: RICH is the key of a tenant without limits, POOR that of one
// that may use no tokens; a mock worker answers with TEXT, slowly.

import assert from "node:assert/strict";
import { test } from "node:test";

import OpenAI from "openai";

const { URL: url, RICH, POOR, TEXT } = process.env;
const model = "tiny";
const messages = [{ role: "user", content: "Say it." }];

const client = (apiKey = RICH) => new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0, timeout: 60_000 });
const chat = (more = {}, who = client()) => who.chat.completions.create({ model, messages, max_tokens: 16, ...more });
const complete = (more = {}, who = client()) => who.completions.create({ model, prompt: "Say it.", max_tokens: 16, ...more });

test("the model is listed", async () => {
  const { data } = await client().models.list();
  assert.deepEqual(data.map(({ id }) => id), [model]);
  assert.deepEqual(await client().models.retrieve(model), data[0]);
});

test("an answer comes whole", async () => {
  const said = await chat();
  assert.equal(said.choices[0].message.content, TEXT);
  assert.equal(said.choices[0].finish_reason, "length");
  assert.equal(said.usage.completion_tokens, 16);
  assert.equal((await complete()).choices[0].text, TEXT);
});

test("an answer streams", async () => {
  const chunks = [];
  for await (const chunk of await chat({ stream: true, stream_options: { include_usage: true } })) chunks.push(chunk);
  assert.equal(chunks.flatMap(({ choices }) => choices.map(({ delta }) => delta.content ?? "")).join(""), TEXT);
  assert.equal(chunks.at(-1).usage.completion_tokens, 16);
  assert.equal(new Set(chunks.map(({ id }) => id)).size, 1);
  let text = "";
  for await (const chunk of await complete({ stream: true })) text += chunk.choices[0].text;
  assert.equal(text, TEXT);
});

for (const stream of [false, true]) {
  test(`errors have their classes, stream: ${stream}`, async () => {
    for (const ask of [chat, complete]) {
      await assert.rejects(ask({ stream, model: "gpt-4o" }), (error) => {
        assert.ok(error instanceof OpenAI.NotFoundError);
        assert.deepEqual([error.code, error.param, error.type], ["model_not_found", "model", "invalid_request_error"]);
        return true;
      });
      await assert.rejects(ask({ stream, max_tokens: 5000 }), (error) => {
        assert.ok(error instanceof OpenAI.BadRequestError);
        assert.deepEqual([error.code, error.param], ["context_length_exceeded", "max_tokens"]);
        return true;
      });
      await assert.rejects(ask({ stream }, client(POOR)), (error) => {
        assert.ok(error instanceof OpenAI.RateLimitError);
        assert.deepEqual([error.code, error.type], ["quota_exceeded", "rate_limit_error"]);
        return true;
      });
      await assert.rejects(ask({ stream }, client("nobodys-key")), (error) => {
        assert.ok(error instanceof OpenAI.AuthenticationError);
        assert.equal(error.code, "invalid_api_key");
        return true;
      });
    }
  });
}

async function running(tasks) {
  for (const until = Date.now() + 30_000; Date.now() < until; ) {
    const health = await (await fetch(`${url}/health`)).json();
    if (health.tasks.running === tasks) return;
  }
  assert.fail(`never ${tasks} tasks`);
}

test("a client that leaves cancels", async () => {
  const stream = await chat({ stream: true, max_tokens: 4000 });
  const chunks = stream[Symbol.asyncIterator]();
  await chunks.next();
  await running(1);
  await chunks.return();
  await running(0);
  const leaving = new AbortController();
  const body = { model, messages, max_tokens: 4000 };
  const whole = client().chat.completions.create(body, { signal: leaving.signal });
  const broken = assert.rejects(whole, OpenAI.APIUserAbortError);
  await running(1);
  leaving.abort();
  await broken;
  await running(0);
});
