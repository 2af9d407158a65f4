//! Ranges of bytes, as RFC 9110 section 14 has them; of several in one request none is taken.

use std::ops::Range;

use axum::body::Body;
use axum::http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, ETAG, IF_RANGE, RANGE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::content::Content;
use crate::refusal::Refusal;

/// What a `Range` header asks of content with this size.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Whole,
    Part(Range<u64>),
    /// Nothing that is there.
    Outside,
}

pub(crate) fn asked(header: Option<&str>, size: u64) -> Asked {
    let Some((first, last)) = header
        .and_then(|header| header.strip_prefix("bytes="))
        .and_then(|range| range.split_once('-'))
    else {
        return Asked::Whole;
    };
    let range = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => first..size.min(last.saturating_add(1)),
        (Ok(first), Err(_)) if last.is_empty() => first..size,
        (Err(_), Ok(count)) if first.is_empty() => size.saturating_sub(count)..size,
        _ => return Asked::Whole,
    };
    if range.start < range.end {
        Asked::Part(range)
    } else {
        Asked::Outside
    }
}

/// The content, or the part of it that the request asks for.
pub(crate) async fn answer(headers: &HeaderMap, etag: &str, content: &Content) -> Response {
    let size = content.size();
    let etag = format!("\"{etag}\"");
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    // Part of another content is of no use to whoever has the first part of this one.
    let is_for_this = text(IF_RANGE).is_none_or(|wanted| wanted == etag);
    let range = match asked(text(RANGE).filter(|_| is_for_this), size) {
        Asked::Whole => None,
        Asked::Part(range) => Some(range),
        Asked::Outside => {
            let refusal = Refusal::status(StatusCode::RANGE_NOT_SATISFIABLE, "no such range");
            return ([(CONTENT_RANGE, format!("bytes */{size}"))], refusal).into_response();
        }
    };
    let part = range.clone().unwrap_or(0..size);
    let length = part.end - part.start;
    let body: Body = match content.body(part.clone()).await {
        Ok(body) => body,
        Err(error) => {
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            return Refusal::status(status, error.to_string()).into_response();
        }
    };
    let headers = [
        (ETAG, etag),
        (ACCEPT_RANGES, "bytes".to_owned()),
        (CONTENT_LENGTH, length.to_string()),
    ];
    if range.is_none() {
        return (headers, body).into_response();
    }
    let (first, last) = (part.start, part.end - 1);
    let place = [(CONTENT_RANGE, format!("bytes {first}-{last}/{size}"))];
    (StatusCode::PARTIAL_CONTENT, headers, place, body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_those_of_the_rfc() {
        let of_ten = |text| asked(Some(text), 10);
        assert_eq!(asked(None, 10), Asked::Whole);
        assert_eq!(of_ten("bytes=0-0"), Asked::Part(0..1));
        assert_eq!(of_ten("bytes=3-"), Asked::Part(3..10));
        assert_eq!(of_ten("bytes=3-99"), Asked::Part(3..10));
        assert_eq!(of_ten("bytes=-4"), Asked::Part(6..10));
        assert_eq!(of_ten("bytes=-40"), Asked::Part(0..10));
        assert_eq!(of_ten("bytes=10-"), Asked::Outside);
        assert_eq!(of_ten("bytes=-0"), Asked::Outside);
        assert_eq!(asked(Some("bytes=0-"), 0), Asked::Outside);
        for other in [
            "bytes=5-3",
            "bytes=0-1,4-5",
            "lines=0-1",
            "bytes=x-y",
            "bytes=-",
        ] {
            assert_eq!(of_ten(other), Asked::Whole, "{other}");
        }
    }
}
