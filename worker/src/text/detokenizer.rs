//! Tokens to text, one at a time, in whole characters.

use super::Text;

/// Turns a growing list of tokens into pieces of text that never end inside a character.
///
/// A tokenizer may spread a character over several tokens and may write a token differently after another (a leading
/// space), so each piece is the difference between two decodings that share their beginning.
#[derive(Debug, Default)]
pub struct Detokenizer {
    /// Tokens of the last piece, then those whose text is not out yet.
    window: Vec<u32>,
    /// How many of the window are out.
    written: usize,
}

/// A character has at most four bytes, so as many tokens. What is no character after this many never will be.
const LONGEST_WAIT: usize = 8;

impl Detokenizer {
    /// Takes the next token; returns the text that became certain with it, often none.
    pub fn push(&mut self, id: u32, text: &Text) -> String {
        self.window.push(id);
        let pending = self.window.len() - self.written;
        if text.decode(&self.window).ends_with('\u{fffd}') && pending < LONGEST_WAIT {
            return String::new();
        }
        self.flush(text)
    }

    /// The text of all that is not out yet. Bytes that make no character become U+FFFD.
    pub fn flush(&mut self, text: &Text) -> String {
        let before = text.decode(&self.window[..self.written]);
        let after = text.decode(&self.window);
        let piece = after.get(before.len()..).unwrap_or_default().to_owned();
        // Some tokenizers take the space from the first word of a text: the window must go on with a token that has text, so
        // that no other word becomes its first.
        if !piece.is_empty() {
            self.window.drain(..self.written);
        }
        self.written = self.window.len();
        piece
    }
}
