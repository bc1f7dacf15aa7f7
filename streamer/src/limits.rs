//! Every limit of the read edge: its name, unit and reason.

use std::time::Duration;

/// Entries that the tail takes at once: what an atomic batch of the write edge can hold.
pub(crate) const TAIL_BATCH: usize = 1_000;

/// Messages in one frame; a longer burst is several frames.
pub(crate) const FRAME_MESSAGES: usize = 500;

/// Bytes of content in one frame, unless one message alone is larger: a client parses it in one go.
pub(crate) const FRAME_BYTES: usize = 256 * 1024;

/// Frames that may wait for one slow reader: a minute of a lively conversation.
pub(crate) const QUEUE_FRAMES: usize = 1_024;

/// Bytes that may wait for one slow reader, besides one frame. Frames are shared between the readers of one
/// conversation, so this is paid once for all that are slow at the same place.
pub(crate) const QUEUE_BYTES: usize = 1024 * 1024;

/// Parts that the hub is locked in, so that feeds that come and go do not wait for each other. A power of
/// two.
pub(crate) const SHARDS: usize = 64;

/// Connections to Postgres. Open feeds hold none; a join needs one for a few milliseconds.
pub(crate) const POOL: u32 = 16;

/// How long a read waits for a connection before it is answered 503.
pub(crate) const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long one statement may run: the longest conversations are read in less than a second.
pub(crate) const STATEMENT_TIMEOUT: &str = "10s";

/// Conversations on a page of a list, where the caller does not say.
pub(crate) const PAGE_SIZE: u8 = 20;

/// Conversations on a page of a list at most: what the seed promises.
pub(crate) const MAX_PAGE_SIZE: u8 = 100;

/// How often the tables' checkpoint is asked while somebody waits for it: well below what a person notices.
pub(crate) const CHECKPOINT_POLL: Duration = Duration::from_millis(5);

/// How long the checkpoint is left alone after the database failed to say it.
pub(crate) const CHECKPOINT_PAUSE: Duration = Duration::from_millis(100);

/// What a client waits before it reconnects, in milliseconds.
pub(crate) const RETRY_MILLISECONDS: u32 = 2_000;

const _: () = assert!(SHARDS.is_power_of_two(), "a shard is picked by masking");
const _: () = assert!(FRAME_BYTES <= QUEUE_BYTES, "an ordinary frame fits a queue");
const _: () = assert!(FRAME_MESSAGES <= TAIL_BATCH, "a frame comes of one batch");
const _: () =
    assert!(CHECKPOINT_POLL.as_millis() * 10 < shared::limits::READ_WAIT.as_millis(), "waiting means asking");
const _: () = assert!(PAGE_SIZE <= MAX_PAGE_SIZE, "what is given unasked may be asked for");
