//! API keys.

use std::fmt;

use pool_core::digest::Sha256;

/// What every key begins with, so that people and scanners of secrets know one.
const PREFIX: &str = "rbee-";

/// A key that was just made: shown once, never stored.
pub struct ApiKey(String);

/// Without the key.
impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

impl ApiKey {
    /// A key of 256 random bits of the system.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        let mut text = PREFIX.to_owned();
        for byte in bytes {
            text.push_str(&format!("{byte:02x}"));
        }
        Ok(Self(text))
    }

    /// What a client sends.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// What stands in the file of tenants.
    pub fn digest(&self) -> Sha256 {
        Sha256::of(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_another_and_its_text_is_not_in_the_debug_text() {
        let [one, other] = [(); 2].map(|()| ApiKey::generate().unwrap());
        assert_ne!(one.text(), other.text());
        assert_eq!(one.text().len(), "rbee-".len() + 64);
        assert!(one.text().starts_with("rbee-"));
        assert_eq!(one.digest(), Sha256::of(one.text()));
        assert!(!format!("{one:?}").contains(&one.text()[5..10]));
    }
}
