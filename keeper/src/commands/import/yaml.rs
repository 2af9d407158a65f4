//! fleet.yaml with one entry more: everything that stood there stands there still, byte for byte.

use std::fmt::Write as _;

/// Adds a line as the last entry of a section of the top level, or adds the section. None where the section is not
/// written as an indented block.
///
/// It goes by lines and knows no YAML: whoever calls it reads the result.
pub fn insert(text: &str, section: &str, entry: &str) -> Option<String> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let newline = match lines.first() {
        Some(line) if line.ends_with("\r\n") => "\r\n",
        _ => "\n",
    };
    let is_key = |line: &str| line.split(':').next().map(str::trim) == Some(section);
    let is_top = |line: &str| !line.trim().is_empty() && !line.starts_with([' ', '\t', '#']);
    let mut added = String::new();
    let Some(head) = lines.iter().position(|line| is_top(line) && is_key(line)) else {
        added.push_str(text);
        if !text.is_empty() && !text.ends_with('\n') {
            added.push_str(newline);
        }
        let _ = write!(added, "{newline}{section}:{newline}  {entry}{newline}");
        return Some(added);
    };
    let value = lines[head].split_once(':')?.1.trim();
    if !value.is_empty() && !value.starts_with('#') {
        return None;
    }
    let below = &lines[head + 1..];
    let length = below.iter().position(|line| is_top(line));
    let below = &below[..length.unwrap_or(below.len())];
    let is_blank = |line: &str| line.trim().is_empty();
    let first = below
        .iter()
        .find(|line| !is_blank(line) && !line.trim_start().starts_with('#'));
    let indent = first.map_or("  ", |line| &line[..line.len() - line.trim_start().len()]);
    // A comment at the margin is of what follows.
    let is_part = |line: &&str| !is_blank(line) && line.starts_with([' ', '\t']);
    let last = below.iter().rposition(is_part).map_or(0, |last| last + 1);
    let (before, after) = lines.split_at(head + 1 + last);
    added.extend(before.iter().copied());
    if !added.ends_with('\n') {
        added.push_str(newline);
    }
    let _ = write!(added, "{indent}{entry}{newline}");
    added.extend(after.iter().copied());
    Some(added)
}

/// A text as a key or value, in quotes where YAML would read something else.
pub fn scalar(text: &str) -> String {
    const WORDS: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let is_word = WORDS.iter().any(|word| word.eq_ignore_ascii_case(text));
    let is_safe = |c: char| c.is_ascii_alphanumeric() || "._-/@:".contains(c);
    let is_text = match text.chars().next() {
        Some('.' | '/') => text.contains('/'),
        Some(first) => first.is_ascii_alphabetic() && !is_word,
        None => false,
    };
    if is_text && text.chars().all(is_safe) && !text.ends_with(':') {
        text.to_owned()
    } else {
        // What JSON quotes, YAML reads.
        serde_json::Value::from(text).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_comes_last_in_its_section_and_moves_nothing_else() {
        for (text, added) in [
            (
                "models:\n  a: { source: ./a }\n\nworkers:\n",
                "models:\n  a: { source: ./a }\n  NEW\n\nworkers:\n",
            ),
            // A block entry, a comment of the section, and one of the next.
            (
                "x: 1\nmodels: # mine\n    a:\n        source: ./a\n    # b: no\n\n# The workers.\nworkers: {}\n",
                "x: 1\nmodels: # mine\n    a:\n        source: ./a\n    # b: no\n    NEW\n\n# The workers.\nworkers: {}\n",
            ),
            ("models:\n", "models:\n  NEW\n"),
            ("models:\n\nx: 1", "models:\n  NEW\n\nx: 1"),
            ("models:\n  a: 1", "models:\n  a: 1\n  NEW\n"),
            ("x: 1", "x: 1\n\nmodels:\n  NEW\n"),
            (
                "models:\r\n  a: 1\r\ny: 2\r\n",
                "models:\r\n  a: 1\r\n  NEW\r\ny: 2\r\n",
            ),
            // Only the top level counts.
            (
                "w:\n  models:\n    a: 1\n",
                "w:\n  models:\n    a: 1\n\nmodels:\n  NEW\n",
            ),
        ] {
            assert_eq!(insert(text, "models", "NEW").as_deref(), Some(added));
        }
        for flow in ["models: {}\n", "models: { a: 1 }", "models: &m\n  a: 1\n"] {
            assert_eq!(insert(flow, "models", "NEW"), None, "{flow}");
        }
    }

    #[test]
    fn what_yaml_would_read_otherwise_is_quoted() {
        for (text, written) in [
            ("hf:org/repo@main::a.gguf", "hf:org/repo@main::a.gguf"),
            ("./models/tiny", "./models/tiny"),
            ("tiny-llama", "tiny-llama"),
            ("/a folder", r#""/a folder""#),
            ("./a,b", r#""./a,b""#),
            ("1.5", r#""1.5""#),
            ("true", r#""true""#),
            ("no", r#""no""#),
        ] {
            assert_eq!(scalar(text), written);
        }
    }
}
