//! Words for hints.

/// The word most like `word`, when one is near enough to have been meant.
pub(super) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str, IntoIter: Clone>,
) -> Option<&'a str> {
    let candidates = candidates.into_iter();
    let lower = word.to_lowercase();
    let near = candidates
        .clone()
        .filter(|candidate| candidate.len().abs_diff(word.len()) <= 3 && word.len() <= 80)
        .map(|candidate| {
            let distance = strsim::damerau_levenshtein(&lower, &candidate.to_lowercase());
            (distance, candidate)
        })
        .filter(|(distance, candidate)| {
            let length = candidate.chars().count().max(lower.chars().count());
            *distance <= (length / 3).max(1) && *distance < length
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate);
    let is_start = |candidate: &&str| lower.len() >= 3 && candidate.starts_with(&lower);
    near.or_else(|| candidates.into_iter().find(is_start))
}

/// "did you mean …?", else what there is, after its label.
pub(crate) fn did_you_mean<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str, IntoIter: Clone> + Clone,
    label: &str,
) -> String {
    match nearest(word, candidates.clone()) {
        Some(near) => format!("did you mean {}?", quote(near)),
        None => format!("{label}: {}", listed(candidates)),
    }
}

/// The first words with commas, and how many more there are.
pub(super) fn listed<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    const SHOWN: usize = 10;
    let words: Vec<&str> = words.into_iter().collect();
    let shown = words[..words.len().min(SHOWN)].join(", ");
    match words.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// A text of the file within backticks, cut when it is long.
pub(super) fn quote(text: &str) -> String {
    const SHOWN: usize = 60;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("`{}…`", &text[..end]),
        None => format!("`{text}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_word_is_found_and_a_far_one_is_not() {
        let keys = ["model", "models", "on", "replicas", "slots", "context"];
        for (word, meant) in [
            ("replcias", Some("replicas")),
            ("modle", Some("model")),
            ("Models", Some("models")),
            ("slot", Some("slots")),
            ("repl", Some("replicas")),
            ("no", Some("on")),
            ("temperature", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, keys), meant, "{word}");
        }
    }

    #[test]
    fn a_long_text_is_cut() {
        assert_eq!(quote(&"a".repeat(99)), format!("`{}…`", "a".repeat(60)));
    }
}
