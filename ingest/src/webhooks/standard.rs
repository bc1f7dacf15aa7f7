//! Standard Webhooks: <https://www.standardwebhooks.com>. The official library decides what is good.

use axum::http::HeaderMap;
use shared::config::Secret;
use standardwebhooks::{HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP, Webhook, WebhookError};

/// Secrets that may have signed; several while one is rotated.
pub(crate) struct Signers(Vec<Webhook>);

impl Signers {
    /// Of these secrets; `None` when one is not base64, with or without `whsec_` before it.
    pub(crate) fn new(secrets: &[Secret]) -> Option<Self> {
        let signers: Result<Vec<_>, _> = secrets.iter().map(|secret| Webhook::new(secret.expose())).collect();
        signers.ok().map(Self)
    }

    /// Whether a request says that it is signed.
    pub(crate) fn signed(headers: &HeaderMap) -> bool {
        headers.contains_key(HEADER_WEBHOOK_SIGNATURE)
    }

    /// Checks the signature over the body as it came.
    ///
    /// # Errors
    /// Why it is not good, as a word for metrics.
    pub(crate) fn verify(&self, body: &[u8], headers: &HeaderMap) -> Result<(), &'static str> {
        // The library subtracts it without looking how large it is.
        let time = headers.get(HEADER_WEBHOOK_TIMESTAMP).map(|value| value.as_bytes());
        if time.is_some_and(|time| time.len() > 18 || !time.iter().all(u8::is_ascii_digit)) {
            return Err("malformed");
        }
        // Every secret is tried, whichever is right.
        let outcomes: Vec<_> = self.0.iter().map(|signer| signer.verify(body, headers)).collect();
        if outcomes.iter().any(Result::is_ok) {
            return Ok(());
        }
        let why = outcomes.into_iter().find_map(Result::err);
        Err(why.map_or("not_configured", |error| label(&error)))
    }
}

fn label(error: &WebhookError) -> &'static str {
    match error {
        WebhookError::TimestampTooOldError => "expired",
        WebhookError::FutureTimestampError => "future",
        WebhookError::InvalidSignature | WebhookError::InvalidPayload => "bad_signature",
        WebhookError::InvalidTimestamp
        | WebhookError::InvalidSecret(_)
        | WebhookError::InvalidHeader(_)
        | WebhookError::MissingHeader(_) => "malformed",
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use chrono::Utc;

    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn headers(secret: &str, time: i64, body: &[u8]) -> HeaderMap {
        let signature = Webhook::new(secret).unwrap().sign("msg_1", time, body).unwrap();
        HeaderMap::from_iter([
            ("webhook-id".parse().unwrap(), HeaderValue::from_static("msg_1")),
            ("webhook-timestamp".parse().unwrap(), HeaderValue::from_str(&time.to_string()).unwrap()),
            ("webhook-signature".parse().unwrap(), HeaderValue::from_str(&signature).unwrap()),
        ])
    }

    fn verify(headers: &HeaderMap, body: &[u8]) -> Result<(), &'static str> {
        let other = Secret::new("whsec_c29tZSBvdGhlciBzZWNyZXQgb2Ygb3Vycw==");
        Signers::new(&[other, Secret::new(SECRET)]).unwrap().verify(body, headers)
    }

    #[test]
    fn any_of_the_secrets_may_have_signed_and_nothing_else() {
        let now = Utc::now().timestamp();
        assert_eq!(verify(&headers(SECRET, now, b"{}"), b"{}"), Ok(()));
        assert_eq!(verify(&headers(SECRET, now, b"{}"), b"{} "), Err("bad_signature"));
        assert_eq!(verify(&headers(SECRET, now - 301, b"{}"), b"{}"), Err("expired"));
        assert_eq!(verify(&headers(SECRET, now + 400, b"{}"), b"{}"), Err("future"));
        let stranger = headers("whsec_bm90IG91cnM=", now, b"{}");
        assert_eq!(verify(&stranger, b"{}"), Err("bad_signature"));
        assert_eq!(Signers::new(&[]).unwrap().verify(b"{}", &stranger), Err("not_configured"));
    }

    #[test]
    fn hostile_headers_are_malformed() {
        for time in ["", "x", "-9223372036854775808", "9223372036854775807", "1.5"] {
            let mut headers = headers(SECRET, Utc::now().timestamp(), b"{}");
            headers.insert("webhook-timestamp", HeaderValue::from_str(time).unwrap());
            assert_eq!(verify(&headers, b"{}"), Err("malformed"), "{time}");
        }
        let mut headers = headers(SECRET, Utc::now().timestamp(), b"{}");
        headers.remove("webhook-id");
        assert_eq!(verify(&headers, b"{}"), Err("malformed"));
        assert!(Signers::new(&[Secret::new("whsec_not base64!")]).is_none());
    }
}
