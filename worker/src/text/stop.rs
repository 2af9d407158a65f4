//! Texts that end an answer, across the borders of tokens.

/// Looks for stop texts in an answer that comes in pieces, and holds back what may be the beginning of one.
#[derive(Debug, Default)]
pub struct StopMatcher {
    stops: Vec<String>,
    held: String,
}

/// What a piece of text leads to.
#[derive(Debug, PartialEq, Eq)]
pub struct Checked {
    /// What can be told to the client.
    pub text: String,
    /// The stop text that was reached; nothing after it counts.
    pub stop: Option<String>,
}

impl StopMatcher {
    pub fn new(stops: Vec<String>) -> Self {
        let held = String::new();
        Self { stops, held }
    }

    /// Takes the next piece.
    pub fn push(&mut self, piece: &str) -> Checked {
        self.held.push_str(piece);
        let found = self
            .stops
            .iter()
            .filter_map(|stop| Some((self.held.find(stop)?, stop)));
        if let Some((at, stop)) = found.min_by_key(|&(at, _)| at) {
            let stop = Some(stop.clone());
            self.held.truncate(at);
            let text = std::mem::take(&mut self.held);
            return Checked { text, stop };
        }
        let keep = self
            .stops
            .iter()
            .map(|stop| overlap(&self.held, stop))
            .max();
        let rest = self.held.split_off(self.held.len() - keep.unwrap_or(0));
        let text = std::mem::replace(&mut self.held, rest);
        Checked { text, stop: None }
    }

    /// What was held back, now that nothing follows.
    pub fn flush(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

/// Bytes of the longest end of `text` that `stop` begins with.
fn overlap(text: &str, stop: &str) -> usize {
    let begins = |&len: &usize| text.as_bytes().ends_with(&stop.as_bytes()[..len]);
    let whole = |&len: &usize| stop.is_char_boundary(len);
    (1..stop.len())
        .rev()
        .filter(whole)
        .find(begins)
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text that comes out, and the stop that ended it, for an answer in pieces.
    fn run(stops: &[&str], pieces: &[&str]) -> (String, Option<String>) {
        let mut matcher = StopMatcher::new(stops.iter().map(|&stop| stop.into()).collect());
        let mut out = String::new();
        for piece in pieces {
            let checked = matcher.push(piece);
            out.push_str(&checked.text);
            if checked.stop.is_some() {
                return (out, checked.stop);
            }
        }
        (out + &matcher.flush(), None)
    }

    #[test]
    fn a_stop_is_found_wherever_the_answer_is_torn() {
        let answer = "one éEND two";
        let borders: Vec<usize> = answer.char_indices().map(|(at, _)| at).collect();
        for &a in &borders {
            for &b in borders.iter().filter(|&&b| b >= a) {
                let pieces = [&answer[..a], &answer[a..b], &answer[b..]];
                let expected = ("one ".to_owned(), Some("éEND".to_owned()));
                assert_eq!(run(&["éEND"], &pieces), expected, "{pieces:?}");
            }
        }
    }

    #[test]
    fn what_only_began_like_a_stop_is_given_out() {
        assert_eq!(run(&["END"], &["a EN", "d E"]), ("a ENd E".into(), None));
        assert_eq!(
            run(&["aab"], &["a", "a", "a", "b"]),
            ("a".into(), Some("aab".into()))
        );
        assert_eq!(run(&[], &["a", "b"]), ("ab".into(), None));
    }

    #[test]
    fn of_several_stops_the_first_in_the_text_counts() {
        assert_eq!(
            run(&["two", "one"], &["x one two"]),
            ("x ".into(), Some("one".into()))
        );
    }

    #[test]
    fn only_what_may_begin_a_stop_is_held_back() {
        let mut matcher = StopMatcher::new(vec!["END".into()]);
        assert_eq!(matcher.push("a E").text, "a ");
        assert_eq!(matcher.push("x").text, "Ex");
    }
}
