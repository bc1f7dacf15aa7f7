//! Why the vendor gave no answer, as its callers tell it apart.

use std::error::Error;
use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde_json::Value;

use super::limits::{MAX_MESSAGE_CHARS, MAX_RETRY_AFTER};

/// What is quoted where the vendor gave no reason.
const NO_REASON: &str = "no reason given";

/// Why there is no answer. Texts hold neither the key nor an address with a query.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VendorError {
    /// The key is no good, or lacks a permission.
    #[error("ElevenLabs refuses the key, or the key lacks a permission ({0}): check ELEVENLABS_API_KEY")]
    Unauthorized(String),
    /// The vendor knows nothing of this id.
    #[error("ElevenLabs does not know it ({0})")]
    NotFound(String),
    /// The vendor does not take the request; asking again is of no use.
    #[error("ElevenLabs does not take the request ({0})")]
    Invalid(String),
    /// Too many requests.
    #[error("ElevenLabs asks for fewer requests ({message})")]
    RateLimited {
        /// The vendor's reason.
        message: String,
        /// When the vendor wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// The vendor failed, could not be reached, or did not answer in time.
    #[error("ElevenLabs is not available ({message})")]
    Unavailable {
        /// What happened.
        message: String,
        /// When the vendor wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// An answer that is not what was asked for.
    #[error("ElevenLabs gave an answer that cannot be read: {0}")]
    Malformed(String),
    /// An answer past its limit; the rest was not read.
    #[error("ElevenLabs gave an answer of more than {0} bytes")]
    TooLarge(u64),
}

impl VendorError {
    /// Of an answer that is no success: its status, headers and (the beginning of) its body.
    pub(super) fn refused(status: u16, headers: &HeaderMap, body: &[u8], key: &str) -> Self {
        let message = printable(&reason(body).unwrap_or_else(|| NO_REASON.to_owned()), key);
        let message = format!("{status}: {message}");
        let retry_after = retry_after(headers, Utc::now());
        match status {
            401 | 403 => Self::Unauthorized(message),
            404 => Self::NotFound(message),
            429 => Self::RateLimited { message, retry_after },
            408 | 500.. => Self::Unavailable { message, retry_after },
            400..=499 => Self::Invalid(message),
            // A redirect is not followed: the key would go with it.
            _ => Self::Malformed(format!("status {message}")),
        }
    }

    /// Of a request that broke before its answer was complete.
    pub(super) fn broken(error: reqwest::Error, key: &str) -> Self {
        let error = error.without_url();
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            message = format!("{message}: {inner}");
            cause = inner.source();
        }
        Self::Unavailable { message: printable(&message, key), retry_after: None }
    }

    /// Whether the same request may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::RateLimited { .. } | Self::Unavailable { .. } => true,
            Self::Unauthorized(_)
            | Self::NotFound(_)
            | Self::Invalid(_)
            | Self::Malformed(_)
            | Self::TooLarge(_) => false,
        }
    }

    /// When the vendor wants to be asked again, where it said so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after, .. } | Self::Unavailable { retry_after, .. } => *retry_after,
            Self::Unauthorized(_)
            | Self::NotFound(_)
            | Self::Invalid(_)
            | Self::Malformed(_)
            | Self::TooLarge(_) => None,
        }
    }

    /// A word for metrics.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Unauthorized(_) => "unauthorized",
            Self::NotFound(_) => "not_found",
            Self::Invalid(_) => "invalid",
            Self::RateLimited { .. } => "rate_limited",
            Self::Unavailable { .. } => "unavailable",
            Self::Malformed(_) => "malformed",
            Self::TooLarge(_) => "too_large",
        }
    }
}

/// The vendor's reason, in any of its shapes: `detail` is an object with a message, a text, or a list of bad fields.
fn reason(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    match body.get("detail")? {
        Value::String(text) => Some(text.clone()),
        Value::Object(detail) => {
            let texts =
                ["message", "status", "code"].into_iter().filter_map(|name| detail.get(name)?.as_str());
            texts.into_iter().find(|text| !text.is_empty()).map(str::to_owned)
        }
        Value::Array(fields) => Some(fields.iter().map(bad_field).collect::<Vec<_>>().join("; ")),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

/// One entry of a list of bad fields: `query.page_size: Input should be …`.
fn bad_field(entry: &Value) -> String {
    let place: Vec<_> = entry["loc"].as_array().into_iter().flatten().map(bare).collect();
    let message = entry["msg"].as_str().unwrap_or(NO_REASON);
    if place.is_empty() { message.to_owned() } else { format!("{}: {message}", place.join(".")) }
}

fn bare(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Fit for one line of a log: no control characters, not long, and never the key.
fn printable(text: &str, key: &str) -> String {
    let hidden = if key.is_empty() { text.to_owned() } else { text.replace(key, "[key]") };
    let mut characters = hidden.chars().filter(|c| !c.is_control());
    let cut: String = characters.by_ref().take(MAX_MESSAGE_CHARS).collect();
    if characters.next().is_some() { format!("{cut}…") } else { cut }
}

/// `Retry-After`: seconds, or a date.
fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = DateTime::parse_from_rfc2822(text).ok()?;
            (date.to_utc() - now).to_std().unwrap_or_default()
        }
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn refused(status: u16, body: &str) -> VendorError {
        VendorError::refused(status, &HeaderMap::new(), body.as_bytes(), "sk_secret")
    }

    #[test]
    fn the_reason_is_found_in_every_shape() {
        let cases = [
            (r#"{"detail":{"type":"validation_error","code":"c","message":"newer","status":"s"}}"#, "newer"),
            (r#"{"detail":{"status":"invalid_api_key","message":"Invalid API key"}}"#, "Invalid API key"),
            (r#"{"detail":{"status":"invalid_api_key","message":null}}"#, "invalid_api_key"),
            (r#"{"detail":{"code":"system_busy"}}"#, "system_busy"),
            (r#"{"detail":"Not Found"}"#, "Not Found"),
            (
                r#"{"detail":[{"loc":["query","page_size"],"msg":"too big","type":"t"},{"loc":["a",0],"msg":"b"}]}"#,
                "query.page_size: too big; a.0: b",
            ),
            (r#"{"detail":[{"msg":"alone"}]}"#, "alone"),
            (r#"{"detail":7}"#, NO_REASON),
            (r#"{"error":"elsewhere"}"#, NO_REASON),
            ("<html>502</html>", NO_REASON),
            (r#"{"detail":{"mess"#, NO_REASON),
            ("", NO_REASON),
        ];
        for (body, reason) in cases {
            assert_eq!(refused(404, body), VendorError::NotFound(format!("404: {reason}")), "{body}");
        }
    }

    #[test]
    fn a_status_becomes_what_a_caller_can_do_about_it() {
        let words = [
            (302, "malformed"),
            (400, "invalid"),
            (401, "unauthorized"),
            (403, "unauthorized"),
            (404, "not_found"),
            (408, "unavailable"),
            (409, "invalid"),
            (418, "invalid"),
            (422, "invalid"),
            (429, "rate_limited"),
            (500, "unavailable"),
            (503, "unavailable"),
            (599, "unavailable"),
        ];
        for (status, word) in words {
            let error = refused(status, "{}");
            assert_eq!(error.word(), word, "{status}");
            assert_eq!(error.is_transient(), matches!(word, "unavailable" | "rate_limited"), "{status}");
        }
    }

    #[test]
    fn what_is_quoted_is_short_in_one_line_and_without_the_key() {
        let long = format!(r#"{{"detail":"key sk_secret\n\u0000\u001b[31m {}"}}"#, "é".repeat(500));
        let text = refused(401, &long).to_string();
        assert!(!text.contains("sk_secret") && text.contains("[key]"), "{text}");
        assert!(!text.chars().any(char::is_control));
        assert!(text.chars().count() < MAX_MESSAGE_CHARS + 150);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_is_believed_up_to_an_hour() {
        let now: DateTime<Utc> = "2026-11-21T09:00:00Z".parse().unwrap();
        let read = |text: &str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
            retry_after(&headers, now).map(|wait| wait.as_secs())
        };
        assert_eq!(read("7"), Some(7));
        assert_eq!(read(" 0 "), Some(0));
        assert_eq!(read("86400"), Some(3600));
        let date = (now + TimeDelta::seconds(90)).format("%a, %d %b %Y %H:%M:%S GMT").to_string();
        assert_eq!(read(&date), Some(90));
        assert_eq!(read("Wed, 21 Oct 2015 07:28:00 GMT"), Some(0));
        assert_eq!(read("soon"), None);
        assert_eq!(read("-1"), None);
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
