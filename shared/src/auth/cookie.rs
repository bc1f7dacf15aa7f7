//! The cookie in which a browser keeps a session: written, and found again.

use std::time::Duration;

use axum::http::header::COOKIE as COOKIES;
use axum::http::{HeaderMap, HeaderValue};
use cookie::time;
use cookie::{Cookie, SameSite};

/// Its name.
pub const COOKIE: &str = "turnlog_session";
/// Nothing but the endpoints gets it.
const PATH: &str = "/api";

/// Says to keep a session for so long; over TLS alone where it came over TLS.
pub fn session_cookie(session: &str, ttl: Duration, https: bool) -> Option<HeaderValue> {
    written(session, time::Duration::try_from(ttl).ok()?, https)
}

/// Says to forget it.
pub fn session_over(https: bool) -> Option<HeaderValue> {
    written("", time::Duration::ZERO, https)
}

fn written(value: &str, max_age: time::Duration, https: bool) -> Option<HeaderValue> {
    let cookie = Cookie::build((COOKIE, value))
        .path(PATH)
        .http_only(true)
        .same_site(SameSite::Strict)
        .secure(https)
        .max_age(max_age);
    HeaderValue::from_str(&cookie.to_string()).ok()
}

/// The session that the request brought; what is no cookie is passed over.
pub(super) fn found(headers: &HeaderMap) -> Option<String> {
    let lines = headers.get_all(COOKIES).iter().filter_map(|line| line.to_str().ok());
    let mut cookies = lines.flat_map(Cookie::split_parse).flatten();
    cookies.find(|cookie| cookie.name() == COOKIE).map(|cookie| cookie.value().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_written_for_the_endpoints_alone_and_out_of_reach_of_scripts() {
        let text = |value: Option<HeaderValue>| value.unwrap().to_str().unwrap().to_owned();
        let kept = "turnlog_session=a.b.c; HttpOnly; SameSite=Strict; Secure; Path=/api; Max-Age=60";
        assert_eq!(text(session_cookie("a.b.c", Duration::from_secs(60), true)), kept);
        let over = "turnlog_session=; HttpOnly; SameSite=Strict; Path=/api; Max-Age=0";
        assert_eq!(text(session_over(false)), over);
    }

    #[test]
    fn a_session_is_found_among_others_and_garbage() {
        let found_in = |lines: &[&[u8]]| {
            let lines = lines.iter().map(|line| (COOKIES, HeaderValue::from_bytes(line).unwrap()));
            found(&lines.collect())
        };
        assert_eq!(found_in(&[b"a=1; turnlog_session=x.y.z; b"]).as_deref(), Some("x.y.z"));
        assert_eq!(found_in(&[b"\xff\xfe=1", b";;=; =x", b"turnlog_session=x"]).as_deref(), Some("x"));
        assert_eq!(found_in(&[b"turnlog_sessions=x; turnlog=y; turnlog_session"]), None);
        assert_eq!(found_in(&[]), None);
    }
}
