//! What an operation takes, and every status that it answers with.

use serde_json::{Map, Value, json};

use super::reference;

/// Whose errors an operation has.
#[derive(Debug, Clone, Copy)]
pub enum Errors {
    Own,
    OpenAi,
}

/// Content of one type.
pub fn schema_of(kind: &str, schema: Value) -> Value {
    json!({kind: {"schema": schema}})
}

/// An answer with the headers that all have.
pub fn answer(description: &str, content: Value) -> Value {
    let headers = json!({"X-Correlation-Id": {"$ref": "#/components/headers/Correlation"}});
    json!({"description": description, "headers": headers, "content": content})
}

/// An answer of a schema by its name.
pub fn answer_json(description: &str, schema: &str) -> Value {
    answer(
        description,
        schema_of("application/json", reference(schema)),
    )
}

/// The refusals of an endpoint: those that any has, and more.
pub fn refusals(errors: Errors, more: &[u16]) -> Map<String, Value> {
    let schema = match errors {
        Errors::Own => "ErrorBody",
        Errors::OpenAi => "OpenAiErrorBody",
    };
    let header = |name: &str| json!({"$ref": format!("#/components/headers/{name}")});
    let refusal = |&code: &u16| {
        let mut answer = answer_json(meaning(code), schema);
        match code {
            401 => answer["headers"]["WWW-Authenticate"] = header("Authenticate"),
            405 => answer["headers"]["Allow"] = header("Allow"),
            429 | 503 => {
                answer["headers"]["Retry-After"] = header("RetryAfter");
                answer["headers"]["retry-after-ms"] = header("RetryAfterMs");
            }
            _ => {}
        }
        (code.to_string(), answer)
    };
    [401, 403, 405, 500]
        .iter()
        .chain(more)
        .map(refusal)
        .collect()
}

fn meaning(code: u16) -> &'static str {
    match code {
        400 => "The request is invalid: everything that is wrong with it is named.",
        401 => "A token is asked for, and this request has none that is known.",
        403 => "Whoever has this token may not, or a web page asks where no token is needed.",
        404 => "There is no such thing here.",
        405 => "The endpoint has another method.",
        408 => "The body took too long to arrive.",
        409 => "A request with this id is here already.",
        413 => "The body is too large.",
        415 => "The body is not application/json.",
        429 => "The queue is full, or a quota is used up.",
        499 => "The request was cancelled before it had an answer.",
        502 => "The worker that had the request failed.",
        503 => "Nothing can serve it now: it is loading, about to end, or without memory.",
        504 => "Its time was up.",
        _ => "The service failed.",
    }
}

/// An operation with its good answer.
pub fn operation(
    id: &str,
    tag: &str,
    summary: &str,
    good: (u16, Value),
    refusals: Map<String, Value>,
) -> Value {
    let mut responses = refusals;
    responses.insert(good.0.to_string(), good.1);
    json!({"operationId": id, "tags": [tag], "summary": summary, "responses": responses})
}

/// It has a body.
pub fn takes(mut operation: Value, schema: &str) -> Value {
    operation["requestBody"] = json!({
        "required": true,
        "content": schema_of("application/json", reference(schema)),
    });
    operation
}

/// What anybody may ask.
pub fn open(mut operation: Value) -> Value {
    operation["security"] = json!([]);
    if let Some(responses) = operation["responses"].as_object_mut() {
        responses.remove("401");
    }
    operation
}

/// What reading a body may end in.
pub const BODY: [u16; 4] = [400, 408, 413, 415];

/// A stream of `StreamEvent`s.
pub fn stream(description: &str) -> Value {
    let data = json!({
        "type": "string",
        "contentMediaType": "application/json",
        "contentSchema": reference("StreamEvent"),
    });
    let event = json!({
        "type": "object",
        "required": ["event", "id", "data"],
        "properties": {
            "event": {"enum": ["started", "token", "metrics", "end", "error"]},
            "id": {"type": "string", "pattern": "^[0-9]+$"},
            "data": data,
        },
    });
    answer(description, schema_of("text/event-stream", event))
}

/// One document, or a stream of parts.
pub fn generated(whole: &str, part: &str) -> Value {
    let json = json!({
        "type": "string",
        "contentMediaType": "application/json",
        "contentSchema": {"anyOf": [reference(part), reference("OpenAiErrorBody")]},
    });
    let event = json!({
        "type": "object",
        "required": ["data"],
        "properties": {"data": {"anyOf": [json, {"const": "[DONE]"}]}},
    });
    let content = json!({
        "application/json": {"schema": reference(whole)},
        "text/event-stream": {"schema": event},
    });
    answer(
        &format!("The answer; with `stream` as events, each a {part}, then `[DONE]`."),
        content,
    )
}
