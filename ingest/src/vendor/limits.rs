//! Limits of what is asked of the vendor and taken from it: name, unit and reason, in one place.

use std::num::NonZeroU32;
use std::time::Duration;

/// Most conversations that the vendor puts on one page.
pub const MAX_PAGE_SIZE: u16 = 100;

/// Bytes of one page of the list: 100 summaries of a few kilobytes, tenfold.
pub const MAX_PAGE_BYTES: usize = 8 * 1024 * 1024;

/// Bytes of one conversation: a turn with its tools and metrics is some 2 kB, so this holds 30,000 turns.
pub const MAX_CONVERSATION_BYTES: usize = 64 * 1024 * 1024;

/// Bytes of one recording: more than two hours of MP3 at 64 kbit/s.
pub const MAX_AUDIO_BYTES: u64 = 64 * 1024 * 1024;

/// Bytes of an error's body that are read for its message.
pub const MAX_ERROR_BYTES: usize = 64 * 1024;

/// Characters of the vendor's message that are kept.
pub const MAX_MESSAGE_CHARS: usize = 200;

/// How long a conversation or a recording may take in all: a vendor that drips must not hold a place for ever.
pub const DOWNLOAD_DEADLINE: Duration = Duration::from_secs(15 * 60);

/// Requests a second, evenly spaced: the key is shared with the agents that talk just now, and they come first.
pub const REQUESTS_PER_SECOND: NonZeroU32 = NonZeroU32::new(5).expect("five is not zero");

/// How long what is known of the vendor's health is good: the health page must not become the vendor's load.
pub const HEALTH_TTL: Duration = Duration::from_secs(30);

/// How long the health page waits for a fresh answer before it shows the last one: less than it waits itself.
pub const HEALTH_WAIT: Duration = Duration::from_millis(800);

/// Longest pause that the vendor is believed when it asks for one.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// Connections kept open to the vendor between requests: people who begin to talk at about the same time do not each
/// wait for a handshake.
pub const IDLE_CONNECTIONS: usize = 16;

/// Bytes of an answer with a signed URL: the URL is some 200, twentyfold and more.
pub const MAX_SIGNED_URL_BYTES: usize = 16 * 1024;

/// People who wait for a signed URL at once, each with a socket and its buffers: a vendor that answers within a second
/// serves as many a second. More only wait for one that hangs, and would wait in vain.
pub const MAX_WAITING: usize = 256;

/// When to come again for who finds all these places taken: by then many of those who wait have their time-out.
pub const FULL_RETRY_AFTER: Duration = Duration::from_secs(3);

/// Requests in a row that find the vendor away before it is left alone: one or two may be its deployment.
pub const FAILURES_TO_OPEN: u32 = 5;

/// How long the vendor is left alone at first, doubled each time that one request finds it still away.
pub const FIRST_BREAK: Duration = Duration::from_secs(2);

/// Longest time for which the vendor is left alone: how much longer an outage may last for people than for the vendor.
pub const LONGEST_BREAK: Duration = Duration::from_secs(60);

/// When to come again for who comes while one request finds out whether the vendor is back.
pub const TRIAL_WAIT: Duration = Duration::from_secs(2);

const _: () = assert!(FIRST_BREAK.as_secs() <= LONGEST_BREAK.as_secs(), "a pause grows");
const _: () = assert!(MAX_ERROR_BYTES <= MAX_PAGE_BYTES, "an error is smaller than an answer");
