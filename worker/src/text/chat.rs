//! The chat template of a model, in the Hugging Face dialect of Jinja.
//!
//! Dialect: `transformers`' `apply_chat_template`: blocks trim the line they stand on, `raise_exception`, `strftime_now`,
//! `tojson` as Python's `json.dumps`, the methods of Python's strings, loop controls.

use std::collections::BTreeMap;
use std::path::Path;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value};
use minijinja::{Environment, Error, ErrorKind};
use pool_core::serving::Message;
use serde::{Deserialize, Serialize as _};
use serde_json::ser::{PrettyFormatter, Serializer};

use crate::model::{ModelError, files};

/// Lays out a conversation as the model saw conversations in training.
pub struct ChatTemplate {
    environment: Environment<'static>,
    /// Why conversations cannot be laid out.
    unusable: Option<ChatError>,
    /// `bos_token`, `eos_token` and their like, as the template names them.
    special: BTreeMap<String, String>,
}

/// A conversation cannot be laid out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChatError {
    #[error("this model has no chat template: send `prompt`")]
    None,
    #[error("the model's chat template cannot be read: {0}")]
    Broken(String),
    #[error("the model's chat template refuses the messages: {0}")]
    Refused(String),
    #[error(
        "the model's chat template takes more than {FUEL} steps to lay out the messages: send fewer"
    )]
    TooLong,
    #[error("the model's tokenizer cannot read the text")]
    Words,
    #[error("it has the token {0}, which the tokenizer knows and the model never learned")]
    Unlearned(u32),
}

const NAME: &str = "chat";

/// Steps that a template may take, so that none runs for ever. A message takes some dozens.
const FUEL: u64 = 10_000_000;

/// Bytes of a template. The longest of published models have some 30,000.
const LONGEST: usize = 1 << 16;
/// Bytes of what it lays out: far more than a context holds.
const MOST: usize = 1 << 24;

#[derive(Default, Deserialize)]
struct TokenizerConfig {
    chat_template: Option<Templates>,
    #[serde(flatten)]
    rest: BTreeMap<String, serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Templates {
    One(String),
    Named(Vec<Named>),
}

#[derive(Deserialize)]
struct Named {
    name: String,
    template: String,
}

impl ChatTemplate {
    /// Reads the template of a model folder: `chat_template.jinja`, else the one in `tokenizer_config.json`, of
    /// several the one named `default`. None where there is neither file.
    pub fn read(dir: &Path) -> Result<Option<Self>, ModelError> {
        let config: Option<TokenizerConfig> = files::json(dir, "tokenizer_config.json")?;
        let jinja = files::text(dir, "chat_template.jinja")?;
        if config.is_none() && jinja.is_none() {
            return Ok(None);
        }
        let config = config.unwrap_or_default();
        let default = |named: Vec<Named>| named.into_iter().find(|named| named.name == "default");
        let inline = match config.chat_template {
            Some(Templates::One(template)) => Some(template),
            Some(Templates::Named(named)) => default(named).map(|named| named.template),
            None => None,
        };
        let special = special_tokens(&config.rest);
        Ok(Some(Self::new(jinja.or(inline), special)))
    }

    pub(super) fn new(template: Option<String>, special: BTreeMap<String, String>) -> Self {
        let mut environment = environment();
        let unusable = match template {
            None => Some(ChatError::None),
            Some(template) if template.len() > LONGEST => Some(ChatError::Broken(format!(
                "it has {} bytes, more than {LONGEST}",
                template.len()
            ))),
            Some(template) => environment
                .add_template_owned(NAME, template)
                .err()
                .map(|error| ChatError::Broken(describe(&error))),
        };
        Self {
            environment,
            unusable,
            special,
        }
    }

    /// The text that the model continues with its answer (`add_generation_prompt`), or that would be in its training.
    pub fn render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> Result<String, ChatError> {
        if let Some(error) = &self.unusable {
            return Err(error.clone());
        }
        let refused = |error: Error| match error.kind() {
            ErrorKind::OutOfFuel => ChatError::TooLong,
            _ => ChatError::Refused(describe(&error)),
        };
        let template = self.environment.get_template(NAME).map_err(refused)?;
        let mut context = self
            .special
            .iter()
            .map(|(name, token)| (name.as_str(), Value::from(token)))
            .collect::<BTreeMap<_, _>>();
        context.insert("messages", messages.iter().map(message).collect::<Value>());
        context.insert("add_generation_prompt", add_generation_prompt.into());
        let mut text = Bounded(Vec::new());
        match template.render_captured_to(context, &mut text) {
            Err(error) if error.kind() == ErrorKind::WriteFailure => Err(ChatError::Refused(
                format!("it writes more than {MOST} bytes"),
            )),
            Err(error) => Err(refused(error)),
            Ok(_) => Ok(String::from_utf8_lossy(&text.0).into_owned()),
        }
    }

    pub fn eos_token(&self) -> Option<&str> {
        self.special.get("eos_token").map(String::as_str)
    }
}

/// Up to [`MOST`] bytes.
struct Bounded(Vec<u8>);

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() + bytes.len() > MOST {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn message(message: &Message) -> Value {
    Value::from_pairs([("role", &message.role), ("content", &message.content)])
}

/// `*_token` fields, each a text or an object with its text in `content`.
fn special_tokens(fields: &BTreeMap<String, serde_json::Value>) -> BTreeMap<String, String> {
    let token = |(name, value): (&String, &serde_json::Value)| {
        let text = value.as_str().or_else(|| value.get("content")?.as_str())?;
        name.ends_with("_token")
            .then(|| (name.clone(), text.to_owned()))
    };
    fields.iter().filter_map(token).collect()
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build();
    environment.set_fuel(Some(FUEL));
    environment.set_syntax(syntax.unwrap_or_default());
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_function("raise_exception", |message: String| {
        Err::<String, _>(Error::new(ErrorKind::InvalidOperation, message))
    });
    environment.add_function("strftime_now", |format: String| {
        let now = jiff::Timestamp::now();
        jiff::fmt::strtime::format(format, now)
            .map_err(|error| Error::new(ErrorKind::InvalidOperation, error.to_string()))
    });
    environment.add_filter("tojson", tojson);
    environment
}

/// `json.dumps(value, ensure_ascii=False, indent=indent)`.
fn tojson(value: &Value, options: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let failed =
        |error: serde_json::Error| Error::new(ErrorKind::BadSerialization, error.to_string());
    let mut json = Vec::new();
    match indent {
        Some(indent) => {
            let indent = " ".repeat(indent.min(16));
            let formatter = PrettyFormatter::with_indent(indent.as_bytes());
            value.serialize(&mut Serializer::with_formatter(&mut json, formatter))
        }
        None => value.serialize(&mut Serializer::with_formatter(&mut json, Spaced)),
    }
    .map_err(failed)?;
    Ok(String::from_utf8_lossy(&json).into_owned())
}

/// Python's separators: a space after each comma and colon.
struct Spaced;

impl serde_json::ser::Formatter for Spaced {
    fn begin_array_value<W: std::io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        if first {
            Ok(())
        } else {
            writer.write_all(b", ")
        }
    }

    fn begin_object_key<W: std::io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        if first {
            Ok(())
        } else {
            writer.write_all(b", ")
        }
    }

    fn begin_object_value<W: std::io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
    ) -> std::io::Result<()> {
        writer.write_all(b": ")
    }
}

/// The message of an error and where in the template it arose, without the values that were there.
fn describe(error: &Error) -> String {
    let what = error
        .detail()
        .map_or_else(|| error.kind().to_string(), str::to_owned);
    match error.line() {
        Some(line) => format!("{what} (line {line})"),
        None => what,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> ChatTemplate {
        let special = [("bos_token".to_owned(), "<s>".to_owned())].into();
        ChatTemplate::new(Some(text.to_owned()), special)
    }

    fn user(content: &str) -> [Message; 1] {
        [Message {
            role: "user".into(),
            content: content.into(),
        }]
    }

    #[test]
    fn the_dialect_is_the_one_of_hugging_face() {
        for (text, expected) in [
            ("{{ bos_token }}{{ messages[0]['content'] }}", "<s>hi Bob"),
            (
                "{% for m in messages %}\n    {% if m.role == 'user' %}\nU\n    {% endif %}\n{% endfor %}\n",
                "U\n",
            ),
            (
                "{{ messages[0].content.split(' ')[-1].upper().strip() }}",
                "BOB",
            ),
            (
                "{{ messages[0].content.startswith('hi') and not messages[0].content.endswith('hi') }}",
                "True",
            ),
            (
                "{{ {'a': [1, 'é<'], 'b': none} | tojson }}",
                "{\"a\": [1, \"é<\"], \"b\": null}",
            ),
            ("{{ [1] | tojson(indent=2) }}", "[\n  1\n]"),
            ("{{ strftime_now('%Y') | length }}", "4"),
            (
                "{% for i in [1, 2, 3] %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}",
                "1",
            ),
            (
                "{% set ns = namespace(x=1) %}{% set ns.x = 2 %}{{ ns.x }}",
                "2",
            ),
            (
                "{{ tools is defined }}{{ missing }}{{ 'a' if add_generation_prompt }}",
                "Falsea",
            ),
            ("{{ messages[0].get('tool_calls') is none }}", "True"),
        ] {
            assert_eq!(
                template(text).render(&user("hi Bob"), true).as_deref(),
                Ok(expected),
                "{text}"
            );
        }
    }

    #[test]
    fn a_template_that_refuses_says_why() {
        let refusal =
            template("{{ raise_exception('no system, please') }}").render(&user("x"), true);
        let Err(ChatError::Refused(reason)) = refusal else {
            panic!("{refusal:?}")
        };
        assert_eq!(reason, "no system, please (line 1)");
    }

    #[test]
    fn a_template_does_not_run_for_ever() {
        let endless = "{% for a in range(10000) %}{% for b in range(10000) %}{% set c = a + b %}{% endfor %}{% endfor %}";
        let refusal = template(endless).render(&user("x"), true);
        assert_eq!(refusal, Err(ChatError::TooLong));
    }

    #[test]
    fn a_template_is_bounded_in_what_it_is_and_writes() {
        let flood = "{% set line = 'x' * 100000 %}{% for i in range(1000) %}{{ line }}{% endfor %}";
        let refusal = template(flood).render(&user("x"), true);
        let Err(ChatError::Refused(reason)) = refusal else {
            panic!("{:?}", refusal.map(|text| text.len()))
        };
        assert!(reason.contains("writes more than"), "{reason}");
        let long = format!("{{{{ {}1 }}}}", "1+".repeat(LONGEST / 2));
        let refusal = template(&long).render(&user("x"), true);
        assert!(matches!(refusal, Err(ChatError::Broken(_))), "{refusal:?}");
    }

    #[test]
    fn a_broken_and_an_absent_template_are_told_apart() {
        assert!(matches!(
            template("{% if %}").render(&user("x"), true),
            Err(ChatError::Broken(_))
        ));
        let absent = ChatTemplate::new(None, BTreeMap::new());
        assert_eq!(absent.render(&user("x"), true), Err(ChatError::None));
    }

    #[test]
    fn every_place_where_a_template_may_stand_is_read() {
        let read = |files: &[(&str, &str)]| {
            let dir = tempfile::tempdir().unwrap();
            for (name, text) in files {
                std::fs::write(dir.path().join(name), text).unwrap();
            }
            ChatTemplate::read(dir.path())
                .unwrap()
                .unwrap()
                .render(&user("x"), true)
        };
        let one = (
            "tokenizer_config.json",
            r#"{"chat_template": "{{ eos_token }}", "eos_token": {"content": "</s>"}}"#,
        );
        let named = r#"{"chat_template": [{"name": "tools", "template": "t"}, {"name": "default", "template": "d"}]}"#;
        assert_eq!(read(&[one]).as_deref(), Ok("</s>"));
        assert_eq!(
            read(&[("tokenizer_config.json", named)]).as_deref(),
            Ok("d")
        );
        assert_eq!(
            read(&[one, ("chat_template.jinja", "j{{ eos_token }}")]).as_deref(),
            Ok("j</s>")
        );
        assert_eq!(
            read(&[("tokenizer_config.json", "{}")]),
            Err(ChatError::None)
        );
    }
}
