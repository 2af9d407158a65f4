use serde_json::{Value, json};

use super::*;

fn chat(more: &Value) -> Result<GenerateRequest, Violations> {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "x"}]});
    merge(&mut body, more);
    GenerateRequest::chat_from_json(body.to_string().as_bytes())
}

fn completion(more: &Value) -> Result<GenerateRequest, Violations> {
    let mut body = json!({"model": "m", "prompt": "x"});
    merge(&mut body, more);
    GenerateRequest::completion_from_json(body.to_string().as_bytes())
}

fn merge(body: &mut Value, more: &Value) {
    for (field, value) in more.as_object().unwrap() {
        body[field] = value.clone();
    }
}

fn wrong(result: Result<GenerateRequest, Violations>) -> Vec<String> {
    let violations = result.unwrap_err().0;
    violations
        .into_iter()
        .map(|violation| violation.field)
        .collect()
}

#[test]
fn what_changes_nothing_is_taken() {
    let plain = chat(&json!({})).unwrap();
    let harmless = json!({
        "user": "u", "metadata": {"a": "b"}, "n": 1, "frequency_penalty": 0, "presence_penalty": 0.0,
        "logit_bias": {}, "response_format": {"type": "text"}, "tools": [], "tool_choice": "none", "store": false,
        "parallel_tool_calls": true, "modalities": ["text"], "service_tier": "auto", "functions": [],
        "stream_options": {"include_obfuscation": false}, "top_logprobs": 0, "top_k": -1, "audio": null,
        "safety_identifier": "s", "prompt_cache_key": "k", "verbosity": "medium",
    });
    assert_eq!(chat(&harmless), Ok(plain.clone()));
    for field in harmless.as_object().unwrap().keys() {
        assert_eq!(chat(&json!({field: null})), Ok(plain.clone()), "{field}");
    }
    let plain = completion(&json!({})).unwrap();
    let harmless = json!({"echo": false, "best_of": 1, "suffix": "", "n": 1, "logit_bias": null});
    assert_eq!(completion(&harmless), Ok(plain));
}

#[test]
fn what_would_change_the_answer_is_refused_by_name() {
    for (field, value) in [
        ("n", json!(2)),
        ("frequency_penalty", json!(0.1)),
        ("presence_penalty", json!(-1)),
        ("logit_bias", json!({"1": 2})),
        ("response_format", json!({"type": "json_object"})),
        ("response_format", json!({"type": "text", "x": 1})),
        ("response_format", json!({})),
        ("tools", json!([{}])),
        ("tool_choice", json!("required")),
        ("store", json!(true)),
        ("modalities", json!(["text", "audio"])),
        ("audio", json!({})),
        ("reasoning_effort", json!("high")),
        ("metadata", json!({"a": 1})),
        ("top_logprobs", json!(1)),
        ("top_k", json!(-2)),
        ("temperature", json!(2.1)),
        ("stop", json!(["a", "b", "c", "d", "e"])),
        ("stop", json!("")),
        ("seed", json!(1.5)),
        ("stream", json!("true")),
        ("stream_options", json!(true)),
        ("cache_salt", json!("")),
        ("frobnicate", json!(null)),
        ("model", json!(null)),
        ("messages", json!([])),
    ] {
        assert_eq!(
            wrong(chat(&json!({field: value}))),
            [field],
            "{field}: {value}"
        );
    }
    for (field, value) in [
        ("echo", json!(true)),
        ("best_of", json!(2)),
        ("suffix", json!("x")),
        ("logprobs", json!(6)),
        ("logprobs", json!(true)),
        ("max_completion_tokens", json!(1)),
    ] {
        assert_eq!(wrong(completion(&json!({field: value}))), [field]);
    }
    let nested = json!({"stream_options": {"include_usage": 1, "x": null}});
    assert_eq!(
        wrong(chat(&nested)),
        ["stream_options.include_usage", "stream_options.x"]
    );
}

#[test]
fn the_fields_that_matter_are_read() {
    let read = chat(&json!({
        "max_tokens": 7, "max_completion_tokens": 7, "temperature": 0, "top_k": 3, "seed": -1, "stop": "\n", "stream": true,
        "stream_options": {"include_usage": true}, "logprobs": true, "top_logprobs": 20, "cache_salt": "s",
    }))
    .unwrap();
    assert_eq!((read.max_tokens, read.logprobs), (Some(7), Some(20)));
    assert_eq!(
        (read.sampling.seed, read.sampling.top_k),
        (Some(u64::MAX), 3)
    );
    assert!(read.stream && read.include_usage && read.sampling.temperature == 0.0);
    assert_eq!(
        (read.stop, read.cache_salt),
        (vec!["\n".to_owned()], Some("s".to_owned()))
    );
    let both = json!({"max_tokens": 7, "max_completion_tokens": 8});
    assert_eq!(wrong(chat(&both)), ["max_tokens"]);
    assert_eq!(
        completion(&json!({"logprobs": 0})).unwrap().logprobs,
        Some(0)
    );
}

#[test]
fn content_comes_as_text_or_as_parts() {
    let parts = json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]);
    let message =
        json!({"role": "assistant", "content": parts, "refusal": null, "tool_calls": null});
    let given = chat(&json!({"messages": [message]})).unwrap().given;
    let Given::Input(Input::Messages(messages)) = given else {
        panic!("{given:?}")
    };
    assert_eq!(messages[0].content, "a\nb");
    for content in [
        json!(null),
        json!([]),
        json!([{"type": "image_url", "image_url": {"url": "u"}}]),
        json!([{"type": "text"}]),
        json!(["a"]),
    ] {
        let messages = json!([{"role": "user", "content": content}]);
        assert_eq!(
            wrong(chat(&json!({"messages": messages}))),
            ["messages[0].content"]
        );
    }
    let tools = json!([{"role": "user", "content": "x", "tool_calls": [{}], "name": "n"}]);
    assert_eq!(
        wrong(chat(&json!({"messages": tools}))),
        ["messages[0].name", "messages[0].tool_calls"]
    );
}

#[test]
fn a_prompt_is_a_text_or_tokens() {
    let given = |prompt: Value| completion(&json!({"prompt": prompt})).unwrap().given;
    let text = Given::Input(Input::Prompt("x".into()));
    assert_eq!(
        (given(json!("x")), given(json!(["x"]))),
        (text.clone(), text)
    );
    let tokens = Given::Tokens(vec![1, 2]);
    assert_eq!(
        (given(json!([1, 2])), given(json!([[1, 2]]))),
        (tokens.clone(), tokens)
    );
    for prompt in [
        json!(null),
        json!(""),
        json!([]),
        json!([""]),
        json!(["x", "y"]),
        json!([1, "x"]),
        json!([-1]),
        json!([[]]),
        json!([[1], [2]]),
        json!(3),
    ] {
        assert_eq!(
            wrong(completion(&json!({"prompt": prompt}))),
            ["prompt"],
            "{prompt}"
        );
    }
}
