"""What schemathesis has to know about an orchestrator that its schema cannot say.

A request may keep to the schema and be refused all the same: for the context or the abilities of its model's workers, or
because two fields contradict each other. Any other refusal of a valid request is a failure (`examples/refusals.py`).

An id that only keeps to its pattern is that of no task: every other one is replaced by that of a task submitted for it.
A worker that was drained is given work again, or no such task would be admitted.
"""

import itertools
import json
import os

import refusals
import requests
import schemathesis

URL = os.environ["ORCHESTRATOR_URL"]
TOKEN = os.environ["ORCHESTRATOR_TOKEN"]
# Gets a line for each answer: its operation and its status.
ANSWERS = os.environ["ORCHESTRATOR_ANSWERS"]

refusals.only_for([
    "the prompt has ",  # … tokens and asks for …, and the context holds …
    "it has ",  # … tokens, with those of the answer over …
    "a worker without a model knows no probabilities",
    "it needs logprobs to be true",
    "it is another number than max_completion_tokens",
])


turns = itertools.count()
submitted = set()


def post(path, body):
    answer = requests.post(URL + path, json=body, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60)
    assert answer.ok, answer.text
    return answer


def submit():
    return post("/v2/tasks", {"model": "tiny", "prompt": "Say it.", "max_tokens": 3}).json()["job_id"]


@schemathesis.hook
def before_call(context, case, kwargs):
    if not case.operation.path.startswith("/v2/tasks/{id}") or case.meta is None:
        return
    is_random = case.meta.generation.mode.is_positive and case.path_parameters["id"] not in submitted
    if is_random and next(turns) % 2 == 0:
        case.path_parameters["id"] = submit()


@schemathesis.hook
def after_call(context, case, response):
    if case.operation.label == "POST /v2/tasks" and response.status_code == 202:
        submitted.add(json.loads(response.text)["job_id"])
    if case.operation.label == "POST /v2/workers/drain" and response.status_code == 204:
        post("/v2/workers/drain", {"worker": case.body["worker"], "drained": False})
    with open(ANSWERS, "a") as answers:
        answers.write(f"{case.operation.label} {response.status_code}\n")
