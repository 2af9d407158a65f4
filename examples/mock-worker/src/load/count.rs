//! The tokens of a stream, each at its place.

/// Follows a stream of chat completion chunks, or of events of `/execute`, in pieces as they come.
///
/// The texts of a mock worker's tokens begin with their places, so that a token that is lost, repeated or out of order is seen.
#[derive(Debug, Default)]
pub struct Count {
    /// A line whose end is not there yet.
    line: Vec<u8>,
    pub tokens: u64,
    pub is_ended: bool,
    pub is_broken: bool,
}

impl Count {
    /// Takes the next bytes; returns how many tokens they complete.
    pub fn push(&mut self, bytes: &[u8]) -> u64 {
        let before = self.tokens;
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
            let (line, after) = rest.split_at(end);
            rest = &after[1..];
            if self.line.is_empty() {
                self.take(line);
            } else {
                let mut whole = std::mem::take(&mut self.line);
                whole.extend_from_slice(line);
                self.take(&whole);
                whole.clear();
                self.line = whole;
            }
        }
        self.line.extend_from_slice(rest);
        self.tokens - before
    }

    fn take(&mut self, line: &[u8]) {
        if line == b"data: [DONE]" || line == b"event: end" {
            self.is_ended = true;
            return;
        }
        let Some(data) = line.strip_prefix(b"data:") else {
            return;
        };
        let text = value(data, b"\"content\":").or_else(|| value(data, b"\"t\":"));
        let Some(text) = text.filter(|text| !text.starts_with(b"\"")) else {
            self.is_broken |= value(data, b"\"error\":").is_some();
            return;
        };
        let digits = text.strip_prefix(b" ").unwrap_or(text);
        let place = digits.iter().take_while(|byte| byte.is_ascii_digit());
        let place = place.fold(0, |place, digit| place * 10 + u64::from(digit - b'0'));
        self.is_broken |= place != self.tokens;
        self.tokens += 1;
    }
}

/// What follows the opening quote of a text with this name.
fn value<'a>(data: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let at = data.windows(name.len()).position(|window| window == name)?;
    let after = data[at + name.len()..].trim_ascii_start();
    if after.starts_with(b"null") {
        return None;
    }
    Some(after.strip_prefix(b"\"").unwrap_or(after))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n\
        data: {\"choices\":[{\"delta\":{\"content\":\" 0..\"}}]}\n\n: keep-alive\n\n\
        data: {\"choices\": [{\"delta\": {\"content\": \" 1..\"}}]}\n\ndata: {\"choices\":[{\"delta\":{}}]}\n\ndata: [DONE]\n\n";

    #[test]
    fn tokens_are_counted_wherever_the_stream_is_torn() {
        for at in 0..=STREAM.len() {
            let mut count = Count::default();
            let (left, right) = STREAM.as_bytes().split_at(at);
            assert_eq!(count.push(left) + count.push(right), 2);
            assert!(count.is_ended && !count.is_broken, "{count:?}");
        }
    }

    #[test]
    fn what_is_lost_or_says_an_error_is_broken() {
        let lost = STREAM.replace(" 0..", " 1..").replace(" 1..", " 2..");
        let failed = "data: {\"error\":{\"message\":\"m\"}}\n\n";
        let second = "event: token\nid: 1\ndata: {\"type\":\"token\",\"t\":\" 1..\",\"i\":1}\n\n";
        for stream in [lost.as_str(), failed, second] {
            let mut count = Count::default();
            count.push(stream.as_bytes());
            assert!(count.is_broken, "{stream}");
        }
        let mut count = Count::default();
        let first = second.replace('1', "0");
        assert_eq!(count.push(first.as_bytes()), 1);
        assert!(!count.is_broken && !count.is_ended);
    }
}
