"""What schemathesis has to know about an orchestrator that its schema cannot say.

A request may keep to the schema and be refused all the same: for the context or the abilities of its model's workers, or
because two fields contradict each other. The check here takes the place of `positive_data_acceptance`, which knows no such
reasons: any other refusal of a valid request is a failure.

An id that only keeps to its pattern is that of no task: every other one is replaced by that of a task submitted for it.
"""

import itertools
import json
import os

import requests
import schemathesis

URL = os.environ["ORCHESTRATOR_URL"]
TOKEN = os.environ["ORCHESTRATOR_TOKEN"]
# Gets a line for each answer: its operation and its status.
ANSWERS = os.environ["ORCHESTRATOR_ANSWERS"]

# How the messages of these refusals begin, each after the name of its field.
REASONS = [
    "the prompt has ",  # … tokens and asks for …, and the context holds …
    "it has ",  # … tokens, with those of the answer over …
    "a worker without a model knows no probabilities",
    "it needs logprobs to be true",
    "it is another number than max_completion_tokens",
]


@schemathesis.check
def only_the_model_refuses_valid_requests(ctx, response, case):
    if case.meta is None or not case.meta.generation.mode.is_positive or response.status_code != 400:
        return
    message = json.loads(response.text)["error"]["message"]
    for violation in message.split("; "):
        field, _, reason = violation.partition(": ")
        excused = any(reason.startswith(known) for known in REASONS)
        assert excused, f"a valid {case.operation.label} was refused: {violation}"


turns = itertools.count()
submitted = set()


def submit():
    task = {"model": "tiny", "prompt": "Say it.", "max_tokens": 3}
    answer = requests.post(f"{URL}/v2/tasks", json=task, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60)
    answer.raise_for_status()
    return answer.json()["job_id"]


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
    with open(ANSWERS, "a") as answers:
        answers.write(f"{case.operation.label} {response.status_code}\n")
