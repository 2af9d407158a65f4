//! `${name}` in the commands of llama-swap.

use reconciler::fleet::tree::{Node, Value};
use reconciler::problem::Problem;

use super::entries;

/// The port that llama-swap chooses. It stays as it is.
pub const PORT: &str = "${PORT}";

/// Bytes of the longest command: macros that hold each other grow without end.
const LONGEST: usize = 1 << 20;

/// Names and values in the order of the file: one may hold those before it.
#[derive(Debug, Default, Clone)]
pub struct Macros(Vec<(String, String)>);

impl Macros {
    pub fn of(node: Option<&Node>) -> Result<Self, Vec<Problem>> {
        Self::default().with(node)
    }

    /// With those of a model, which come before those of all.
    pub fn with(&self, node: Option<&Node>) -> Result<Self, Vec<Problem>> {
        let mut macros = self.0.clone();
        for entry in node.map_or(Ok(&[][..]), |node| entries(node, "`macros`"))? {
            // Others can only stand for whole values, which no command has.
            let Value::Scalar { text, .. } = &entry.node.value else {
                continue;
            };
            let (name, value) = (entry.key.to_string(), text.to_string());
            match macros.iter_mut().find(|(known, _)| *known == name) {
                Some(known) => known.1 = value,
                None => macros.push((name, value)),
            }
        }
        Ok(Self(macros))
    }

    /// The text with everything in place of its name but the port.
    pub fn expand(&self, text: &str, model: &str) -> Result<String, String> {
        let mut text = text.to_owned();
        for (name, value) in self.0.iter().rev() {
            text = replaced(&text, &format!("${{{name}}}"), value)?;
        }
        text = replaced(&text, "${MODEL_ID}", model)?;
        let mut expanded = String::new();
        let mut rest = &*text;
        while let Some((before, after)) = rest.split_once("${") {
            let (name, behind) = after
                .split_once('}')
                .ok_or("its command has a `${` without its `}`")?;
            expanded += before;
            match name.strip_prefix("env.") {
                Some(variable) => {
                    expanded += &std::env::var(variable).map_err(|_| {
                        format!("its command needs the environment variable {variable}, which is not set here")
                    })?;
                }
                None if name == "PORT" => expanded += PORT,
                None => {
                    return Err(format!(
                        "its command has `${{{name}}}`, which is no macro of the file"
                    ));
                }
            }
            rest = behind;
            check(expanded.len() + rest.len())?;
        }
        Ok(expanded + rest)
    }
}

/// Nothing is written where it would be too long.
fn replaced(text: &str, name: &str, value: &str) -> Result<String, String> {
    let count = text.matches(name).count();
    let rest = text.len() - count * name.len();
    check(rest.saturating_add(count.saturating_mul(value.len())))?;
    Ok(text.replace(name, value))
}

fn check(length: usize) -> Result<(), String> {
    if length > LONGEST {
        return Err(format!(
            "its command is longer than {LONGEST} bytes with its macros in place"
        ));
    }
    Ok(())
}
