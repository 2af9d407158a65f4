//! Who may have what.

use std::collections::BTreeSet;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

use crate::refusal::Refusal;

/// Whom a repository is for.
#[derive(Debug, Clone, Default)]
pub(crate) enum Access {
    #[default]
    Everyone,
    /// All see what is in it; its files are for these tokens.
    Gated(BTreeSet<String>),
    /// Without one of these tokens it is not there.
    Private(BTreeSet<String>),
}

/// What a request wants of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Its description and the list of its files.
    List,
    /// The content of a file.
    Content,
}

impl Access {
    /// The tokens that it names.
    pub fn tokens(&self) -> impl Iterator<Item = &String> {
        let tokens = match self {
            Self::Everyone => None,
            Self::Gated(tokens) | Self::Private(tokens) => Some(tokens),
        };
        tokens.into_iter().flatten()
    }

    pub fn check(
        &self,
        url: &str,
        repo: &str,
        need: Need,
        token: Option<&str>,
    ) -> Result<(), Refusal> {
        let is_in = |tokens: &BTreeSet<String>| token.is_some_and(|token| tokens.contains(token));
        match self {
            Self::Gated(tokens) if need == Need::Content && !is_in(tokens) => {
                Err(Refusal::gated(url, repo, token.is_some()))
            }
            Self::Private(tokens) if !is_in(tokens) => Err(Refusal::no_repo(token.is_some())),
            _ => Ok(()),
        }
    }
}

/// The token that a request shows; one that is not among the known is refused everywhere.
pub(crate) fn token<'a>(
    headers: &'a HeaderMap,
    known: &BTreeSet<String>,
) -> Result<Option<&'a str>, Refusal> {
    let Some(shown) = headers.get(AUTHORIZATION) else {
        return Ok(None);
    };
    let shown = shown.to_str().ok();
    let token = shown.and_then(|shown| shown.strip_prefix("Bearer "));
    match token {
        Some(token) if known.contains(token) => Ok(Some(token)),
        _ => Err(Refusal::credentials()),
    }
}
