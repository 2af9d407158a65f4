//! Who may ask: those with a token; where none is set, programs of this machine but not web pages of others.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use pool_core::serving::ErrorCode;

use crate::front::Front;
use crate::refusal::Refusal;

/// Whom the token of a request stands for; none where it has none that is known, and needs none.
#[derive(Debug, Clone, Copy)]
pub struct Caller<T>(pub Option<T>);

/// Lets a request through, or refuses it.
pub(crate) async fn guard<F: Front>(
    State(service): State<Arc<F>>,
    mut request: Request,
    next: Next,
) -> Response {
    let accept = |token: &str| service.accept(token);
    let caller = if !service.asks_token() {
        not_a_browser::<F>(&request).map(|()| bearer(request.headers()).and_then(accept))
    } else if F::OPEN.contains(&request.uri().path()) {
        Ok(None)
    } else {
        authenticate(request.headers(), accept).map(Some)
    };
    match caller {
        Ok(caller) => {
            request.extensions_mut().insert(Caller(caller));
            next.run(request).await
        }
        Err(refusal) => refusal.into_response(),
    }
}

fn authenticate<C>(headers: &HeaderMap, accept: impl Fn(&str) -> Option<C>) -> Result<C, Refusal> {
    let refuse = |message: &str| Refusal::new(ErrorCode::Unauthorized, message);
    if !headers.contains_key(header::AUTHORIZATION) {
        return Err(refuse(
            "a token is asked for here: send `Authorization: Bearer …`",
        ));
    }
    let token =
        bearer(headers).ok_or_else(|| refuse("the header Authorization is not `Bearer …`"))?;
    accept(token).ok_or_else(|| refuse("the token is not known here"))
}

/// The token of `Authorization: Bearer …`.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
}

/// A page of another site says so in `Origin`; one that made its name resolve to this machine, in `Host`.
fn not_a_browser<F: Front>(request: &Request) -> Result<(), Refusal> {
    let headers = request.headers();
    let of_another_site = headers
        .get_all(header::ORIGIN)
        .iter()
        .any(|origin| !origin.to_str().is_ok_and(is_origin_here));
    if of_another_site {
        let message = format!(
            "requests from web pages are refused where no token is asked for ({})",
            F::TOKEN_OPTION
        );
        return Err(Refusal::new(ErrorCode::Forbidden, message));
    }
    let hosts = headers.get_all(header::HOST);
    let of_header = hosts.iter().all(|host| {
        let authority = host
            .to_str()
            .ok()
            .and_then(|host| host.parse::<Authority>().ok());
        authority.is_some_and(|authority| is_here(authority.host()))
    });
    if of_header && request.uri().host().is_none_or(is_here) {
        return Ok(());
    }
    let message = format!(
        "where no token is asked for ({}) only localhost and loopback addresses are answered: the header Host names another",
        F::TOKEN_OPTION
    );
    Err(Refusal::new(ErrorCode::Forbidden, message))
}

fn is_origin_here(origin: &str) -> bool {
    let uri: Result<Uri, _> = origin.parse();
    uri.is_ok_and(|uri| uri.scheme().is_some() && uri.host().is_some_and(is_here))
}

fn is_here(host: &str) -> bool {
    let address = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let address: Option<IpAddr> = address.unwrap_or(host).parse().ok();
    host.eq_ignore_ascii_case("localhost") || address.is_some_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_here() {
        for origin in [
            "http://localhost",
            "http://LOCALHOST:3000",
            "https://127.0.0.1:1",
            "http://127.9.9.9",
            "http://[::1]:8080",
        ] {
            assert!(is_origin_here(origin), "{origin}");
        }
        for origin in [
            "null",
            "",
            "localhost",
            "http://evil.example",
            "http://localhost.evil.example",
            "http://127.0.0.1.evil.example",
            "http://evil.example:80@127.0.0.1x",
            "file://",
            "http://10.0.0.1",
            "http://0.0.0.0",
        ] {
            assert!(!is_origin_here(origin), "{origin}");
        }
    }
}
