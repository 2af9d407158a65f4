"""The check of both services by schemathesis: what keeps to the schema is refused for known reasons alone.

It takes the place of `positive_data_acceptance`, which knows no such reasons.
"""

import json

import schemathesis


def only_for(reasons):
    """Registers the check: `reasons` are how the messages of refusals may begin, each after the name of its field."""

    @schemathesis.check
    def valid_requests_are_refused_for_known_reasons_alone(ctx, response, case):
        if case.meta is None or not case.meta.generation.mode.is_positive or response.status_code != 400:
            return
        message = json.loads(response.text)["error"]["message"]
        for violation in message.split("; "):
            field, _, reason = violation.partition(": ")
            excused = any(reason.startswith(known) for known in reasons)
            assert excused, f"a valid {case.operation.label} was refused: {violation}"
