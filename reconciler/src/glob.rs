//! Globs over names with `/` between their parts.

/// Whether `text` is what `pattern` means: `*` stands for any run of characters and `?` for one,
/// neither of them for a `/`.
pub fn matches(pattern: &str, text: &str) -> bool {
    let (mut patterns, mut texts) = (pattern.split('/'), text.split('/'));
    loop {
        match (patterns.next(), texts.next()) {
            (None, None) => return true,
            (Some(pattern), Some(text)) if part_matches(pattern, text) => {}
            _ => return false,
        }
    }
}

/// Goes back to the last `*` only, so the work is at most pattern length times text length.
fn part_matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    // Where the last `*` stands, and the first character that it does not cover.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&c) if c == '?' || c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((at, covered)) = star else {
                    return false;
                };
                star = Some((at, covered + 1));
                p = at + 1;
                t = covered + 1;
            }
        }
    }
    pattern[p..].iter().all(|&c| c == '*')
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_glob_matches_within_each_part() {
        for (pattern, text) in [
            ("*", "blep"),
            ("*", ""),
            ("bl?p", "blep"),
            ("*/cpu", "mac/cpu"),
            ("mac/*", "mac/metal:0"),
            ("*/cuda:*", "workstation/cuda:12"),
            ("*a*b*", "xxaxxbxb"),
            ("chat/*/*/0", "chat/mac/metal:0/0"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("*", "mac/cpu"),
            ("mac?cpu", "mac/cpu"),
            ("*/cpu", "cpu"),
            ("bl?p", "blp"),
            ("mac", "Mac"),
            ("*a*b", "ab/"),
            ("a*", "ba"),
        ] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }
}
