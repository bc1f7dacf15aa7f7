//! What comes in by webhooks, counted; what is turned away also noted in the log, without its body.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};

use chrono::Utc;
use sha2::{Digest, Sha256};
use shared::envelope::Origin;
use shared::events::{Refusal, Source};
use shared::limiter::{Allowances, Limiter};

use crate::command::Command;
use crate::committer::Committer;

/// Refusals a minute that are noted in the log; more are only counted: whoever is turned away must not fill it.
const NOTED_PER_MINUTE: NonZeroU32 = NonZeroU32::new(120).expect("it is not 0");
/// ElevenLabs switches a webhook off after ten failures in a row; from here on the log says so.
const WARN_AT: u32 = 5;

/// Counts and notes. One for each process.
#[derive(Debug)]
pub(crate) struct Sources {
    committer: Committer,
    noted: Limiter<()>,
    failures: Mutex<HashMap<Source, u32>>,
}

/// A webhook that is turned away.
#[derive(Debug, Clone)]
pub(crate) struct TurnedAway {
    /// Where it came in.
    pub(crate) source: Source,
    /// Why, as a word for metrics.
    pub(crate) reason: &'static str,
    /// Bytes of what was read of its body.
    pub(crate) bytes: u64,
    /// SHA-256 of that, hexadecimal.
    pub(crate) sha256: String,
    /// Who sent it.
    pub(crate) address: IpAddr,
}

impl TurnedAway {
    /// Of what came in here from there; nothing is known of it yet.
    pub(crate) fn new(source: Source, address: IpAddr) -> Self {
        Self { source, reason: "refused", bytes: 0, sha256: hex::encode(Sha256::digest([])), address }
    }
}

impl Sources {
    pub(crate) fn new(committer: Committer) -> Self {
        Self { committer, noted: Limiter::new(NOTED_PER_MINUTE), failures: Mutex::default() }
    }

    /// Counts a webhook that was stored.
    pub(crate) fn received(&self, source: Source, kind: &'static str) {
        self.lock().remove(&source);
        let name = source.as_str();
        metrics::counter!("turnlog_webhooks_total", "source" => name, "kind" => kind).increment(1);
        metrics::gauge!("turnlog_webhook_failures_in_a_row", "source" => name).set(0.0);
        metrics::gauge!("turnlog_webhook_last_received_timestamp", "source" => name)
            .set(Utc::now().timestamp() as f64);
    }

    /// Counts a webhook that is turned away, and notes it in the log without waiting for it.
    pub(crate) fn turned_away(&self, what: TurnedAway, origin: Origin) {
        let TurnedAway { source, reason, bytes, sha256, address } = what;
        let refusal =
            Refusal { source, reason: reason.to_owned(), bytes, sha256, address: address.to_string() };
        metrics::counter!("turnlog_webhooks_refused_total", "source" => source.as_str(), "reason" => reason)
            .increment(1);
        if refusal.is_failed_delivery() {
            self.failed(source, reason);
        }
        if self.noted.admit(&(), &Allowances::default()).is_err() {
            return;
        }
        let committer = self.committer.clone();
        tokio::spawn(async move {
            if let Err(error) = committer.submit(Command::Refuse(refusal), origin).await {
                tracing::warn!(%error, reason, "a webhook that was turned away could not be noted");
            }
        });
    }

    /// Counts one more in a row.
    fn failed(&self, source: Source, reason: &'static str) {
        let name = source.as_str();
        let in_a_row = {
            let mut failures = self.lock();
            let count = failures.entry(source).or_default();
            *count = count.saturating_add(1);
            *count
        };
        metrics::gauge!("turnlog_webhook_failures_in_a_row", "source" => name).set(f64::from(in_a_row));
        if in_a_row == WARN_AT {
            tracing::warn!(
                source = name,
                failures = in_a_row,
                reason,
                "webhooks fail in a row; ElevenLabs switches a webhook off after ten"
            );
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Source, u32>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
