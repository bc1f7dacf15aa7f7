//! Every limit: its name, unit and reason, in one place.

use std::num::NonZeroU32;
use std::time::Duration;

/// Bytes of one id from outside. Ids are hashed before they become a subject, so the bound only keeps bodies sane.
pub const MAX_ID_BYTES: usize = 16 * 1024;

/// Bytes of an id of the directory (workers, admins, companies, calls): an index row holds a few of them.
pub const MAX_SHORT_ID_BYTES: usize = 256;

/// Bytes of one message's content unless `MAX_CONTENT_BYTES` says otherwise.
pub const DEFAULT_CONTENT_BYTES: usize = 65_536;

/// Bytes of one request body unless `MAX_BODY_BYTES` says otherwise; a batch of ordinary messages fits.
pub const DEFAULT_BODY_BYTES: usize = 4 * 1024 * 1024;

/// Bytes of one event with its headers: what the shipped `nats.conf` lets through (`max_payload`).
pub const MAX_EVENT_BYTES: usize = 2 * 1024 * 1024;

/// Bytes of one chunk of a stored object: half of what a server with default settings lets through.
pub const OBJECT_CHUNK_BYTES: usize = 512 * 1024;

/// Chunks of one object that may be under way without the server's word that it has them.
pub const MAX_CHUNKS_UNDER_WAY: usize = 2;

/// Objects that one process stores at once. The server itself takes 50 batches at once for one stream.
pub const MAX_OBJECTS_UNDER_WAY: usize = 8;

/// Bytes of one object: an object is one atomic batch, its last message says what it is.
pub const MAX_OBJECT_BYTES: usize = (MAX_BATCH_EVENTS - 1) * OBJECT_CHUNK_BYTES;

/// Bytes of one webhook unless `MAX_WEBHOOK_BYTES` says otherwise: the JSON as it is sent, so that audio in base64 may
/// be three quarters of it.
pub const DEFAULT_WEBHOOK_BYTES: usize = 64 * 1024 * 1024;

/// Bytes of one upload unless `MAX_MEDIA_BYTES` says otherwise: a minute of a phone's video, half an hour of speech.
pub const DEFAULT_MEDIA_BYTES: usize = 32 * 1024 * 1024;

/// Bytes of a webhook or an upload that stay in memory; a longer one goes to a file. Ordinary transcripts are a tenth of
/// it.
pub const SPOOL_MEMORY_BYTES: usize = 512 * 1024;

/// Webhooks and uploads that are written to files at once; further ones wait, and TCP holds their senders back.
pub const MAX_SPOOL_FILES: usize = 64;

/// How long one of them waits for its turn before it gets 503.
pub const SPOOL_PATIENCE: Duration = Duration::from_secs(60);

/// Bytes a second that such a body makes at least, over its whole way: whoever sends slower only holds a place.
pub const MIN_SPOOL_RATE: u64 = 16 * 1024;

/// Bytes of a report that is read; a larger one is kept as it came, for a version that can.
pub const MAX_REPORT_BYTES: u64 = 16 * 1024 * 1024;

/// Bytes of headers that an envelope can take at most (request id, trace, ids, batch control).
pub const ENVELOPE_BYTES: usize = 4 * 1024;

/// Messages in one `POST /api/v1/chat/messages`.
pub const MAX_MESSAGES_PER_REQUEST: usize = 500;

/// Messages in one atomic batch: the server's own limit (ADR-50).
pub const MAX_BATCH_EVENTS: usize = 1_000;

/// Bytes in one atomic batch, so that a batch of large messages is still staged and flushed quickly.
pub const MAX_BATCH_BYTES: usize = 8 * 1024 * 1024;

/// Commands that may wait for the committer; past it callers wait, and get 503 at their deadline.
pub const MAX_QUEUED_COMMANDS: usize = 8_192;

/// How long a write may take in all before its caller gets 503: longer than a restart of the log's server on one
/// machine, shorter than the patience of a phone.
pub const WRITE_DEADLINE: Duration = Duration::from_secs(10);

/// How long one publish waits for its ack before the outcome is looked up in the log. A batch of 1,000 takes 10 ms
/// on a good disk; a hundred times that is a lost ack, not a slow one.
pub const ACK_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a read waits for the tables to reach `?after=SEQ`.
pub const READ_WAIT: Duration = Duration::from_secs(2);

/// How far in the future a message's own timestamp may lie: clocks of phones are wrong by hours, not by days.
pub const MAX_FUTURE: Duration = Duration::from_secs(24 * 3600);

/// Server-side window in which a repeated `Nats-Msg-Id` is recognised, unless `DEDUPE_WINDOW_SECONDS` says otherwise.
/// Retries are decided by expected sequence; the window only spares the log a needless try, so it is short (RAM).
pub const DEFAULT_DEDUPE_WINDOW: Duration = Duration::from_secs(120);

/// How long a ticket opens a feed: from the answer that brings it to the request that uses it, on a phone's network.
pub const TICKET_TTL: Duration = Duration::from_secs(30);

/// How long it is kept in mind that a ticket was used: longer than it could be used again, by clocks that differ.
pub const CLAIM_TTL: Duration = Duration::from_secs(120);

/// Records that may wait for the audit log: all feeds of a process may end at once.
pub const QUEUED_RECORDS: usize = 16_384;

/// How long something waits for its record in the audit log before it is answered 503: as long as a question to the log's
/// server may take.
pub const RECORD_PATIENCE: Duration = Duration::from_secs(2);

/// Refusals of one caller a minute that each get a record; further ones share one, so that a caller who does nothing else
/// cannot fill the audit log.
pub const REFUSALS_RECORDED: u32 = 30;

/// Callers whose refusals are counted apart within a minute; those of all others share one record.
pub const REFUSED_CALLERS: usize = 1_000;

/// Bytes of `X-Request-Id` that are taken from a caller.
pub const MAX_REQUEST_ID_BYTES: usize = 128;

/// How long a whole request body may take to arrive.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the head of a request may take to arrive, and how long a connection may be idle before the next one: what
/// proxies hold theirs open for.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(75);

/// How long a caller may neither acknowledge nor take anything before its connection is closed: less than the default
/// heartbeat of a feed, so that a peer that vanished is noticed within two.
pub const PEER_TIMEOUT: Duration = Duration::from_secs(25);

/// How long a connection is silent before it is probed: longer than a heartbeat, which is a probe itself.
pub const KEEPALIVE_AFTER: Duration = Duration::from_secs(45);

/// How often it is probed then.
pub const KEEPALIVE_EVERY: Duration = Duration::from_secs(15);

/// Requests a minute with one API key, unless `RATE_LIMIT_API_PER_MIN` says otherwise.
pub const DEFAULT_REQUESTS_PER_KEY: NonZeroU32 = NonZeroU32::new(1_000).expect("is not zero");

/// Requests a minute to the conversation webhook from one address, unless `RATE_LIMIT_WEBHOOK_PER_MIN` says otherwise.
pub const DEFAULT_WEBHOOKS_PER_ADDRESS: NonZeroU32 = NonZeroU32::new(100).expect("is not zero");

/// Voice sessions a minute that one participant may open, unless `RATE_LIMIT_SESSIONS_PER_MIN` says otherwise: each is a
/// request to the vendor.
pub const DEFAULT_SESSIONS_PER_PARTICIPANT: NonZeroU32 = NonZeroU32::new(30).expect("is not zero");

/// Logins a minute from one address, unless `RATE_LIMIT_LOGIN_PER_MIN` says otherwise: a clinic shares one.
pub const DEFAULT_LOGINS_PER_ADDRESS: NonZeroU32 = NonZeroU32::new(300).expect("is not zero");

/// Logins a minute for one id, unless `RATE_LIMIT_LOGIN_PER_ID_PER_MIN` says otherwise: an access code must not be found
/// by trying.
pub const DEFAULT_LOGINS_PER_ID: NonZeroU32 = NonZeroU32::new(20).expect("is not zero");

/// How long a stop waits for requests under way before it cuts them off.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

const _: () = assert!(MAX_MESSAGES_PER_REQUEST <= MAX_BATCH_EVENTS, "a request's messages fit one batch");
const _: () =
    assert!(DEFAULT_CONTENT_BYTES + 4 * MAX_ID_BYTES + ENVELOPE_BYTES < MAX_EVENT_BYTES, "an event fits");
const _: () =
    assert!(TICKET_TTL.as_secs() * 2 < CLAIM_TTL.as_secs(), "no used ticket is forgotten too early");
const _: () = assert!(OBJECT_CHUNK_BYTES + ENVELOPE_BYTES < MAX_EVENT_BYTES, "a chunk fits a message");
const _: () = assert!(DEFAULT_WEBHOOK_BYTES < MAX_OBJECT_BYTES, "any webhook fits an object");
const _: () = assert!(DEFAULT_MEDIA_BYTES < MAX_OBJECT_BYTES, "any upload fits an object");
const _: () = assert!(MAX_EVENT_BYTES <= MAX_BATCH_BYTES, "every event fits a batch");
const _: () = assert!(MAX_QUEUED_COMMANDS >= MAX_BATCH_EVENTS, "a full batch can queue");
const _: () =
    assert!(ACK_TIMEOUT.as_millis() * 2 < WRITE_DEADLINE.as_millis(), "a lost ack leaves time to look");
const _: () =
    assert!(KEEPALIVE_EVERY.as_secs() < PEER_TIMEOUT.as_secs(), "a probe is answered before we give up");
