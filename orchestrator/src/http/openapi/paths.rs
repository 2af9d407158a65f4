//! The endpoints: what each takes and every status that it answers with.

use http_front::openapi::operation::{
    BODY, Errors, answer, answer_json, generated, open, operation, refusals, schema_of, stream,
    takes,
};
use http_front::openapi::reference;
use serde_json::{Map, Value, json};

pub(super) fn paths(model: &Value) -> Value {
    json!({
        "/health": {"get": health()},
        "/ready": {"get": ready()},
        "/metrics": {"get": metrics()},
        "/openapi.json": {"get": openapi()},
        "/v2/tasks": {"post": submit()},
        "/v2/tasks/{id}": {"parameters": task_id(), "get": state(), "delete": cancel("deleteTask")},
        "/v2/tasks/{id}/events": {"parameters": task_id(), "get": events()},
        "/v2/tasks/{id}/explain": {"parameters": task_id(), "get": explain()},
        "/v2/tasks/{id}/cancel": {"parameters": task_id(), "post": cancel("cancelTask")},
        "/v2/workers": {"get": workers()},
        "/v2/workers/register": {"post": register()},
        "/v2/workers/drain": {"post": drain()},
        "/v2/pools": {"get": pools()},
        "/v1/chat/completions": {"post": chat()},
        "/v1/completions": {"post": completion()},
        "/v1/models": {"get": models()},
        "/v1/models/{id}": {"parameters": path_id(model), "get": one_model()},
    })
}

/// What is answered with one schema.
fn plain(id: &str, tag: &str, summary: &str, schema: &str, more: &[u16]) -> Value {
    let errors = match tag {
        "openai" => Errors::OpenAi,
        _ => Errors::Own,
    };
    let good = (200, answer_json(summary, schema));
    operation(id, tag, summary, good, refusals(errors, more))
}

fn path_id(schema: &Value) -> Value {
    json!([{"name": "id", "in": "path", "required": true, "schema": schema}])
}

fn task_id() -> Value {
    path_id(&json!({"type": "string", "pattern": "^t-[0-9a-f]{32}$"}))
}

fn health() -> Value {
    open(plain("health", "fleet", "Whether it lives.", "Health", &[]))
}

fn ready() -> Value {
    let summary = "Whether a task would be admitted now.";
    let mut ready = open(plain("ready", "fleet", summary, "Ready", &[]));
    ready["responses"]["503"] = answer_json("It is about to end.", "Ready");
    ready
}

fn metrics() -> Value {
    let text = schema_of("application/openmetrics-text", json!({"type": "string"}));
    let good = (200, answer("The text format of OpenMetrics 1.0.", text));
    let refused = refusals(Errors::Own, &[]);
    operation("metrics", "fleet", "What is counted.", good, refused)
}

fn openapi() -> Value {
    let any = schema_of("application/json", json!({"type": "object"}));
    let good = (200, answer("This document.", any));
    let refused = refusals(Errors::Own, &[]);
    operation("openapi", "fleet", "This document.", good, refused)
}

fn submit() -> Value {
    let description = "It is admitted and stored: it runs to its end unless it is cancelled.";
    let good = (202, answer_json(description, "Accepted"));
    let refused = refusals(Errors::Own, &[&BODY[..], &[404, 409, 429, 503]].concat());
    let summary = "One inference, of which the events are read apart.";
    let mut submit = operation("submitTask", "tasks", summary, good, refused);
    let links = ["getTask", "followTask", "explainTask", "cancelTask"].map(|id| {
        let link = json!({"operationId": id, "parameters": {"id": "$response.body#/job_id"}});
        (id.to_owned(), link)
    });
    submit["responses"]["202"]["links"] = Map::from_iter(links).into();
    takes(submit, "TaskRequest")
}

fn state() -> Value {
    plain("getTask", "tasks", "Where a task is.", "TaskState", &[404])
}

fn cancel(id: &str) -> Value {
    let good = (202, answer("It ends, if it has not ended.", json!({})));
    let refused = refusals(Errors::Own, &[404]);
    operation(id, "tasks", "Cancels a task.", good, refused)
}

fn events() -> Value {
    let description = "`queued`, then a worker's: `started`, `token` with `metrics` between, one `end` or `error`.";
    let mut stream = stream(description);
    let event = &mut stream["content"]["text/event-stream"]["schema"]["properties"];
    event["event"]["enum"] = json!(["queued", "started", "token", "metrics", "end", "error"]);
    let data = ["Queued", "StreamEvent"].map(reference);
    event["data"]["contentSchema"] = json!({ "anyOf": data });
    let refused = refusals(Errors::Own, &[400, 404]);
    let summary = "The events of a task, from its first or after one that was read.";
    let mut events = operation("followTask", "tasks", summary, (200, stream), refused);
    events["parameters"] = json!([{
        "name": "Last-Event-ID",
        "in": "header",
        "required": false,
        "description": "The id of the last event that was read.",
        "schema": {"type": "integer", "minimum": 0, "maximum": u64::MAX},
    }]);
    events
}

fn explain() -> Value {
    let summary = "Why a task is where it is.";
    plain("explainTask", "tasks", summary, "Explanation", &[404])
}

fn workers() -> Value {
    let summary = "The workers that are known.";
    plain("listWorkers", "fleet", summary, "Workers", &[])
}

fn pools() -> Value {
    let summary = "What each pool has.";
    plain("listPools", "fleet", summary, "Pools", &[])
}

fn register() -> Value {
    let summary = "What a worker says of itself, first and as a heartbeat.";
    let register = plain("registerWorker", "fleet", summary, "Registered", &BODY);
    takes(register, "Registration")
}

fn drain() -> Value {
    let good = (
        204,
        answer("It takes nothing more, or takes again.", json!({})),
    );
    let refused = refusals(Errors::Own, &[&BODY[..], &[404]].concat());
    let summary = "Whether a worker may take tasks.";
    let drain = operation("drainWorker", "fleet", summary, good, refused);
    takes(drain, "Drain")
}

/// What a request of OpenAI's may end in.
const GENERATED: [u16; 6] = [404, 429, 499, 502, 503, 504];

fn chat() -> Value {
    let good = (200, generated("ChatCompletion", "ChatChunk"));
    let refused = refusals(Errors::OpenAi, &[&BODY[..], &GENERATED].concat());
    let summary = "Continues a conversation.";
    let chat = operation("createChatCompletion", "openai", summary, good, refused);
    takes(chat, "ChatCompletionRequest")
}

fn completion() -> Value {
    let good = (200, generated("Completion", "Completion"));
    let refused = refusals(Errors::OpenAi, &[&BODY[..], &GENERATED].concat());
    let summary = "Continues a text.";
    let completion = operation("createCompletion", "openai", summary, good, refused);
    takes(completion, "CompletionRequest")
}

fn models() -> Value {
    let summary = "The models of the fleet, served now or not.";
    plain("listModels", "openai", summary, "ModelList", &[])
}

fn one_model() -> Value {
    plain(
        "retrieveModel",
        "openai",
        "One model.",
        "ModelCard",
        &[404, 503],
    )
}
