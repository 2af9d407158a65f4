//! A type of the schema as a table of its keys.

use serde_json::{Map, Value};

/// The keys of the type: those that must be there first, in their order.
pub fn keys(described: &Value) -> Vec<String> {
    let must = required(described);
    let mut keys: Vec<_> = properties(described)
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    keys.sort_by_key(|key| must.iter().position(|one| one == key).unwrap_or(must.len()));
    keys
}

pub fn of(described: &Value) -> String {
    let mut table = "| key | allowed | default | meaning |\n|---|---|---|---|\n".to_owned();
    let (properties, must) = (properties(described), required(described));
    for key in keys(described) {
        let property = &properties[&key];
        let (meaning, default) = meaning(property);
        let is_choice = described["properties"][&key] == true;
        let default = match default {
            _ if is_choice => "one of the two",
            _ if must.contains(&key.as_str()) => "required",
            default => default.unwrap_or("–"),
        };
        let allowed = allowed(property);
        let row = format!("| `{key}` | {allowed} | {default} | {} |", meaning.trim());
        table.push_str(&row.replace('\n', " "));
        table.push('\n');
    }
    table
}

/// With those of which just one stands there.
fn properties(described: &Value) -> Map<String, Value> {
    let mut all = described["properties"].as_object().unwrap().clone();
    for choice in described["oneOf"].as_array().into_iter().flatten() {
        for (key, property) in choice["properties"].as_object().unwrap() {
            let mut property = property.clone();
            property["description"] = choice["description"].clone();
            all.insert(key.clone(), property);
        }
    }
    all
}

fn required(described: &Value) -> Vec<&str> {
    let choices = described["oneOf"].as_array().into_iter().flatten();
    let all = choices.chain([described]);
    let names = all.flat_map(|one| one["required"].as_array().into_iter().flatten());
    names.filter_map(Value::as_str).collect()
}

/// What the key means, and what holds where it does not stand: `; this when absent.`
fn meaning(property: &Value) -> (String, Option<&str>) {
    let text = property["description"].as_str().unwrap();
    let said = text.split_once(" when absent.").and_then(|(before, rest)| {
        let (meaning, default) = before.rsplit_once("; ")?;
        Some((format!("{meaning}.{rest}"), Some(default)))
    });
    let (mut meaning, default) = said.unwrap_or((text.to_owned(), None));
    for choice in choices(property) {
        if let (Some(value), Some(what)) = (choice.get("const"), choice["description"].as_str()) {
            meaning.push_str(&format!(" {}: {what}", code(value)));
        }
    }
    (meaning, default)
}

/// The values of an enumeration, each with what it says of itself.
fn choices(property: &Value) -> impl Iterator<Item = &Value> {
    let several = property["anyOf"].as_array().into_iter().flatten();
    several.flat_map(|one| one["oneOf"].as_array().into_iter().flatten())
}

fn allowed(value: &Value) -> String {
    if let Some(entries) = value["patternProperties"].as_object() {
        let of = entries.values().map(allowed).collect::<String>();
        return format!("for each name a mapping: {of}");
    }
    if let Some(name) = value["$ref"].as_str() {
        return link(name);
    }
    for (several, between) in [("anyOf", ", or "), ("oneOf", ", ")] {
        if let Some(some) = value[several].as_array() {
            let some = some.iter().filter(|one| one["type"] != "null").map(allowed);
            return some.collect::<Vec<_>>().join(between);
        }
    }
    if let Some(only) = value.get("const") {
        return code(only);
    }
    if let Some(some) = value["enum"].as_array() {
        let some = some.iter().filter(|one| !one.is_null()).map(code);
        return some.collect::<Vec<_>>().join(", ");
    }
    if let Some(examples) = value["examples"].as_array() {
        return format!(
            "such as {}",
            examples.iter().map(code).collect::<Vec<_>>().join(", ")
        );
    }
    let types = value["type"]
        .as_array()
        .map_or_else(|| vec![&value["type"]], |all| all.iter().collect());
    match types[0].as_str() {
        Some("array") => format!("list of {}s", allowed(&value["items"])),
        Some("boolean") => "`true`, `false`".to_owned(),
        Some("integer") => match (&value["minimum"], &value["maximum"]) {
            (least, Value::Null) => format!("{least} or more"),
            (least, most) => format!("{least}–{most}"),
        },
        Some("string") if value["pattern"].is_string() => "name".to_owned(),
        Some("string") => "text".to_owned(),
        _ => panic!("a type without a text: {value}"),
    }
}

/// A link to the section of the type.
fn link(reference: &str) -> String {
    let name = reference.rsplit('/').next().unwrap();
    let section = super::SECTIONS
        .iter()
        .find(|section| section.definition == name);
    let title = section
        .unwrap_or_else(|| panic!("{name} has no section"))
        .title;
    format!("[{title}](#{})", title.replace('.', ""))
}

/// As it stands in a file.
fn code(value: &Value) -> String {
    match value {
        Value::String(text) => format!("`{text}`"),
        Value::Array(all) => format!(
            "`[{}]`",
            all.iter().map(item).collect::<Vec<_>>().join(", ")
        ),
        other => format!("`{other}`"),
    }
}

/// YAML takes a `*` at the beginning for an alias.
fn item(value: &Value) -> String {
    match value.as_str() {
        Some(text) if !text.starts_with('*') => text.to_owned(),
        _ => value.to_string(),
    }
}
