//! The bearer tokens that clients have to show.

use std::fmt;
use std::path::{Path, PathBuf};

use pool_core::digest::Sha256;
pub use pool_core::launch::TOKEN_VARIABLE as VARIABLE;
use subtle::{Choice, ConstantTimeEq as _};

use crate::private::{self, PrivateError};

/// Characters that a token has at least.
const SHORTEST: usize = 16;

/// The tokens that are accepted. Only their digests are kept.
#[derive(Clone, Default)]
pub struct Tokens(Vec<Sha256>);

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({})", self.0.len())
    }
}

/// Why tokens cannot be used. A token is never part of it.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error(transparent)]
    File(#[from] PrivateError),
    #[error("{0} has no token in it")]
    Empty(PathBuf),
    #[error(
        "the token in {0} cannot be used: a token has at least {SHORTEST} characters, all of them letters, digits or punctuation of ASCII"
    )]
    Unusable(String),
}

impl TokenError {
    /// What a person can do about it.
    pub fn help(&self) -> String {
        const MAKE: &str = "`openssl rand -hex 32` makes a good token";
        match self {
            Self::File(error) => error.help(),
            Self::Empty(_) => format!("write one token a line; {MAKE}"),
            Self::Unusable(_) => MAKE.into(),
        }
    }
}

impl Tokens {
    /// The tokens of a file, one a line, `#` for comments, and the one of [`VARIABLE`].
    pub fn read(file: Option<&Path>, variable: Option<&str>) -> Result<Self, TokenError> {
        let mut tokens = Self::default();
        if let Some(path) = file {
            for (number, line) in private::read(path)?.lines().enumerate() {
                let line = line.trim();
                if !line.is_empty() && !line.starts_with('#') {
                    tokens.add(line, || format!("{}:{}", path.display(), number + 1))?;
                }
            }
            if tokens.is_empty() {
                return Err(TokenError::Empty(path.to_owned()));
            }
        }
        if let Some(token) = variable {
            tokens.add(token.trim(), || VARIABLE.to_owned())?;
        }
        Ok(tokens)
    }

    /// The one token that stands in `place`, which errors name.
    pub fn of(token: &str, place: &str) -> Result<Self, TokenError> {
        let mut tokens = Self::default();
        tokens.add(token, || place.to_owned())?;
        Ok(tokens)
    }

    fn add(&mut self, token: &str, place: impl Fn() -> String) -> Result<(), TokenError> {
        if token.len() < SHORTEST || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TokenError::Unusable(place()));
        }
        self.0.push(Sha256::of(token));
        Ok(())
    }

    /// No token is asked for.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The digest of a token that is accepted. Takes as long for a wrong one as for a right one.
    pub fn accept(&self, token: &str) -> Option<Sha256> {
        let given = Sha256::of(token);
        let known = self.0.iter().fold(Choice::from(0), |known, token| {
            known | token.as_bytes().ct_eq(given.as_bytes())
        });
        bool::from(known).then_some(given)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn file(text: &str, mode: u32) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        file
    }

    #[test]
    fn each_line_and_the_variable_is_a_token() {
        let file = file(
            "# of the laptop\n0123456789abcdef\n\n  fedcba9876543210 \n",
            0o600,
        );
        let tokens = Tokens::read(Some(file.path()), Some("a-token-of-the-shell")).unwrap();
        for token in [
            "0123456789abcdef",
            "fedcba9876543210",
            "a-token-of-the-shell",
        ] {
            assert_eq!(tokens.accept(token), Some(Sha256::of(token)));
        }
        for wrong in [
            "",
            "0123456789abcde",
            "0123456789abcdeg",
            "# of the laptop",
            "0123456789abcdef ",
        ] {
            assert_eq!(tokens.accept(wrong), None, "{wrong:?}");
        }
        assert_eq!(Tokens::default().accept(""), None);
        assert!(!format!("{tokens:?}").contains("0123"));
    }

    #[test]
    fn what_is_no_secret_is_refused() {
        let open = file("0123456789abcdef", 0o640);
        let refused = Tokens::read(Some(open.path()), None).unwrap_err();
        assert!(refused.help().starts_with("chmod 600"), "{refused}");
        let short = file("# short\n0123456789abcde\n", 0o600);
        let refused = Tokens::read(Some(short.path()), None).unwrap_err();
        assert!(refused.to_string().contains(":2 "), "{refused}");
        assert!(!refused.to_string().contains("0123"), "{refused}");
        assert!(Tokens::read(Some(file("# none\n", 0o600).path()), None).is_err());
        assert!(Tokens::read(None, Some("two words in one token")).is_err());
        assert!(Tokens::read(Some(Path::new("/no/such/file")), None).is_err());
    }
}
