//! `docs/fleet.md`: every key of fleet.yaml, from the types that it is read into.

mod examples;
mod table;

use std::fs;

use reconciler::fleet;
use serde_json::Value;

use self::examples::SECTIONS;
use super::root;

const HEAD: &str = "\
# fleet.yaml

Every key, from the types that the file is read into; editors have the same from [fleet.schema.json](fleet.schema.json), which `rbee schema`
prints. Unknown keys are mistakes, the order of keys means nothing, anchors and merge keys work. What the keys do together is in the
[reference](reference.md).

A **name** has 1–63 letters, digits, `-`, `_`, and but for fleets and workers `.`, with a letter or digit at both ends.
";

#[test]
fn the_reference_of_the_fleet_file_is_what_its_types_say() {
    let mut page = HEAD.to_owned();
    for section in SECTIONS {
        let described = described(section);
        page.push_str(&format!(
            "\n## {}\n\n{}\n\n{}\n```yaml\n{}```\n",
            section.title,
            described["description"].as_str().unwrap(),
            table::of(&described),
            section.example
        ));
    }
    let path = root().join("docs/fleet.md");
    if std::env::var_os("RBEE_UPDATE_DOCS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    assert!(
        fs::read_to_string(&path).unwrap_or_default() == page,
        "docs/fleet.md is stale: this test writes it where RBEE_UPDATE_DOCS is set"
    );
}

#[test]
fn every_type_of_the_file_has_a_section() {
    let schema = fleet::schema();
    for name in schema["definitions"].as_object().unwrap().keys() {
        let is_there = SECTIONS.iter().any(|section| section.definition == name);
        assert!(is_there, "{name} has no section");
    }
}

/// Each example stands in a file whose other keys are those of the other examples.
#[test]
fn every_example_is_read_without_a_mistake() {
    for section in SECTIONS {
        let mut text = section.example.to_owned();
        for other in SECTIONS {
            let key = first_key(other.example);
            if !text.lines().any(|line| line.starts_with(key)) {
                text.push_str(other.example);
            }
        }
        let read = fleet::parse(&text);
        assert!(read.is_ok(), "{}: {read:?}\n{text}", section.title);
        for key in table::keys(&described(section)) {
            let is_shown = SECTIONS
                .iter()
                .any(|one| one.example.contains(&format!("{key}:")));
            assert!(is_shown, "no example shows `{key}` of {}", section.title);
        }
    }
}

fn first_key(example: &str) -> &str {
    example.split_inclusive(':').next().unwrap()
}

fn described(section: &examples::Section) -> Value {
    match section.definition {
        "" => fleet::schema(),
        name => fleet::schema()["definitions"][name].clone(),
    }
}
