"""The official client against the real orchestrator at URL.

RICH is the key of a tenant without limits, POOR that of one that may use no tokens; a mock worker answers with TEXT, slowly.
"""

import asyncio
import json
import os
import time
import urllib.request

import openai
import pytest

URL, RICH, POOR, TEXT = (os.environ[name] for name in ("URL", "RICH", "POOR", "TEXT"))
MODEL = "tiny"
MESSAGES = [{"role": "user", "content": "Say it."}]


def client(key=RICH, kind=openai.OpenAI):
    return kind(base_url=f"{URL}/v1", api_key=key, max_retries=0, timeout=60)


def chat(who=None, **more):
    more = {"model": MODEL, "max_tokens": 16, **more}
    return (who or client()).chat.completions.create(messages=MESSAGES, **more)


def complete(who=None, **more):
    more = {"model": MODEL, "max_tokens": 16, **more}
    return (who or client()).completions.create(prompt="Say it.", **more)


def test_the_model_is_listed():
    (listed,) = client().models.list().data
    assert (listed.id, listed.object, listed.max_model_len) == (MODEL, "model", 4096)
    assert client().models.retrieve(MODEL) == listed


def test_an_answer_comes_whole():
    answer = chat()
    (choice,) = answer.choices
    assert (choice.message.role, choice.message.content, choice.finish_reason) == ("assistant", TEXT, "length")
    assert (answer.object, answer.model, answer.usage.completion_tokens) == ("chat.completion", MODEL, 16)
    assert complete().choices[0].text == TEXT


def test_an_answer_streams():
    *chunks, last = chat(stream=True, stream_options={"include_usage": True})
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == TEXT
    assert chunks[-1].choices[0].finish_reason == "length"
    assert (last.choices, last.usage.completion_tokens) == ([], 16)
    assert len({chunk.id for chunk in [*chunks, last]}) == 1
    assert "".join(chunk.choices[0].text for chunk in complete(stream=True)) == TEXT


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("ask", [chat, complete])
def test_errors_have_their_classes(ask, stream):
    with pytest.raises(openai.NotFoundError) as refused:
        ask(stream=stream, model="gpt-4o")
    assert (refused.value.code, refused.value.param) == ("model_not_found", "model")
    assert refused.value.type == "invalid_request_error"
    with pytest.raises(openai.BadRequestError) as refused:
        ask(stream=stream, max_tokens=5000)
    assert (refused.value.code, refused.value.param) == ("context_length_exceeded", "max_tokens")
    with pytest.raises(openai.BadRequestError) as refused:
        ask(stream=stream, temperature=3)
    assert refused.value.param == "temperature"
    with pytest.raises(openai.RateLimitError) as refused:
        ask(client(POOR), stream=stream)
    assert (refused.value.code, refused.value.type) == ("quota_exceeded", "rate_limit_error")
    # It never will fit: nothing says when to come back.
    assert "retry-after" not in refused.value.response.headers
    with pytest.raises(openai.AuthenticationError) as refused:
        ask(client("nobodys-key"), stream=stream)
    assert refused.value.code == "invalid_api_key"
    assert refused.value.response.headers["www-authenticate"] == "Bearer"


def test_each_answer_has_a_correlation_id():
    for given in ("mine-1", "mine-2"):
        answer = client().chat.completions.with_raw_response.create(
            messages=MESSAGES, model=MODEL, max_tokens=1, extra_headers={"X-Correlation-Id": given}
        )
        assert answer.headers["x-correlation-id"] == given


def running():
    with urllib.request.urlopen(f"{URL}/health") as answer:
        return json.load(answer)["tasks"]["running"]


async def until_running(tasks):
    end = time.monotonic() + 30
    while await asyncio.to_thread(running) != tasks:
        assert time.monotonic() < end, f"never {tasks} tasks"


def test_a_client_that_leaves_cancels():
    async def leave():
        async with client(kind=openai.AsyncOpenAI) as asking:
            answer = await chat(asking, stream=True, max_tokens=4000)
            await anext(aiter(answer))
            await until_running(1)
            await answer.close()
            await until_running(0)
            # Also one that waits for a whole answer.
            whole = asyncio.create_task(chat(asking, max_tokens=4000))
            await until_running(1)
            whole.cancel()
            await until_running(0)

    asyncio.run(leave())
