//! `ElevenLabs-Signature: t=<unix seconds>,v0=<hex>`, checked over the bytes as they came.
//!
//! The order is fixed: the header is read, the whole body hashed, every hash compared, and only then the time looked
//! at. So "expired" is told of good signatures alone, and a body that nobody signed is never looked into.

use std::fmt::Write;
use std::time::Duration;

use axum::http::HeaderMap;
use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use shared::config::Secret;
use shared::events::Refusal;
use subtle::{Choice, ConstantTimeEq};

/// Name of the header.
pub const HEADER: &str = "elevenlabs-signature";
/// Bytes of the header: a few hashes of 68 each while secrets are rotated.
const MAX_HEADER_BYTES: usize = 4 * 1024;
/// Items of the header that are looked at.
const MAX_ITEMS: usize = 32;
/// Digits of a time: more is no number of seconds.
const MAX_DIGITS: usize = 18;

type HmacSha256 = Hmac<Sha256>;

/// Why a signature is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// No header.
    #[error("the header ElevenLabs-Signature is missing")]
    Missing,
    /// More than one header, one that is too long, or no text.
    #[error("the header ElevenLabs-Signature must be there once, as t=<unix seconds>,v0=<hex>")]
    Malformed,
    /// No time, more than one, or one that is no number.
    #[error("the header ElevenLabs-Signature must name one time, as t=<unix seconds>")]
    BadTimestamp,
    /// No hash of the scheme v0.
    #[error("the header ElevenLabs-Signature names no hash of the scheme v0")]
    NoHash,
    /// No secret makes any of the hashes.
    #[error("the signature does not match the body")]
    BadSignature,
    /// A good signature that is too old.
    #[error("the signature is good but too old")]
    Expired,
    /// A good signature of a time to come.
    #[error("the signature is good but its time lies in the future")]
    Future,
}

impl SignatureError {
    /// Its name in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Missing => Refusal::MISSING,
            Self::Malformed => "malformed",
            Self::BadTimestamp => "bad_timestamp",
            Self::NoHash => "no_hash",
            Self::BadSignature => "bad_signature",
            Self::Expired => "expired",
            Self::Future => "future",
        }
    }
}

/// How far the time of a good signature may lie from now.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// In the past. The vendor's own retries come up to 45 minutes after the first try.
    pub tolerance: Duration,
    /// In the future: how wrong clocks may be.
    pub skew: Duration,
}

/// The header, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The time as it was written: that is what was signed.
    signed_time: String,
    time: i64,
    hashes: Vec<[u8; 32]>,
}

impl Signature {
    /// Reads the header. A hash that is no 32 bytes of hexadecimal digits matches nothing, whatever the body.
    ///
    /// # Errors
    /// [`SignatureError::Missing`], [`SignatureError::Malformed`], [`SignatureError::BadTimestamp`] or
    /// [`SignatureError::NoHash`].
    pub fn parse(headers: &HeaderMap) -> Result<Self, SignatureError> {
        let mut values = headers.get_all(HEADER).iter();
        let value = values.next().ok_or(SignatureError::Missing)?;
        if values.next().is_some() || value.len() > MAX_HEADER_BYTES {
            return Err(SignatureError::Malformed);
        }
        let text = value.to_str().map_err(|_| SignatureError::Malformed)?;
        if text.split(',').nth(MAX_ITEMS).is_some() {
            return Err(SignatureError::Malformed);
        }
        let item = |scheme: &'static str| {
            let items = text.split(',').filter_map(|item| item.trim().split_once('='));
            items.filter(move |(name, _)| *name == scheme).map(|(_, value)| value)
        };
        let mut times = item("t");
        let (Some(signed_time), None) = (times.next(), times.next()) else {
            return Err(SignatureError::BadTimestamp);
        };
        let time = seconds(signed_time).ok_or(SignatureError::BadTimestamp)?;
        if item("v0").next().is_none() {
            return Err(SignatureError::NoHash);
        }
        let hashes = item("v0").filter_map(hash).collect();
        Ok(Self { signed_time: signed_time.to_owned(), time, hashes })
    }

    fn check_time(&self, now: DateTime<Utc>, window: Window) -> Result<(), SignatureError> {
        let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        // The time has at most 18 digits, so neither side comes near the end of its range.
        if self.time < now.timestamp().saturating_sub(seconds(window.tolerance)) {
            return Err(SignatureError::Expired);
        }
        if self.time > now.timestamp().saturating_add(seconds(window.skew)) {
            return Err(SignatureError::Future);
        }
        Ok(())
    }
}

fn seconds(text: &str) -> Option<i64> {
    let digits = (1..=MAX_DIGITS).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

fn hash(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(bytes)
}

/// Hashes a body as it comes, once for each secret that is in use.
#[derive(Debug)]
pub struct Verifier<'a> {
    signature: &'a Signature,
    macs: Vec<HmacSha256>,
}

impl<'a> Verifier<'a> {
    /// For a body that comes with this signature. Without a secret no signature is good.
    pub fn new(signature: &'a Signature, secrets: &[Secret]) -> Self {
        let macs = secrets.iter().map(|secret| start(secret.expose(), &signature.signed_time)).collect();
        Self { signature, macs }
    }

    /// Takes in the next bytes of the body.
    pub fn update(&mut self, bytes: &[u8]) {
        for mac in &mut self.macs {
            mac.update(bytes);
        }
    }

    /// After the last byte: compares, then looks at the time. `now` is when the header came.
    ///
    /// # Errors
    /// [`SignatureError::BadSignature`]; for a good one [`SignatureError::Expired`] or [`SignatureError::Future`].
    pub fn finish(self, now: DateTime<Utc>, window: Window) -> Result<(), SignatureError> {
        let mut good = Choice::from(0);
        // Every secret against every hash, whatever the earlier ones gave: time tells nothing.
        for mac in self.macs {
            let computed = mac.finalize().into_bytes();
            for hash in &self.signature.hashes {
                good |= computed.as_slice().ct_eq(hash);
            }
        }
        if !bool::from(good) {
            return Err(SignatureError::BadSignature);
        }
        self.signature.check_time(now, window)
    }
}

/// The header's value for a body: what the vendor does, for demonstrations and tests.
pub fn sign(secret: &str, timestamp: i64, body: &[u8]) -> String {
    let time = timestamp.to_string();
    let mac = start(secret, &time).chain_update(body).finalize().into_bytes();
    let mut header = format!("t={time},v0=");
    for byte in mac {
        // Writing to a string cannot fail.
        let _written = write!(header, "{byte:02x}");
    }
    header
}

/// The whole text of a secret is the key, as it is; the time and a dot come before the body.
fn start(secret: &str, time: &str) -> HmacSha256 {
    let mac = HmacSha256::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    mac.chain_update(time).chain_update(".")
}

#[cfg(test)]
mod tests;
