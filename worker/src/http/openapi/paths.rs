//! The endpoints: what each takes and every status that it answers with.

use pool_core::name::ModelId;
use serde_json::{Map, Value, json};

use super::reference;

/// Whose errors an endpoint has.
#[derive(Clone, Copy)]
enum Errors {
    Own,
    OpenAi,
}

pub(super) fn paths(served: &ModelId) -> Value {
    json!({
        "/health": {"get": health()},
        "/ready": {"get": ready()},
        "/metrics": {"get": metrics()},
        "/openapi.json": {"get": openapi()},
        "/execute": {"post": execute()},
        "/cancel": {"post": cancel()},
        "/shutdown": {"post": shutdown()},
        "/v1/chat/completions": {"post": chat()},
        "/v1/completions": {"post": completion()},
        "/v1/models": {"get": models()},
        "/v1/models/{id}": {"get": model(served)},
        "/tokenize": {"post": tokenize()},
    })
}

fn schema_of(kind: &str, schema: Value) -> Value {
    json!({kind: {"schema": schema}})
}

fn answer(description: &str, content: Value) -> Value {
    let headers = json!({"X-Correlation-Id": {"$ref": "#/components/headers/Correlation"}});
    json!({"description": description, "headers": headers, "content": content})
}

fn answer_json(description: &str, schema: &str) -> Value {
    answer(
        description,
        schema_of("application/json", reference(schema)),
    )
}

/// The refusals of an endpoint: those that any has, and more.
fn refusals(errors: Errors, more: &[u16]) -> Map<String, Value> {
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
        403 => "It comes from a web page, and the worker has no token.",
        404 => "There is no such model here.",
        405 => "The endpoint has another method.",
        408 => "The body took too long to arrive.",
        409 => "A request with this job_id is here already.",
        413 => "The body is too large.",
        415 => "The body is not application/json.",
        429 => "All slots are busy and the queue is full.",
        499 => "The request was cancelled before it had an answer.",
        503 => {
            "The worker is loading or about to end, or the device has no memory for the request."
        }
        _ => "The worker failed.",
    }
}

fn operation(
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

fn takes(mut operation: Value, schema: &str) -> Value {
    operation["requestBody"] = json!({
        "required": true,
        "content": schema_of("application/json", reference(schema)),
    });
    operation
}

/// What anybody may ask.
fn open(mut operation: Value) -> Value {
    operation["security"] = json!([]);
    if let Some(responses) = operation["responses"].as_object_mut() {
        responses.remove("401");
    }
    operation
}

/// What reading a body may end in.
const BODY: [u16; 4] = [400, 408, 413, 415];

fn health() -> Value {
    let good = answer_json("It lives.", "Health");
    let summary = "Whether it lives, and what it serves. Never waits for inference.";
    open(operation(
        "health",
        "worker",
        summary,
        (200, good),
        refusals(Errors::Own, &[]),
    ))
}

fn ready() -> Value {
    let good = answer_json("A request would be served now.", "Ready");
    let not = answer_json("It is loading, draining or stalled.", "Ready");
    let mut refused = refusals(Errors::Own, &[]);
    refused.insert("503".to_owned(), not);
    open(operation(
        "ready",
        "worker",
        "Whether a request would be served now.",
        (200, good),
        refused,
    ))
}

fn metrics() -> Value {
    let text = schema_of("text/plain", json!({"type": "string"}));
    let good = answer("Prometheus' text format 0.0.4.", text);
    let summary = "Counters, in Prometheus' words.";
    operation(
        "metrics",
        "worker",
        summary,
        (200, good),
        refusals(Errors::Own, &[]),
    )
}

fn openapi() -> Value {
    let any = schema_of("application/json", json!({"type": "object"}));
    let good = answer("This document.", any);
    operation(
        "openapi",
        "worker",
        "This document.",
        (200, good),
        refusals(Errors::Own, &[]),
    )
}

fn execute() -> Value {
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
    let stream = schema_of("text/event-stream", event);
    let description = "`started`, then `token` with `metrics` between, then one `end` or `error`: each a StreamEvent.";
    let good = answer(description, stream);
    let refused = refusals(Errors::Own, &[&BODY[..], &[409, 429, 503]].concat());
    let summary = "One inference, streamed.";
    takes(
        operation("execute", "execute", summary, (200, good), refused),
        "ExecuteRequest",
    )
}

fn cancel() -> Value {
    let good = answer("It stops within one step, if it was there.", json!({}));
    let refused = refusals(Errors::Own, &BODY);
    let summary = "Ends a request. Ids of OpenAI's answers are job ids too.";
    takes(
        operation("cancel", "execute", summary, (202, good), refused),
        "CancelRequest",
    )
}

fn shutdown() -> Value {
    let good = answer(
        "It takes nothing more, finishes what runs, and ends.",
        json!({}),
    );
    let mut operation = operation(
        "shutdown",
        "worker",
        "Ends the worker.",
        (202, good),
        refusals(Errors::Own, &BODY),
    );
    let nothing = json!({"type": "object", "maxProperties": 0});
    operation["requestBody"] =
        json!({"required": true, "content": schema_of("application/json", nothing)});
    operation
}

/// One document, or a stream of parts.
fn generated(whole: &str, part: &str) -> Value {
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

fn chat() -> Value {
    let good = generated("ChatCompletion", "ChatChunk");
    let refused = refusals(Errors::OpenAi, &[&BODY[..], &[404, 429, 499, 503]].concat());
    let summary = "Continues a conversation.";
    let operation = operation(
        "createChatCompletion",
        "openai",
        summary,
        (200, good),
        refused,
    );
    takes(operation, "ChatCompletionRequest")
}

fn completion() -> Value {
    let good = generated("Completion", "Completion");
    let refused = refusals(Errors::OpenAi, &[&BODY[..], &[404, 429, 499, 503]].concat());
    let summary = "Continues a text.";
    let operation = operation("createCompletion", "openai", summary, (200, good), refused);
    takes(operation, "CompletionRequest")
}

fn models() -> Value {
    let good = answer_json("The one model that is served.", "ModelList");
    let refused = refusals(Errors::OpenAi, &[]);
    operation(
        "listModels",
        "openai",
        "The models that are served.",
        (200, good),
        refused,
    )
}

fn model(served: &ModelId) -> Value {
    let good = answer_json("The model.", "ModelCard");
    let refused = refusals(Errors::OpenAi, &[404]);
    let mut operation = operation(
        "retrieveModel",
        "openai",
        "One model.",
        (200, good),
        refused,
    );
    operation["parameters"] = json!([{
        "name": "id",
        "in": "path",
        "required": true,
        "description": "The name of the model.",
        "schema": {"type": "string", "const": served},
    }]);
    operation
}

fn tokenize() -> Value {
    let good = answer_json("The tokens.", "Tokenized");
    let refused = refusals(Errors::OpenAi, &[&BODY[..], &[404, 503]].concat());
    let summary = "The tokens of a text or a conversation, as the model gets them.";
    takes(
        operation("tokenize", "openai", summary, (200, good), refused),
        "TokenizeRequest",
    )
}
