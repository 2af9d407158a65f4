"""What schemathesis has to know about a worker that its schema cannot say.

A request may keep to the schema and be refused all the same: for its model's context, its model's tokens, its model's chat
template, or because two fields contradict each other. Any other refusal of a valid request is a failure (`examples/refusals.py`).
"""

import refusals

refusals.only_for([
    "the model's chat template refuses the messages: Conversation roles must alternate",
    "it has no tokens",
    "it has ",  # … tokens, over the context
    "the model does not have all of its tokens",
    "it needs logprobs to be true",
    "it is another number than max_completion_tokens",
])
