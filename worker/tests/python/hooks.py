"""What schemathesis has to know about a worker that its schema cannot say.

A request may keep to the schema and be refused all the same: for its model's context, its model's tokens, its model's chat
template, or because two fields contradict each other. The check here takes the place of `positive_data_acceptance`, which
knows no such reasons: any other refusal of a valid request is a failure.
"""

import json

import schemathesis

# How the messages of these refusals begin, each after the name of its field.
REASONS = [
    "the model's chat template refuses the messages: Conversation roles must alternate",
    "it has no tokens",
    "it has ",  # … tokens, over the context
    "the model does not have all of its tokens",
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
