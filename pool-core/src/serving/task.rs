//! The body of `POST /v2/tasks`.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::request::{ExecuteRequest, INFERENCE, Violations, object};

/// One inference that an orchestrator finds a worker for.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskRequest {
    /// The name of a model of the fleet.
    pub model: String,
    pub priority: Priority,
    /// 1–128 characters: tasks of one session go to the same worker where that costs little.
    pub session_id: Option<String>,
    /// From its submission until it must have ended.
    pub deadline: Option<Duration>,
    /// Without a `job_id`.
    pub inference: ExecuteRequest,
}

/// Who waits for an answer.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Somebody, now.
    #[default]
    Interactive,
    /// Nobody in particular.
    Batch,
}

impl Priority {
    pub const ALL: [Self; 2] = [Self::Interactive, Self::Batch];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Batch => "batch",
        }
    }
}

impl TaskRequest {
    /// Reads and checks a body; what depends on the fleet is not checked here.
    pub fn from_json(body: &[u8]) -> Result<Self, Violations> {
        let mut fields = object(body)?;
        let model = fields.required("model", "the name of a model", |_: &String| true);
        let priority = fields.optional("priority", "interactive or batch", |_: &Priority| true);
        let is_session = |text: &String| (1..=128).contains(&text.chars().count());
        let session_id = fields.optional("session_id", "1 to 128 characters", is_session);
        let deadline = fields.optional("deadline_ms", "a whole number, at least 1", |&ms| ms >= 1);
        let inference = ExecuteRequest::read(&mut fields, String::new());
        let known = format!("model, priority, session_id, deadline_ms, {INFERENCE}");
        fields.finish(&known).none()?;
        Ok(Self {
            model: model.unwrap_or_default(),
            priority: priority.unwrap_or_default(),
            session_id,
            deadline: deadline.map(Duration::from_millis),
            inference,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_task_is_an_inference_with_a_model_and_a_place_in_the_queue() {
        let body = json!({"model": "tiny", "prompt": "a", "priority": "batch", "session_id": "s", "deadline_ms": 1500,
            "max_tokens": 3, "seed": 7});
        let task = TaskRequest::from_json(body.to_string().as_bytes()).unwrap();
        assert_eq!(
            (task.model.as_str(), task.priority),
            ("tiny", Priority::Batch)
        );
        assert_eq!(task.deadline, Some(Duration::from_millis(1500)));
        assert_eq!(
            (task.inference.max_tokens, task.inference.sampling.seed),
            (Some(3), Some(7))
        );
        let least = json!({"model": "tiny", "messages": [{"role": "user", "content": "a"}]});
        let task = TaskRequest::from_json(least.to_string().as_bytes()).unwrap();
        assert_eq!(
            (task.priority, task.deadline),
            (Priority::Interactive, None)
        );
    }

    #[test]
    fn every_violation_is_told_at_once() {
        let body = json!({"prompt": "", "priority": "now", "deadline_ms": 0, "session_id": "", "job_id": "j", "top_p": 2});
        let violations = TaskRequest::from_json(body.to_string().as_bytes()).unwrap_err();
        let mut fields: Vec<&str> = violations.0.iter().map(|v| v.field.as_str()).collect();
        fields.sort_unstable();
        let expected = [
            "deadline_ms",
            "job_id",
            "model",
            "priority",
            "prompt",
            "session_id",
            "top_p",
        ];
        assert_eq!(fields, expected);
    }
}
