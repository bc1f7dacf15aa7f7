//! Bytes as an answer: whole or in part (RFC 9110, section 14), and so that they do no harm in a browser.

use std::convert::Infallible;
use std::io;

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{Stream, TryStreamExt, stream};
use http_range_header::{EndPosition, StartPosition, SyntacticallyCorrectRange, parse_range_header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::problem::{Kind, Problem};

/// Which part of a content a request asks for: `Range` and `If-Range`. Of several ranges, or one that cannot be read,
/// nothing is made: the content is answered whole, as it may be.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    range: Option<SyntacticallyCorrectRange>,
    if_range: Option<HeaderValue>,
}

/// What is answered.
#[derive(Debug, Clone)]
pub struct Content {
    /// Its length.
    pub bytes: u64,
    /// Of its bytes, hexadecimal.
    pub sha256: String,
    /// What it is served as.
    pub media_type: String,
    /// What people call it.
    pub name: Option<String>,
}

/// What is sent of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Whole,
    /// From here to here, the last one included.
    From(u64, u64),
    /// None of it lies where it was asked for.
    Outside,
}

impl<S: Sync> FromRequestParts<S> for Wanted {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        // A range is defined for GET alone.
        if parts.method != Method::GET {
            return Ok(Self::default());
        }
        Ok(Self::of(&parts.headers))
    }
}

impl Wanted {
    fn of(headers: &HeaderMap) -> Self {
        let text = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
        let parsed = text.and_then(|text| parse_range_header(text).ok());
        let range = parsed.and_then(|parsed| match parsed.ranges.as_slice() {
            [range] => Some(*range),
            _ => None,
        });
        Self { range, if_range: headers.get(header::IF_RANGE).cloned() }
    }

    fn part(&self, bytes: u64, tag: &str) -> Part {
        let Some(SyntacticallyCorrectRange { start, end }) = self.range else { return Part::Whole };
        // A date is none of ours, and says nothing of what we have.
        if self.if_range.as_ref().is_some_and(|wanted| wanted != tag) {
            return Part::Whole;
        }
        let last = bytes.saturating_sub(1);
        let (first, last) = match (start, end) {
            (StartPosition::FromLast(count), _) => (bytes.saturating_sub(count), last),
            (StartPosition::Index(first), EndPosition::LastByte) => (first, last),
            // Not a range, so nothing that could be answered in part.
            (StartPosition::Index(first), EndPosition::Index(end)) if end < first => return Part::Whole,
            (StartPosition::Index(first), EndPosition::Index(end)) => (first, end.min(last)),
        };
        if first < bytes { Part::From(first, last) } else { Part::Outside }
    }
}

impl Content {
    /// The answer; `read` gives the bytes from a place on. It is 206 for a part, and 416 with the length where nothing
    /// lies where it was asked for.
    pub fn answer<P>(&self, wanted: &Wanted, read: impl FnOnce(u64) -> P) -> Response
    where
        P: Stream<Item = io::Result<Bytes>> + Send + Unpin + 'static,
    {
        let (bytes, tag) = (self.bytes, format!("\"{}\"", self.sha256));
        let (status, first, length, range) = match wanted.part(bytes, &tag) {
            Part::Whole => (StatusCode::OK, 0, bytes, None),
            Part::From(first, last) => {
                let range = format!("bytes {first}-{last}/{bytes}");
                (StatusCode::PARTIAL_CONTENT, first, last - first + 1, Some(range))
            }
            Part::Outside => {
                let detail = format!("There are {bytes} bytes; ask for a range of these.");
                let range = [(header::CONTENT_RANGE, format!("bytes */{bytes}"))];
                return (range, Problem::new(Kind::RangeNotSatisfiable, detail)).into_response();
            }
        };
        let body = Body::from_stream(exactly(length, first == 0 && length == bytes, read(first)));
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        for (name, value) in self.headers() {
            headers.insert(name, value);
        }
        let told = [(header::ETAG, Some(tag)), (header::CONTENT_RANGE, range)];
        let told =
            told.into_iter().filter_map(|(name, text)| Some((name, HeaderValue::try_from(text?).ok()?)));
        headers.extend(told);
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        response
    }

    /// What does not depend on the part.
    fn headers(&self) -> [(HeaderName, HeaderValue); 6] {
        let text = HeaderValue::from_static;
        let media_type = HeaderValue::try_from(&self.media_type);
        let disposition = HeaderValue::try_from(self.disposition());
        [
            (header::CONTENT_TYPE, media_type.unwrap_or(text("application/octet-stream"))),
            (header::CONTENT_DISPOSITION, disposition.unwrap_or(text("attachment"))),
            (header::ACCEPT_RANGES, text("bytes")),
            (header::CACHE_CONTROL, text("private, no-store")),
            // Whoever opens it in a window of its own gets neither scripts nor our origin.
            (header::CONTENT_SECURITY_POLICY, text("sandbox")),
            (header::X_CONTENT_TYPE_OPTIONS, text("nosniff")),
        ]
    }

    /// Pictures, sound and films are shown, except those that can hold scripts; everything else is saved.
    fn disposition(&self) -> String {
        let shown = ["image/", "audio/", "video/"].iter().any(|family| self.media_type.starts_with(family));
        let shown = shown && !self.media_type.starts_with("image/svg");
        let how = if shown { "inline" } else { "attachment" };
        match &self.name {
            Some(name) => format!("{how}; filename*=UTF-8''{}", utf8_percent_encode(name, NON_ALPHANUMERIC)),
            None => how.to_owned(),
        }
    }
}

/// That many bytes. What ends with a check (`checked`) is read to that before its last part goes out: a client never has
/// all of something that is damaged.
fn exactly<P>(bytes: u64, checked: bool, parts: P) -> impl Stream<Item = io::Result<Bytes>>
where
    P: Stream<Item = io::Result<Bytes>> + Unpin,
{
    stream::try_unfold((parts, bytes), move |(mut parts, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let mut part = parts.try_next().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        part.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        let left = left - part.len() as u64;
        if left == 0 && checked {
            parts.try_next().await?;
        }
        Ok(Some((part, (parts, left))))
    })
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;

    fn wanted(range: &str, if_range: Option<&str>) -> Wanted {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, range.parse().unwrap());
        if let Some(tag) = if_range {
            headers.insert(header::IF_RANGE, tag.parse().unwrap());
        }
        Wanted::of(&headers)
    }

    #[test]
    fn one_range_is_a_part_and_everything_strange_is_the_whole() {
        for (range, part) in [
            ("bytes=0-0", Part::From(0, 0)),
            ("bytes=2-5", Part::From(2, 5)),
            ("bytes=5-", Part::From(5, 9)),
            ("bytes=-3", Part::From(7, 9)),
            ("bytes=-30", Part::From(0, 9)),
            ("bytes=8-100", Part::From(8, 9)),
            ("bytes=10-", Part::Outside),
            ("bytes=10-20", Part::Outside),
            ("bytes=0-1,4-5", Part::Whole),
            ("bytes=5-2", Part::Whole),
            ("bytes=a-b", Part::Whole),
            ("lines=0-1", Part::Whole),
            ("bytes=18446744073709551615-", Part::Outside),
            ("bytes=18446744073709551616-", Part::Whole),
        ] {
            assert_eq!(wanted(range, None).part(10, "\"t\""), part, "{range}");
        }
        assert_eq!(wanted("bytes=-1", None).part(0, "\"t\""), Part::Outside);
        assert_eq!(wanted("bytes=2-5", Some("\"t\"")).part(10, "\"t\""), Part::From(2, 5));
        for other in ["\"u\"", "W/\"t\"", "Wed, 21 Oct 2015 07:28:00 GMT"] {
            assert_eq!(wanted("bytes=2-5", Some(other)).part(10, "\"t\""), Part::Whole, "{other}");
        }
    }

    fn content(media_type: &str, name: Option<&str>) -> Content {
        let (sha256, media_type) = ("ab".into(), media_type.into());
        Content { bytes: 10, sha256, media_type, name: name.map(Into::into) }
    }

    /// Parts of four bytes from a place on, and how the reading ends.
    fn parts(from: u64, end: Result<(), ()>) -> impl Stream<Item = io::Result<Bytes>> + Send + Unpin {
        let bytes = Bytes::from_static(b"0123456789").slice(usize::try_from(from).unwrap()..);
        let mut all: Vec<_> = bytes.chunks(4).map(|part| Ok(Bytes::copy_from_slice(part))).collect();
        if end.is_err() {
            all.push(Err(io::ErrorKind::InvalidData.into()));
        }
        stream::iter(all)
    }

    #[tokio::test]
    async fn a_part_is_as_long_as_it_says_and_a_damaged_whole_breaks_off() {
        let part = content("image/png", None).answer(&wanted("bytes=3-8", None), |from| parts(from, Err(())));
        assert_eq!(part.headers()[header::CONTENT_RANGE], "bytes 3-8/10");
        assert_eq!(part.headers()[header::CONTENT_LENGTH], "6");
        assert_eq!(to_bytes(part.into_body(), 99).await.unwrap(), "345678");
        let whole = |end| content("image/png", None).answer(&Wanted::default(), move |from| parts(from, end));
        assert_eq!(to_bytes(whole(Ok(())).into_body(), 99).await.unwrap(), "0123456789");
        let sent: Vec<_> = futures::StreamExt::collect(whole(Err(())).into_body().into_data_stream()).await;
        let sent: Vec<_> = sent.into_iter().map(|part| part.map(|part| part.len()).ok()).collect();
        assert_eq!(sent, [Some(4), Some(4), None]);
    }

    #[test]
    fn only_pictures_sound_and_films_are_shown() {
        let told = |media_type: &str, name| content(media_type, name).disposition();
        assert_eq!(told("image/png", None), "inline");
        assert_eq!(
            told("audio/mpeg", Some("a \"b\"\r\n.mp3")),
            "inline; filename*=UTF-8''a%20%22b%22%0D%0A%2Emp3"
        );
        for saved in ["image/svg+xml", "application/pdf", "text/plain; charset=utf-8", "text/html", ""] {
            assert_eq!(told(saved, None), "attachment", "{saved}");
        }
    }
}
