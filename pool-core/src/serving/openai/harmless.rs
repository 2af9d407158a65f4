//! Fields that OpenAI's clients send and that change nothing; any other value of theirs is refused by name.

use serde_json::Value;

use crate::serving::fields::Fields;

fn is_text(value: &Value) -> bool {
    value.is_string()
}

fn is_empty(value: &Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty)
}

fn is_one_of(texts: &'static [&'static str]) -> impl Fn(&Value) -> bool {
    move |value| value.as_str().is_some_and(|text| texts.contains(&text))
}

/// What chat completions and completions share.
pub(super) fn of_both(fields: &mut Fields) {
    let is_number = |wanted: f64| {
        move |value: &Value| {
            value
                .as_f64()
                .is_some_and(|value| (value - wanted).abs() == 0.0)
        }
    };
    fields.harmless("n", "1", is_number(1.0));
    for penalty in ["frequency_penalty", "presence_penalty"] {
        fields.harmless(penalty, "0", is_number(0.0));
    }
    fields.harmless("logit_bias", "an empty object", |value| {
        value.as_object().is_some_and(serde_json::Map::is_empty)
    });
    fields.harmless("user", "a text", is_text);
}

/// What only chat completions have.
pub(super) fn of_chat(fields: &mut Fields) {
    for id in ["safety_identifier", "prompt_cache_key"] {
        fields.harmless(id, "a text", is_text);
    }
    fields.harmless("metadata", "an object of texts", |value| {
        value
            .as_object()
            .is_some_and(|object| object.values().all(Value::is_string))
    });
    fields.harmless("store", "false", |value| value == false);
    fields.harmless("response_format", "{\"type\": \"text\"}", |value| {
        value.as_object().is_some_and(|object| {
            object.len() == 1 && object.get("type").is_some_and(|kind| kind == "text")
        })
    });
    for list in ["tools", "functions"] {
        fields.harmless(list, "an empty list", is_empty);
    }
    for choice in ["tool_choice", "function_call"] {
        fields.harmless(choice, "none or auto", is_one_of(&["none", "auto"]));
    }
    fields.harmless("parallel_tool_calls", "true or false", Value::is_boolean);
    fields.harmless("modalities", "[\"text\"]", |value| {
        *value == Value::from(["text"].map(Value::from).to_vec())
    });
    fields.harmless(
        "service_tier",
        "auto or default",
        is_one_of(&["auto", "default"]),
    );
    fields.harmless("verbosity", "medium", is_one_of(&["medium"]));
    fields.harmless("reasoning_effort", "none", is_one_of(&["none"]));
    for field in ["audio", "prediction", "web_search_options"] {
        fields.harmless(field, "null", |_| false);
    }
}

/// What only completions have.
pub(super) fn of_completions(fields: &mut Fields) {
    fields.harmless("best_of", "1", |value| value == 1);
    fields.harmless("echo", "false", |value| value == false);
    fields.harmless("suffix", "an empty text", |value| value == "");
}

/// What an answer of OpenAI's has besides role and content, sent back as a message.
pub(super) fn of_message(fields: &mut Fields) {
    for field in ["name", "refusal", "audio", "function_call"] {
        fields.harmless(field, "null", |_| false);
    }
    for field in ["tool_calls", "annotations"] {
        fields.harmless(field, "an empty list", is_empty);
    }
}
