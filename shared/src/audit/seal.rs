//! Seals: from time to time one record says what all records since the last one were, and what that one said. Together
//! they are a chain: nothing that it covers can be changed, taken out, moved or put in between without that showing.
//!
//! Sealing stands behind recording, so that a look waits for the disk and for nobody else. Any number of instances may
//! seal: the server takes a seal only as the next one, and they would all say the same.

use std::time::Duration;

use async_nats::jetstream::{self, stream};
use async_nats::{Client, HeaderMap};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Audit, STREAM};
use crate::envelope::Entry;
use crate::limits::ACK_TIMEOUT;
use crate::log::read::{PAGE, Start, Wanted, page};
use crate::log::{Log, LogError};
use crate::subjects;

/// How often records are sealed: what is newer than that can still be lost without a trace, to whoever holds the disk.
const EVERY: Duration = Duration::from_secs(1);
/// Records that one seal covers at most, so that it fits a message by far, and what verifies it memory.
pub(super) const MOST: u64 = 10_000;
/// How often the newest seal is logged, for a witness elsewhere.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// SHA-256 of a record, or of a chain.
pub(super) type Digest = [u8; 32];
/// The beginning of a record's digest: enough to tell which one it is, while the hash of the seal proves what it was.
pub(super) type Mark = [u8; MARK_BYTES];
const MARK_BYTES: usize = 6;
/// Of a record that was missing when it was sealed.
pub(super) const GONE: Digest = [0; 32];

/// What a seal says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// It covers the records from this sequence ...
    pub from: u64,
    /// ... to this one.
    pub to: u64,
    /// Over the seal before and the digests of the records, in order.
    #[serde(with = "hexadecimal")]
    pub hash: Digest,
    /// The hash of the seal before; zeros where there is none.
    #[serde(with = "hexadecimal")]
    pub before: Digest,
    /// When.
    pub at: DateTime<Utc>,
    /// The beginning of each record's digest, to tell which one was changed.
    #[serde(with = "base64_marks")]
    pub(super) marks: Vec<Mark>,
}

/// A position in the audit log that says what everything before it was: to be kept elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Where the seal stands.
    pub sequence: u64,
    /// Its hash.
    pub hash: Digest,
}

impl std::fmt::Display for Head {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.sequence, hexadecimal::text(&self.hash))
    }
}

impl std::str::FromStr for Head {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "give what turnlog audit verify printed: a sequence, a colon, 64 hexadecimal digits";
        let (sequence, hash) = text.split_once(':').ok_or(wrong)?;
        let hash = hexadecimal::parse(hash).ok_or(wrong)?;
        Ok(Self { sequence: sequence.parse().map_err(|_| wrong)?, hash })
    }
}

impl Seal {
    /// Over these records, which follow each other; `GONE` for each that is missing.
    pub(super) fn over(from: u64, records: &[Digest], before: Digest, at: DateTime<Utc>) -> Self {
        let to = from + records.len() as u64 - 1;
        let hasher =
            records.iter().fold(begin(before, from, to), |hasher, record| hasher.chain_update(record));
        let hash = hasher.finalize().into();
        Self { from, to, hash, before, at, marks: records.iter().map(mark).collect() }
    }

    /// As it stands in the stream; none where that is no seal.
    pub fn read(body: &[u8]) -> Option<Self> {
        let seal: Self = serde_json::from_slice(body).ok()?;
        let covered = seal.to.checked_sub(seal.from)?.checked_add(1)?;
        (seal.from > 0 && covered <= MOST && covered == seal.marks.len() as u64).then_some(seal)
    }

    fn body(&self) -> Bytes {
        // Numbers and text: this does not fail, and an empty seal would be refused when it is read.
        serde_json::to_vec(self).unwrap_or_default().into()
    }
}

/// What a seal's hash begins with; the digests of its records follow.
pub(super) fn begin(before: Digest, from: u64, to: u64) -> Sha256 {
    Sha256::new()
        .chain_update("turnlog:audit:1:")
        .chain_update(before)
        .chain_update(from.to_be_bytes())
        .chain_update(to.to_be_bytes())
}

/// Of a record: where it is filed, and what it says.
pub(super) fn digest(subject: &str, body: &[u8]) -> Digest {
    Sha256::new().chain_update(subject).chain_update([0]).chain_update(body).finalize().into()
}

pub(super) fn mark(digest: &Digest) -> Mark {
    let mut mark = Mark::default();
    mark.copy_from_slice(&digest[..MARK_BYTES]);
    mark
}

/// Where the chain ends: its newest seal, and how far it covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sealed {
    /// The newest seal.
    pub head: Head,
    /// The last record that it covers.
    pub to: u64,
    /// How many it covers.
    pub count: u64,
    /// When it was made.
    pub at: DateTime<Utc>,
}

/// Seals what was recorded.
#[derive(Debug)]
pub struct Sealer {
    client: Client,
    context: jetstream::Context,
    told: Option<tokio::time::Instant>,
}

impl Sealer {
    /// On this connection.
    pub fn new(log: &Log) -> Self {
        let mut context = jetstream::new(log.client().clone());
        context.set_timeout(ACK_TIMEOUT);
        Self { client: log.client().clone(), context, told: None }
    }

    /// Seals what comes, for ever; what fails is tried again.
    ///
    /// # Errors
    /// None; it is one of the loops that may not end.
    pub async fn follow(mut self) -> Result<(), LogError> {
        loop {
            match self.seal(EVERY / 2).await {
                // As much as one seal covers: there is more.
                Ok(count) if count == MOST => continue,
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "the audit log is not sealed for now"),
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Seals what is there, at most [`MOST`] records; answers how many.
    ///
    /// # Errors
    /// [`LogError::Unavailable`], also where another instance sealed meanwhile.
    pub async fn round(&mut self) -> Result<u64, LogError> {
        self.seal(Duration::ZERO).await
    }

    /// The same, unless an instance sealed less than `rest` ago: many of them seal no more often than one.
    async fn seal(&mut self, rest: Duration) -> Result<u64, LogError> {
        let last = newest(&self.context).await?;
        let age = last.map(|last| (Utc::now() - last.at).to_std().unwrap_or_default());
        if last.is_some_and(|last| last.count < MOST) && age.is_some_and(|age| age < rest) {
            return Ok(0);
        }
        let from = last.map_or(0, |last| last.to) + 1;
        let found = self.found(from).await?;
        let Some(records) = found else { return Ok(0) };
        let before = last.map_or(GONE, |last| last.head.hash);
        let seal = Seal::over(from, &records, before, Utc::now());
        let mut headers = HeaderMap::new();
        let expected = last.map_or(0, |last| last.head.sequence).to_string();
        headers.insert(async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, expected);
        let sent = self.context.publish_with_headers(subjects::SEALS, headers, seal.body()).await;
        let ack = sent.map_err(LogError::unavailable)?.await.map_err(LogError::unavailable)?;
        self.tell(Head { sequence: ack.sequence, hash: seal.hash }, seal.to);
        Ok(records.len() as u64)
    }

    /// The digests of what is not sealed yet; none where there is nothing but seals.
    async fn found(&self, from: u64) -> Result<Option<Vec<Digest>>, LogError> {
        let (mut records, mut worth) = (Vec::new(), false);
        loop {
            let start = Start::At(from + records.len() as u64);
            let wanted = Wanted { subject: subjects::AUDIT, start, batch: PAGE };
            let mut more = false;
            page(&self.client, STREAM, wanted, |entry, pending| {
                more = pending > 0;
                let place = (entry.sequence - from) as usize;
                if place < MOST as usize {
                    // What the disk lost is sealed as lost, so that nothing can take its place.
                    records.resize(place, GONE);
                    records.push(digest(&entry.subject, &entry.body));
                    worth |= entry.subject != subjects::SEALS;
                } else {
                    records.resize(MOST as usize, GONE);
                }
            })
            .await?;
            if !more || records.len() as u64 == MOST {
                return Ok(worth.then_some(records));
            }
        }
    }

    fn tell(&mut self, head: Head, to: u64) {
        metrics::gauge!("turnlog_audit_sealed_sequence").set(to as f64);
        if self.told.is_none_or(|told| told.elapsed() >= TOLD_EVERY) {
            tracing::info!(%head, "the audit log is sealed: with this, turnlog audit verify --expect shows a cut end");
            self.told = Some(tokio::time::Instant::now());
        }
    }
}

impl Audit {
    /// The newest seal; none where nothing was ever sealed.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] when the server does not answer, or that seal cannot be read.
    pub async fn sealed(&self) -> Result<Option<Sealed>, LogError> {
        newest(&self.context).await
    }
}

async fn newest(context: &jetstream::Context) -> Result<Option<Sealed>, LogError> {
    let stream = context.get_stream_no_info(STREAM).await.map_err(LogError::unavailable)?;
    let found = match stream.direct_get_last_for_subject(subjects::SEALS).await {
        Ok(found) => found,
        Err(error) if matches!(error.kind(), stream::DirectGetErrorKind::NotFound) => return Ok(None),
        Err(error) => return Err(LogError::unavailable(error)),
    };
    let unreadable =
        || LogError::unavailable("the newest seal cannot be read; a newer version may have written it");
    let seal = Seal::read(&found.payload).ok_or_else(unreadable)?;
    let head = Head { sequence: found.sequence, hash: seal.hash };
    Ok(Some(Sealed { head, to: seal.to, count: seal.marks.len() as u64, at: seal.at }))
}

/// The digest of an entry as it was read.
pub(super) fn digest_of(entry: &Entry) -> Digest {
    digest(&entry.subject, &entry.body)
}

mod hexadecimal {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::Digest;

    pub(super) fn text(digest: &Digest) -> String {
        digest.iter().fold(String::with_capacity(64), |text, byte| text + &format!("{byte:02x}"))
    }

    pub(super) fn parse(text: &str) -> Option<Digest> {
        let mut digest = Digest::default();
        let good = text.len() == 2 * digest.len() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        for (byte, place) in digest.iter_mut().zip((0..).step_by(2)).filter(|_| good) {
            *byte = u8::from_str_radix(&text[place..place + 2], 16).ok()?;
        }
        good.then_some(digest)
    }

    pub(super) fn serialize<S: Serializer>(digest: &Digest, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&text(digest))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Digest, D::Error> {
        parse(&String::deserialize(from)?).ok_or_else(|| D::Error::custom("not 64 hexadecimal digits"))
    }
}

mod base64_marks {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::{Engine, MARK_BYTES, Mark, STANDARD_NO_PAD};

    pub(super) fn serialize<S: Serializer>(marks: &[Mark], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD_NO_PAD.encode(marks.concat()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Mark>, D::Error> {
        let text = String::deserialize(from)?;
        let bytes = STANDARD_NO_PAD.decode(text).map_err(D::Error::custom)?;
        let marks = bytes.chunks_exact(MARK_BYTES);
        if !marks.remainder().is_empty() {
            return Err(D::Error::custom("cut off"));
        }
        marks.map(|mark| Mark::try_from(mark).map_err(D::Error::custom)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_reads_as_it_was_written_and_its_form_stays() {
        let records = [digest(&["audit", "list", "x"].join("."), b"one"), GONE];
        let at = DateTime::from_timestamp(1_760_000_000, 0).unwrap();
        let seal = Seal::over(7, &records, GONE, at);
        assert_eq!(
            std::str::from_utf8(&seal.body()).unwrap(),
            format!(
                r#"{{"from":7,"to":8,"hash":"{}","before":"{}","at":"2025-10-09T08:53:20Z","marks":"{}"}}"#,
                hexadecimal::text(&seal.hash),
                "0".repeat(64),
                STANDARD_NO_PAD.encode([&records[0][..6], &[0; 6]].concat()),
            )
        );
        assert_eq!(Seal::read(&seal.body()), Some(seal.clone()));
        // A chain that was kept elsewhere is compared for years.
        let hash = "dd5e8efe2b6c775455a6eedfb9037e9f5f7a61ea51a61c5e54142cc2aa49222c";
        assert_eq!(hexadecimal::text(&seal.hash), hash);
    }

    #[test]
    fn what_is_no_seal_is_none() {
        let seal = |from: u64, to: u64, marks: &str| {
            let zeros = "0".repeat(64);
            let text = format!(
                r#"{{"from":{from},"to":{to},"hash":"{zeros}","before":"{zeros}","at":"2025-10-09T08:53:20Z","marks":"{marks}"}}"#
            );
            Seal::read(text.as_bytes())
        };
        assert!(seal(1, 1, "AAAAAAAA").is_some());
        for (from, to, marks) in
            [(1, 2, "AAAAAAAA"), (0, 0, "AAAAAAAA"), (2, 1, ""), (1, 1, "AAAA"), (0, u64::MAX, "")]
        {
            assert!(seal(from, to, marks).is_none(), "{from}..{to} {marks}");
        }
    }

    #[test]
    fn a_head_is_read_as_it_is_printed() {
        let head = Head { sequence: 17, hash: digest("a", b"b") };
        assert_eq!(head.to_string().parse(), Ok(head));
        for wrong in ["", "17", "17:", "17:00", "x:1", &format!("17:{}", "é".repeat(32))] {
            assert!(wrong.parse::<Head>().is_err(), "{wrong}");
        }
    }
}
