//! The bodies of `POST /execute` and `POST /cancel`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fields::Fields;

/// One inference: `POST /execute`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExecuteRequest {
    /// Chosen by the client, 1–128 characters, unique among the requests of a worker at one time.
    pub job_id: String,
    #[serde(flatten)]
    pub input: Input,
    /// At least 1; what the context leaves when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    #[serde(flatten)]
    pub sampling: Sampling,
    /// Texts that end the answer: at most 4, each of 1–100 characters. They are not part of the answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    /// 1–128 characters: what is computed for one salt is never used for another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_salt: Option<String>,
}

/// What the model continues.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    /// Text as it is; the tokenizer adds its own special tokens.
    Prompt(String),
    /// A conversation, laid out by the model's own chat template.
    Messages(Vec<Message>),
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    /// Such as `system`, `user` or `assistant`; the chat template decides.
    pub role: String,
    pub content: String,
}

/// How the next token is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Sampling {
    /// 0–2; 0 takes the most likely token.
    pub temperature: f32,
    /// 0–1: of the most likely tokens, only as many as reach this probability together.
    pub top_p: f32,
    /// Only this many of the most likely tokens; 0 for all.
    pub top_k: u32,
    /// 0–1: only tokens with at least this share of the most likely one's probability.
    pub min_p: f32,
    /// 0–2: above 1, tokens that are in the context already become less likely; 1 is off.
    pub repetition_penalty: f32,
    /// Same seed, same tokens; chosen by the worker and reported when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            seed: None,
        }
    }
}

impl Sampling {
    /// Always the most likely token.
    pub fn greedy() -> Self {
        Self {
            temperature: 0.0,
            ..Self::default()
        }
    }
}

/// The body of `POST /cancel`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CancelRequest {
    pub job_id: String,
}

/// One thing that is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Violation {
    /// Such as `temperature` or `messages[0].role`; empty for the body as a whole.
    pub field: String,
    /// What the field has to be.
    pub constraint: String,
    pub message: String,
}

/// Everything that is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.summary())]
pub struct Violations(pub Vec<Violation>);

impl Violations {
    fn summary(&self) -> String {
        let line = |violation: &Violation| match violation.field.as_str() {
            "" => violation.message.clone(),
            field => format!("{field}: {}", violation.message),
        };
        self.0.iter().map(line).collect::<Vec<_>>().join("; ")
    }
}

const JOB_ID: &str = "1 to 128 characters";

fn is_job_id(text: &str) -> bool {
    (1..=128).contains(&text.chars().count())
}

/// The fields of a body that is a JSON object.
pub(super) fn object(body: &[u8]) -> Result<Fields, Violations> {
    let wrong = |message: String| {
        Violations(vec![Violation {
            field: String::new(),
            constraint: "a JSON object".to_owned(),
            message,
        }])
    };
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Ok(Fields::new(object, String::new())),
        Ok(_) => Err(wrong("the body is not a JSON object".to_owned())),
        Err(error) => Err(wrong(format!("the body is not JSON: {error}"))),
    }
}

impl CancelRequest {
    /// Reads and checks a body.
    pub fn from_json(body: &[u8]) -> Result<Self, Violations> {
        let mut fields = object(body)?;
        let job_id = fields.required("job_id", JOB_ID, |text: &String| is_job_id(text));
        fields.finish("job_id").none()?;
        Ok(Self {
            job_id: job_id.unwrap_or_default(),
        })
    }
}

impl ExecuteRequest {
    /// Reads and checks a body; what depends on the model (its context, its chat template) is not checked here.
    pub fn from_json(body: &[u8]) -> Result<Self, Violations> {
        let mut fields = object(body)?;
        let job_id = fields.required("job_id", JOB_ID, |text: &String| is_job_id(text));
        let request = Self::read(&mut fields, job_id.unwrap_or_default());
        fields.finish(&format!("job_id, {INFERENCE}")).none()?;
        Ok(request)
    }

    /// Takes what an inference is from the fields.
    pub(super) fn read(fields: &mut Fields, job_id: String) -> Self {
        let input = read_input(fields, read_message);
        let max_tokens =
            fields.optional("max_tokens", "a whole number, at least 1", |&n| n >= 1_u32);
        let sampling = Sampling {
            seed: fields.optional(
                "seed",
                "a whole number from 0 to 18446744073709551615",
                |_| true,
            ),
            ..read_sampling(fields)
        };
        let stop = fields.optional("stop", STOP, |stop: &Vec<String>| is_stop(stop));
        Self {
            job_id,
            input,
            max_tokens,
            sampling,
            stop: stop.unwrap_or_default(),
            cache_salt: read_cache_salt(fields),
        }
    }
}

/// The fields of [`ExecuteRequest::read`].
pub(super) const INFERENCE: &str = "prompt, messages, max_tokens, temperature, top_p, top_k, min_p, repetition_penalty, stop, seed, cache_salt";

pub(super) const STOP: &str = "at most 4 texts of 1 to 100 characters";

pub(super) fn is_stop(stop: &[String]) -> bool {
    let fits = |text: &String| (1..=100).contains(&text.chars().count());
    stop.len() <= 4 && stop.iter().all(fits)
}

pub(super) fn read_cache_salt(fields: &mut Fields) -> Option<String> {
    fields.optional("cache_salt", JOB_ID, |text: &String| is_job_id(text))
}

/// Every field but the seed.
pub(super) fn read_sampling(fields: &mut Fields) -> Sampling {
    let default = Sampling::default();
    // Checked before it is rounded to f32.
    let mut number = |field: &str, constraint: &str, most: f64, default: f32| {
        let fits = |value: &f64| (0.0..=most).contains(value);
        fields
            .optional(field, constraint, fits)
            .map_or(default, |value: f64| value as f32)
    };
    Sampling {
        temperature: number(
            "temperature",
            "a number from 0 to 2",
            2.0,
            default.temperature,
        ),
        top_p: number("top_p", "a number from 0 to 1", 1.0, default.top_p),
        min_p: number("min_p", "a number from 0 to 1", 1.0, default.min_p),
        repetition_penalty: number(
            "repetition_penalty",
            "a number from 0 to 2",
            2.0,
            default.repetition_penalty,
        ),
        top_k: fields
            .optional("top_k", "a whole number, 0 for off", |_| true)
            .unwrap_or(default.top_k),
        seed: None,
    }
}

/// The input, or an empty prompt with a violation recorded.
pub(super) fn read_input(fields: &mut Fields, read: fn(&mut Fields) -> Option<Message>) -> Input {
    const EITHER: &str = "either prompt or messages";
    let empty = Input::Prompt(String::new());
    match (fields.take("prompt"), fields.take("messages")) {
        (Some(Value::String(text)), None) if !text.is_empty() => Input::Prompt(text),
        (Some(_), None) => {
            let constraint = "a text of at least 1 character";
            fields.violate("prompt", constraint, format!("it must be {constraint}"));
            empty
        }
        (None, Some(messages)) => {
            read_messages(fields, messages, read).map_or(empty, Input::Messages)
        }
        (None, None) => {
            fields.violate(
                "prompt",
                EITHER,
                "there is neither prompt nor messages".to_owned(),
            );
            empty
        }
        (Some(_), Some(_)) => {
            fields.violate(
                "messages",
                EITHER,
                "there are prompt and messages".to_owned(),
            );
            empty
        }
    }
}

/// A conversation, each of its messages read by `read`.
pub(super) fn read_messages(
    fields: &mut Fields,
    value: Value,
    read: fn(&mut Fields) -> Option<Message>,
) -> Option<Vec<Message>> {
    let constraint = "a list of at least one {role, content}";
    let items = match value {
        Value::Array(items) if !items.is_empty() => items,
        _ => {
            fields.violate("messages", constraint, format!("it must be {constraint}"));
            return None;
        }
    };
    let mut messages = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let Value::Object(item) = item else {
            let field = format!("messages[{index}]");
            fields.violate(
                &field,
                "an object",
                "it must be an object with role and content".to_owned(),
            );
            continue;
        };
        let mut item = Fields::new(item, format!("messages[{index}]."));
        messages.extend(read(&mut item));
        fields.extend(item.finish("role, content"));
    }
    Some(messages)
}

fn read_message(item: &mut Fields) -> Option<Message> {
    let role = read_role(item);
    let content = item.required("content", "a text", |_: &String| true);
    role.zip(content)
        .map(|(role, content)| Message { role, content })
}

pub(super) fn read_role(item: &mut Fields) -> Option<String> {
    item.required("role", "a text of 1 to 64 characters", |role: &String| {
        (1..=64).contains(&role.chars().count())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(body: &Value) -> Result<ExecuteRequest, Violations> {
        ExecuteRequest::from_json(body.to_string().as_bytes())
    }

    fn wrong_fields(body: &Value) -> Vec<String> {
        let violations = read(body).unwrap_err().0;
        violations
            .into_iter()
            .map(|violation| violation.field)
            .collect()
    }

    #[test]
    fn a_request_reads_back_as_it_was_written() {
        let full = ExecuteRequest {
            job_id: "j".into(),
            input: Input::Messages(vec![Message {
                role: "user".into(),
                content: "hé".into(),
            }]),
            max_tokens: Some(7),
            sampling: Sampling {
                temperature: 0.7,
                top_p: 0.9,
                top_k: 40,
                min_p: 0.05,
                repetition_penalty: 1.1,
                seed: Some(u64::MAX),
            },
            stop: vec!["\n".into()],
            cache_salt: Some("s".into()),
        };
        assert_eq!(read(&serde_json::to_value(&full).unwrap()), Ok(full));
        let small = read(&json!({"job_id": "j", "prompt": "x", "stop": null})).unwrap();
        assert_eq!(small.input, Input::Prompt("x".into()));
        assert_eq!(small.sampling, Sampling::default());
        assert_eq!(read(&serde_json::to_value(&small).unwrap()), Ok(small));
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let body = json!({
            "job_id": "", "messages": [], "max_tokens": 0, "temperature": 2.1, "top_p": "1", "top_k": -1,
            "min_p": 1.5, "repetition_penalty": -0.1, "stop": ["a", "b", "c", "d", "e"], "seed": 1.5, "best_of": 2,
            "cache_salt": "",
        });
        let mut wrong = wrong_fields(&body);
        let mut all: Vec<&str> = body
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        wrong.sort();
        all.sort_unstable();
        assert_eq!(wrong, all);
    }

    #[test]
    fn limits_are_inclusive() {
        for (field, fits, wrong) in [
            ("job_id", json!("é".repeat(128)), json!("é".repeat(129))),
            ("max_tokens", json!(1), json!(4_294_967_296_u64)),
            ("temperature", json!(2), json!(-1e-300)),
            ("temperature", json!(0.1), json!(2.000_000_000_1)),
            ("max_tokens", json!(1.0), json!(1.5)),
            ("temperature", json!(0), json!(true)),
            ("top_p", json!(1.0), json!(1.001)),
            ("stop", json!(["é".repeat(100)]), json!(["é".repeat(101)])),
            ("stop", json!([]), json!([""])),
            ("seed", json!(u64::MAX), json!(-1)),
            ("prompt", json!("x"), json!("")),
        ] {
            let mut body = json!({"job_id": "j", "prompt": "x"});
            body[field] = fits;
            assert!(read(&body).is_ok(), "{body}");
            body[field] = wrong;
            assert_eq!(wrong_fields(&body), [field], "{body}");
        }
    }

    #[test]
    fn prompt_and_messages_exclude_each_other() {
        let message = json!([{"role": "user", "content": "x"}]);
        assert_eq!(wrong_fields(&json!({"job_id": "j"})), ["prompt"]);
        assert_eq!(
            wrong_fields(&json!({"job_id": "j", "prompt": "x", "messages": message})),
            ["messages"]
        );
    }

    #[test]
    fn each_message_is_checked() {
        let messages =
            json!([{"role": "", "content": 3}, "x", {"role": "user", "content": "", "name": "n"}]);
        assert_eq!(
            wrong_fields(&json!({"job_id": "j", "messages": messages})),
            [
                "messages[0].role",
                "messages[0].content",
                "messages[1]",
                "messages[2].name"
            ]
        );
    }

    #[test]
    fn a_hundred_violations_are_told_and_the_others_counted() {
        let body = json!({"job_id": "j", "messages": vec![1; 250]});
        let violations = read(&body).unwrap_err().0;
        assert_eq!(violations.len(), 100);
        assert!(violations[99].message.starts_with("151 more"));
        let body = json!({"job_id": "j", "messages": vec![1; 100]});
        assert_eq!(wrong_fields(&body)[99], "messages[99]");
    }

    #[test]
    fn the_prompt_is_never_repeated() {
        let body = json!({"job_id": "j", "prompt": ["secret"], "messages": "secret", "stop": "secret", "seed": "secret"});
        let violations = read(&body).unwrap_err();
        assert!(!violations.to_string().contains("secret"), "{violations}");
    }

    #[test]
    fn a_body_that_is_no_object_is_one_violation() {
        for body in ["", "{", "[]", "1", "{\"job_id\": \"\u{0}\"}", "\"secret\""] {
            let violations = ExecuteRequest::from_json(body.as_bytes()).unwrap_err();
            assert_eq!(violations.0.len(), 1, "{body}");
            assert!(!violations.to_string().contains("secret"));
        }
    }
}
