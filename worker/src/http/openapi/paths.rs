//! The endpoints: what each takes and every status that it answers with.

use http_front::openapi::operation::{
    BODY, Errors, answer, answer_json, generated, open, operation, refusals, schema_of, stream,
    takes,
};
use pool_core::name::ModelId;
use serde_json::{Value, json};

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
    let description = "`started`, then `token` with `metrics` between, then one `end` or `error`: each a StreamEvent.";
    let good = stream(description);
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
