//! The configuration of llama-swap: a command of llama-server for each model.
//!
//! See `config.example.yaml` in <https://github.com/mostlygeek/llama-swap>.

mod command;
mod macros;

use std::path::Path;

use reconciler::fleet::tree::{self, Entry, Node, Value};
use reconciler::problem::Problem;

use super::{Found, Reading};
use crate::failure::Failure;
use command::Server;
use macros::Macros;

/// Keys of the file and what stands in their place; the values of none are shown, as keys of an API are among them.
const OF_ALL: [(&str, &str); 9] = [
    (
        "apiKeys",
        "`orchestratord keygen` makes keys, tenants.yaml names them",
    ),
    ("globalTTL", "workers run until they are stopped"),
    ("groups", "all workers run at the same time"),
    (
        "healthCheckTimeout",
        "a worker is waited for as long as it loads",
    ),
    ("hooks", "workers run from `rbee apply` on"),
    ("matrix", "all workers run at the same time"),
    ("profiles", "all workers run at the same time"),
    (
        "routing",
        "the orchestrator chooses among the workers of a model",
    ),
    (
        "startPort",
        "workers listen on the first free port from 8001 on",
    ),
];

/// Keys of a model and what stands in their place.
const OF_A_MODEL: [(&str, &str); 9] = [
    ("aliases", "a model has one name, that of fleet.yaml"),
    (
        "checkEndpoint",
        "a worker counts as ready when it answered a question",
    ),
    ("cmdStop", "workers are stopped by their hive"),
    (
        "concurrencyLimit",
        "`slots` says how many requests are served at the same time",
    ),
    ("filters", "requests are served as clients send them"),
    ("proxy", "workers are found by their address"),
    ("ttl", "workers run until they are stopped"),
    ("unlisted", "all models of the fleet are listed"),
    ("useModelName", "a model has one name, that of fleet.yaml"),
];

const NO_PLACE: &str = "fleet.yaml has no place for it";

pub fn read(path: &Path) -> Result<Reading, Failure> {
    let place = || path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::new(format!(
            "cannot read the configuration of llama-swap: {error}"
        ))
        .at(place())
        .help("name the file: `rbee import --from llama-swap FILE`")
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let folder = path.parent().unwrap_or(Path::new(""));
    root(text)
        .and_then(|root| reading(&root, folder))
        .map_err(|problems| Failure::Problems {
            file: path.to_owned(),
            text: text.to_owned(),
            problems,
        })
}

fn root(text: &str) -> Result<Node, Vec<Problem>> {
    let (root, problems) = tree::read(text).map_err(|problem| vec![problem])?;
    if !problems.is_empty() {
        return Err(problems);
    }
    root.ok_or_else(|| {
        let start = reconciler::problem::Span {
            line: 1,
            column: 1,
            length: 1,
        };
        vec![Problem::new(start, "the file is empty")]
    })
}

/// The entries of a mapping.
fn entries<'n>(node: &'n Node, what: &str) -> Result<&'n [Entry], Vec<Problem>> {
    if let Value::Mapping(entries) = &node.value {
        return Ok(entries);
    }
    let message = format!("{what} is a mapping, and here is {}", node.found());
    Err(vec![Problem::new(node.span, message)])
}

fn get<'n>(entries: &'n [Entry], key: &str) -> Option<&'n Node> {
    let entry = entries.iter().find(|entry| &*entry.key == key)?;
    Some(&entry.node)
}

fn reading(root: &Node, folder: &Path) -> Result<Reading, Vec<Problem>> {
    let top = entries(root, "a configuration of llama-swap")?;
    let Some(models) = get(top, "models") else {
        let hint = "llama-swap's configuration has a command for each model there";
        let problem = Problem::new(root.span, "there is no `models`").with_hint(hint);
        return Err(vec![problem]);
    };
    let macros = Macros::of(get(top, "macros"))?;
    let mut reading = Reading::default();
    let mut problems = Vec::new();
    for entry in entries(models, "`models`")? {
        match model(entry, &macros, folder, &mut reading) {
            Ok(read) => reading.add(&entry.key, read),
            Err(more) => problems.extend(more),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    for entry in top {
        let key = &*entry.key;
        if !matches!(key, "models" | "macros") {
            reading.leave(None, key, why(&OF_ALL, key));
        }
    }
    Ok(reading)
}

/// The outer error is a mistake of the file, the inner one is why the model cannot be taken over.
fn model(
    entry: &Entry,
    macros: &Macros,
    folder: &Path,
    reading: &mut Reading,
) -> Result<Result<Found, String>, Vec<Problem>> {
    let name = &*entry.key;
    let keys = entries(&entry.node, "a model")?;
    let command = match get(keys, "cmd").map(|node| &node.value) {
        Some(Value::Scalar { text, .. }) if !text.trim().is_empty() => text,
        _ => {
            let problem = Problem::new(entry.key_span, format!("model `{name}` has no `cmd`"));
            let hint = "such as `cmd: llama-server --port ${PORT} -m /models/x.gguf`";
            return Err(vec![problem.with_hint(hint)]);
        }
    };
    let macros = macros.with(get(keys, "macros"))?;
    let words = macros
        .expand(command, name)
        .and_then(|command| command::words(&command));
    let server = match words.and_then(|words| Server::read(&words, folder)) {
        Ok(server) => server,
        Err(why) => return Ok(Err(why)),
    };
    for (what, why) in server.left {
        reading.leave(Some(name), what, why);
    }
    for Entry { key, node, .. } in keys {
        match &**key {
            "cmd" | "macros" => {}
            "env" => {
                for variable in variables(node) {
                    let what = format!("the variable {variable}");
                    reading.leave(
                        Some(name),
                        what,
                        "workers have the environment of their pool",
                    );
                }
            }
            key => reading.leave(Some(name), shown(key, node), why(&OF_A_MODEL, key)),
        }
    }
    Ok(Ok(Found {
        name: name.to_owned(),
        weights: server.weights,
        slots: server.slots,
        context: server.context,
        usual_context: None,
        place: server.place,
    }))
}

fn why<'w>(reasons: &[(&str, &'w str)], key: &str) -> &'w str {
    let known = reasons.iter().find(|(known, _)| *known == key);
    known.map_or(NO_PLACE, |(_, why)| why)
}

/// The names of variables; what they hold may be secret.
fn variables(node: &Node) -> Vec<String> {
    let Value::List(items) = &node.value else {
        return Vec::new();
    };
    let texts = items.iter().filter_map(|item| match &item.value {
        Value::Scalar { text, .. } => Some(text),
        _ => None,
    });
    texts
        .map(|text| text.split('=').next().unwrap_or_default().to_owned())
        .collect()
}

/// A key with its value, where that is one line.
fn shown(key: &str, node: &Node) -> String {
    let words = |node: &Node| match &node.value {
        Value::Scalar { text, .. } => text.lines().next().map(str::to_owned),
        _ => None,
    };
    let value = match &node.value {
        Value::List(items) => items.iter().map(words).collect::<Option<Vec<_>>>(),
        _ => words(node).map(|word| vec![word]),
    };
    match value {
        Some(value) => format!("{key} {}", value.join(", ")),
        None => key.to_owned(),
    }
}

#[cfg(test)]
mod tests;
