//! What a single token stands for: text where it is whole, and its bytes.

use tokenizers::Tokenizer;

/// How a vocabulary writes bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    /// One printable character for each byte, as in GPT-2.
    Bytes,
    /// Text with `▁` for a space, and `<0xHH>` for a byte, as in `SentencePiece`.
    Words,
}

impl Spelling {
    pub fn of(tokenizer: &Tokenizer) -> Self {
        let decoder = tokenizer
            .get_decoder()
            .and_then(|decoder| serde_json::to_string(decoder).ok());
        match decoder {
            Some(decoder) if decoder.contains("\"ByteLevel\"") => Self::Bytes,
            _ => Self::Words,
        }
    }

    /// The bytes of a token that is no added one.
    pub fn bytes(self, token: &str) -> Vec<u8> {
        match self {
            Self::Bytes => token
                .chars()
                .map(byte)
                .collect::<Option<Vec<u8>>>()
                .unwrap_or_else(|| token.as_bytes().to_vec()),
            Self::Words => {
                let digits = token
                    .strip_prefix("<0x")
                    .and_then(|rest| rest.strip_suffix('>'));
                let byte = digits
                    .filter(|digits| digits.len() == 2)
                    .and_then(|digits| u8::from_str_radix(digits, 16).ok());
                byte.map_or_else(
                    || token.replace('\u{2581}', " ").into_bytes(),
                    |byte| vec![byte],
                )
            }
        }
    }
}

/// The byte that a character of a byte-level vocabulary stands for: printable ones for themselves, the others in order
/// for what follows U+0100. Source: `bytes_to_unicode` in GPT-2's `encoder.py`.
fn byte(character: char) -> Option<u8> {
    let code = u32::from(character);
    let stands_for_itself = |byte: u8| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    if let Some(byte) = u8::try_from(code)
        .ok()
        .filter(|&byte| stands_for_itself(byte))
    {
        return Some(byte);
    }
    let place = code.checked_sub(0x100)? as usize;
    (0..=u8::MAX)
        .filter(|&byte| !stands_for_itself(byte))
        .nth(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_spelling_gives_the_bytes() {
        for (token, bytes) in [
            ("▁the", " the"),
            ("<0x0A>", "\n"),
            ("é", "é"),
            ("<0x0>", "<0x0>"),
        ] {
            assert_eq!(Spelling::Words.bytes(token), bytes.as_bytes(), "{token}");
        }
        assert_eq!(Spelling::Words.bytes("<0xF0>"), [0xf0]);
        for (token, bytes) in [("Ġthe", " the"), ("Ċ", "\n"), ("Ã©", "é"), ("!", "!")] {
            assert_eq!(Spelling::Bytes.bytes(token), bytes.as_bytes(), "{token}");
        }
        // Of 68 bytes without a character of their own the last stands for the soft hyphen.
        assert_eq!(byte('\u{143}'), Some(0xad));
        assert_eq!(byte('\u{144}'), None);
    }
}
