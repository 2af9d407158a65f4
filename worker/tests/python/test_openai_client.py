"""The official client against the real worker.

ANSWERS is a worker that serves tiny-llama, SINGS one with a single slot whose model never ends its answer; both ask for TOKEN.
"""

import asyncio
import json
import math
import os
import urllib.request

import openai
import pytest

ANSWERS, SINGS, TOKEN = (os.environ[name] for name in ("ANSWERS", "SINGS", "TOKEN"))
MODEL = "tiny"
FRANCE = [{"role": "user", "content": "What is the capital of France?"}]
MONTHS = [{"role": "user", "content": "Name the months of the year."}]
COUNT = [{"role": "user", "content": "Count to fifty."}]
SONG = "<|user|>\nSing for ever.</s>\n<|assistant|>\n"
PROMPT = "<|user|>\nWhat is the capital of France?</s>\n<|assistant|>\n"


def client(url=ANSWERS, key=TOKEN, kind=openai.OpenAI):
    return kind(base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=60)


def chat(messages=FRANCE, **more):
    more = {"model": MODEL, "temperature": 0, **more}
    return client().chat.completions.create(messages=messages, **more)


def complete(prompt=PROMPT, **more):
    more = {"model": MODEL, "temperature": 0, **more}
    return client().completions.create(prompt=prompt, **more)


def fetch(url, path, body=None):
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    body = body if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url + path, body, headers)) as answer:
        return json.load(answer)


def test_the_model_is_listed():
    (listed,) = client().models.list().data
    assert (listed.id, listed.object, listed.max_model_len) == (MODEL, "model", 512)
    assert client().models.retrieve(MODEL) == listed
    with pytest.raises(openai.NotFoundError) as refused:
        client().models.retrieve("another/model")
    assert refused.value.code == "model_not_found"


def test_an_answer_comes_whole():
    answer = chat()
    (choice,) = answer.choices
    assert (choice.message.role, choice.message.content) == ("assistant", "Paris")
    assert (choice.finish_reason, choice.logprobs) == ("stop", None)
    assert answer.usage.prompt_tokens == 17
    assert answer.usage.total_tokens == 17 + answer.usage.completion_tokens
    assert answer.object == "chat.completion" and answer.model == MODEL and answer.id.startswith("chatcmpl-")
    assert answer.system_fingerprint.startswith("fp_")
    assert chat().system_fingerprint == answer.system_fingerprint


def test_content_may_come_in_parts_and_an_answer_may_be_sent_back():
    parts = [{"role": "user", "content": [{"type": "text", "text": FRANCE[0]["content"]}]}]
    answer = chat(parts)
    assert answer.choices[0].message.content == "Paris"
    turns = [*parts, answer.choices[0].message.model_dump(), *MONTHS]
    assert chat(turns, max_tokens=3).usage.completion_tokens == 3


def test_an_answer_streams():
    whole = chat(COUNT)
    chunks = list(chat(COUNT, stream=True))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.choices[0].message.content
    assert len(chunks) > 20
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * (len(chunks) - 1) + ["stop"]
    assert len({chunk.id for chunk in chunks}) == 1
    assert all(chunk.usage is None for chunk in chunks)


def test_a_stream_tells_its_usage_when_asked():
    *parts, last = chat(COUNT, stream=True, stream_options={"include_usage": True})
    again = chat(COUNT).usage
    assert last.choices == []
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (again.prompt_tokens, again.completion_tokens)
    # All but the last token of the prompt: its logits are needed.
    assert again.prompt_tokens_details.cached_tokens == again.prompt_tokens - 1
    assert all(part.usage is None for part in parts)


def test_stop_texts_end_an_answer():
    for stop in ("y, Mar", ["nothing", "y, Mar", "March"]):
        choice = chat(MONTHS, stop=stop).choices[0]
        assert (choice.message.content, choice.finish_reason) == ("January, Februar", "stop")
        streamed = list(chat(MONTHS, stop=stop, stream=True))
        assert "".join(chunk.choices[0].delta.content or "" for chunk in streamed) == "January, Februar"


def test_both_limits_of_tokens_hold():
    for limit in ({"max_tokens": 5}, {"max_completion_tokens": 5}):
        answer = chat(COUNT, **limit)
        assert (answer.choices[0].finish_reason, answer.usage.completion_tokens) == ("length", 5)


def test_the_seed_decides():
    def hot(seed):
        with client(SINGS) as singer:
            answer = singer.completions.create(model=MODEL, prompt="The machines", temperature=2, max_tokens=40, seed=seed)
        return answer.choices[0].text

    assert hot(7) == hot(7) != hot(8)
    assert hot(-1) == hot(-1)


def test_logprobs_say_how_likely_each_token_was():
    answer = chat(COUNT, logprobs=True, top_logprobs=3)
    choice = answer.choices[0]
    tokens = choice.logprobs.content
    said = b"".join(bytes(token.bytes) for token in tokens).decode()
    assert said.strip() == choice.message.content.strip()
    assert len(tokens) == answer.usage.completion_tokens
    for token in tokens:
        assert len(token.top_logprobs) == 3
        assert token.top_logprobs[0].token == token.token
        assert token.top_logprobs[0].logprob == pytest.approx(token.logprob, abs=1e-5)
        likeliest = [top.logprob for top in token.top_logprobs]
        assert likeliest == sorted(likeliest, reverse=True)
        assert sum(map(math.exp, likeliest)) <= 1 + 1e-4
    streamed = [
        token.token
        for chunk in chat(COUNT, logprobs=True, stream=True)
        if chunk.choices[0].logprobs
        for token in chunk.choices[0].logprobs.content
    ]
    assert streamed == [token.token for token in tokens]
    assert all(token.top_logprobs == [] for token in chat(logprobs=True).choices[0].logprobs.content)


def test_completions_continue_a_text():
    answer = complete(max_tokens=8)
    assert (answer.choices[0].text, answer.choices[0].finish_reason) == ("Paris", "stop")
    assert answer.object == "text_completion" and answer.usage.completion_tokens == 2
    assert complete([PROMPT], max_tokens=8).choices[0].text == "Paris"
    streamed = complete(max_tokens=8, stream=True)
    assert "".join(part.choices[0].text for part in streamed) == "Paris"
    # As at OpenAI's, a completion has 16 tokens where the request does not say.
    assert complete("Count", temperature=2, seed=1, stop=None).usage.completion_tokens <= 16


def test_completions_have_logprobs_too():
    answer = complete(max_tokens=8, logprobs=2)
    told = answer.choices[0].logprobs
    assert len(told.tokens) == len(told.token_logprobs) == len(told.top_logprobs) == answer.usage.completion_tokens
    assert told.text_offset[0] == 0 and told.text_offset == sorted(told.text_offset)
    for token, logprob, top in zip(told.tokens, told.token_logprobs, told.top_logprobs):
        assert len(top) == 2 and max(top, key=top.get) == token and top[token] == pytest.approx(logprob, abs=1e-5)


def test_tokens_are_a_prompt_too():
    counted = fetch(ANSWERS, "/tokenize", {"model": MODEL, "prompt": PROMPT})
    assert counted["count"] == len(counted["tokens"]) == complete(max_tokens=1).usage.prompt_tokens
    assert counted["max_model_len"] == 512
    assert complete(counted["tokens"], max_tokens=8).choices[0].text == "Paris"
    messages = fetch(ANSWERS, "/tokenize", {"messages": FRANCE})
    assert messages["count"] == chat().usage.prompt_tokens
    bare = fetch(ANSWERS, "/tokenize", {"prompt": PROMPT, "add_special_tokens": False})
    assert counted["tokens"][1:] == bare["tokens"]


def test_what_changes_nothing_is_taken():
    harmless = {
        "n": 1, "user": "u", "metadata": {"a": "b"}, "frequency_penalty": 0, "presence_penalty": 0, "logit_bias": {},
        "response_format": {"type": "text"}, "tools": [], "store": False, "parallel_tool_calls": True,
    }
    assert chat(**harmless).choices[0].message.content == "Paris"
    extra = {"top_k": -1, "min_p": 0, "repetition_penalty": 1, "cache_salt": "mine"}
    assert chat(extra_body=extra).choices[0].message.content == "Paris"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 2),
        ("temperature", 3),
        ("frequency_penalty", 1),
        ("logit_bias", {"1": 1}),
        ("response_format", {"type": "json_object"}),
        ("tools", [{"type": "function", "function": {"name": "f"}}]),
        ("top_logprobs", 2),
        ("stop", ["a", "b", "c", "d", "e"]),
        ("max_tokens", 0),
    ],
)
def test_what_is_not_supported_is_refused_by_name(field, value):
    with pytest.raises(openai.BadRequestError) as refused:
        chat(**{field: value})
    assert (refused.value.param, refused.value.type) == (field, "invalid_request_error")


def test_errors_have_their_classes():
    with pytest.raises(openai.BadRequestError) as refused:
        chat(extra_body={"frobnicate": 1})
    assert refused.value.param == "frobnicate"
    with pytest.raises(openai.NotFoundError) as refused:
        chat(model="gpt-4o")
    assert (refused.value.code, refused.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError) as refused:
        chat(max_tokens=512)
    assert (refused.value.code, refused.value.param) == ("context_length_exceeded", "messages")
    with pytest.raises(openai.AuthenticationError) as refused:
        client(key="another-token-than-the-right-one").models.list()
    assert refused.value.code == "invalid_api_key"
    assert refused.value.response.headers["www-authenticate"] == "Bearer"
    with pytest.raises(openai.NotFoundError):
        client().embeddings.create(model=MODEL, input="x")


async def until_busy(slots):
    async with asyncio.timeout(60):
        while (await asyncio.to_thread(fetch, SINGS, "/health"))["slots"]["busy"] != slots:
            pass


async def sing(singer, **more):
    more = {"max_tokens": 15_000, **more}
    return await singer.completions.create(model=MODEL, prompt=SONG, temperature=0, **more)


def test_a_client_that_leaves_frees_its_slot():
    async def leave():
        async with client(SINGS, kind=openai.AsyncOpenAI) as singer:
            song = await sing(singer, stream=True)
            await anext(aiter(song))
            await until_busy(1)
            await song.close()
            await until_busy(0)
            # Also one that waits for a whole answer.
            whole = asyncio.create_task(sing(singer))
            await until_busy(1)
            whole.cancel()
            await until_busy(0)
            short = await sing(singer, max_tokens=3)
            assert short.usage.completion_tokens == 3

    asyncio.run(leave())


def test_a_stream_that_is_cancelled_says_so():
    async def cancelled():
        async with client(SINGS, kind=openai.AsyncOpenAI) as singer:
            song = await sing(singer, stream=True)
            first = await anext(aiter(song))
            await asyncio.to_thread(cancel, first.id)
            with pytest.raises(openai.APIError) as broken:
                async for _ in song:
                    pass
            assert broken.value.code == "cancelled"
            await until_busy(0)

    asyncio.run(cancelled())


def cancel(job_id):
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    body = json.dumps({"job_id": job_id}).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{SINGS}/cancel", body, headers)) as answer:
        assert answer.status == 202


def test_a_full_queue_says_when_to_come_back():
    async def fill():
        async with client(SINGS, kind=openai.AsyncOpenAI) as singer:
            # One that runs and 64 that wait.
            songs = [await sing(singer, stream=True)]
            await anext(aiter(songs[0]))
            songs += [await sing(singer, stream=True) for _ in range(64)]
            with pytest.raises(openai.RateLimitError) as refused:
                await sing(singer)
            headers = refused.value.response.headers
            assert int(headers["retry-after"]) >= 1 and int(headers["retry-after-ms"]) >= 1
            assert refused.value.code == "queue_full"
            for song in reversed(songs):
                await song.close()
            await until_busy(0)

    asyncio.run(fill())
