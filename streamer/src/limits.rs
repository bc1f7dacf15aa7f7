//! Every limit of the read edge: its name, unit and reason.

use std::num::NonZeroU32;
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

/// Conversations that the feed of calls begins with at most, newest first: about 200 KiB.
pub(crate) const INITIAL_CALLS: usize = 500;

/// Calls that are read again at once for those who list them, and that may wait for it. Past it their feeds are closed and
/// begin anew, which costs less.
pub(crate) const CHANGED_CALLS: usize = 10_000;

/// How long changed calls wait after the database failed to say how they stand.
pub(crate) const CHANGED_PAUSE: Duration = Duration::from_millis(200);

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

/// Days that are counted, where the caller does not say.
pub(crate) const COUNTED_DAYS: u64 = 30;

/// Days that are counted at most: a year, and its first day once more.
pub(crate) const MAX_COUNTED_DAYS: i64 = 366;

/// Characters of a search: a long sentence.
pub(crate) const MAX_QUERY_CHARS: usize = 500;

/// Words of a search, or characters where there are no spaces: each is looked up in the index.
pub(crate) const MAX_QUERY_WORDS: usize = 64;

/// Letters before a `*`: of one letter hardly any message has none.
pub(crate) const MIN_PREFIX_CHARS: usize = 2;

/// Newest matches that are ranked among each other. Ranking all messages that a frequent word is in takes seconds.
pub(crate) const SEARCH_CANDIDATES: usize = 500;

/// Matches that are read at once, so that pages of long messages take little memory.
pub(crate) const SEARCH_GROUP: usize = 20;

/// Characters of a snippet: two lines.
pub(crate) const SNIPPET_CHARS: usize = 200;

/// Characters before the first place that a snippet shows.
pub(crate) const SNIPPET_BEFORE: usize = 60;

/// How often the tables' checkpoint is asked while somebody waits for it: well below what a person notices.
pub(crate) const CHECKPOINT_POLL: Duration = Duration::from_millis(5);

/// How long the checkpoint is left alone after the database failed to say it.
pub(crate) const CHECKPOINT_PAUSE: Duration = Duration::from_millis(100);

/// Sounds and attachments that are read at once: each takes about two chunks of an object, 1 MiB, however slow its reader
/// is.
pub(crate) const MEDIA_AT_ONCE: usize = 128;

/// How long a further one waits before it is answered 503.
pub(crate) const MEDIA_PATIENCE: Duration = Duration::from_secs(5);

/// Conversations whose past is read at once: each of them is in memory, and its log is read page by page.
pub(crate) const PAST_AT_ONCE: usize = 32;

/// How long a further one waits before it is answered 503.
pub(crate) const PAST_PATIENCE: Duration = Duration::from_secs(5);

/// How long it may take to read one: about a million messages.
pub(crate) const PAST_TIME: Duration = Duration::from_secs(10);

/// Replays that run at once in one process: each has a page of the log in memory.
pub(crate) const REPLAYS_AT_ONCE: usize = 128;

/// Frames that a replay may be ahead of its reader: one on its way, one ready.
pub(crate) const REPLAY_AHEAD: usize = 2;

/// The longest pause of a replay, whatever its speed: a client that was cut off in it waits for it again.
pub(crate) const MAX_SILENCE: Duration = Duration::from_secs(20 * 60);

/// What a client waits before it reconnects, in milliseconds.
pub(crate) const RETRY_MILLISECONDS: u32 = 2_000;

/// How long a feed is open unless `FEED_MAX_AGE_SECONDS` says otherwise: load spreads anew over instances.
pub(crate) const DEFAULT_FEED_AGE: Duration = Duration::from_secs(3600);

/// The part of a feed's age that differs between feeds, so that those that began together do not all come back at once.
pub(crate) const LEASE_JITTER: f64 = 0.1;

/// How long before its token expires a client is told: enough for a person to log in again.
pub(crate) const EXPIRY_NOTICE: Duration = Duration::from_secs(60);

/// Feeds with one token unless `FEEDS_PER_TOKEN` says otherwise: a wall of screens, not a leak.
pub(crate) const DEFAULT_PER_TOKEN: NonZeroU32 = NonZeroU32::new(64).expect("is not zero");

/// Feeds of one company's admins unless `FEEDS_PER_COMPANY` says otherwise.
pub(crate) const DEFAULT_PER_COMPANY: NonZeroU32 = NonZeroU32::new(10_000).expect("is not zero");

/// Feeds with one API key unless `FEEDS_PER_KEY` says otherwise: a service watches for many.
pub(crate) const DEFAULT_PER_KEY: NonZeroU32 = NonZeroU32::new(50_000).expect("is not zero");

/// When whoever has too many feeds may try again: about as long as it takes to notice that some are gone.
pub(crate) const CAP_RETRY: Duration = Duration::from_secs(10);

/// How often the clock of each feed is looked at: revocation and expiry are to show within a second.
pub(crate) const SWEEP_ROUND: Duration = Duration::from_millis(500);

/// Parts of a round, so that feeds which are due together are not all served at once.
pub(crate) const SWEEP_STEPS: usize = 16;

/// Readers woken by one thread before others help: about half a millisecond of writing.
pub(crate) const WAKES_TOGETHER: usize = 128;

/// Part of a heartbeat's interval for which a peer may leave what was sent unacknowledged.
pub(crate) const PEER_PATIENCE: f64 = 0.8;

/// Bytes read at once from a peer that should say nothing.
pub(crate) const HEARD_AT_ONCE: usize = 256;

/// Bytes that a peer may say on a connection where nothing is heard any more: a few requests sent ahead.
pub(crate) const MOST_HEARD: usize = 64 * 1024;

/// Steps in which all feeds are ended at a stop.
pub(crate) const DRAIN_STEPS: usize = 100;

/// Time between them.
pub(crate) const DRAIN_PAUSE: Duration = Duration::from_millis(50);

/// Feeds that end in one of them at least: a few are ended without ado.
pub(crate) const DRAIN_AT_ONCE: usize = 50;

/// How often a streamer says again who watches through it.
pub(crate) const PRESENCE_REPEAT: Duration = Duration::from_secs(15);

/// What another streamer said is forgotten after this: it missed two repeats.
pub(crate) const PRESENCE_FORGOTTEN: Duration = Duration::from_secs(40);

/// Words of who comes and goes that may wait for the broker; what does not fit is repeated.
pub(crate) const PRESENCE_QUEUE: usize = 4_096;

/// Bytes of what a watcher may say at once over a WebSocket: many times what there is to say.
pub(crate) const MAX_SAID_BYTES: usize = 4_096;

/// Bytes of one message of a WebSocket that are read at all, to close with a word rather than by a reset.
pub(crate) const MAX_MESSAGE_BYTES: usize = 64 * 1024;

/// Bytes of a WebSocket's buffer for reading, which it always holds.
pub(crate) const SOCKET_BUFFER_BYTES: usize = 1_024;

/// Things said over one WebSocket that are done at the same time.
pub(crate) const SAID_AT_ONCE: usize = 16;

/// Time between things said over one WebSocket, in the long run: a person scrolls and types less.
pub(crate) const SAID_EVERY: Duration = Duration::from_millis(200);

/// How far ahead of that a burst may run: 25 at once.
pub(crate) const SAID_AHEAD: Duration = Duration::from_secs(5);

/// How long the peer of a WebSocket that we close may take to close it, too.
pub(crate) const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// Pages of a PDF at most, by an estimate: the largest take about ten seconds and 300 MB to set.
pub(crate) const PDF_PAGES: usize = 300;

/// PDFs that are set at the same time: what the largest of them take together is memory that must be there.
pub(crate) const PDFS_AT_ONCE: usize = 2;

/// How long a PDF waits for its turn before it is answered 503: as long as the largest take.
pub(crate) const PDF_WAIT: Duration = Duration::from_secs(10);

/// Letters of a word that are set on one line, whatever their width; in longer ones a line may end.
pub(crate) const UNBROKEN: usize = 30;

/// Letters of a conversation's id in the name of its file: file systems take 255 bytes.
pub(crate) const FILE_NAME: usize = 120;

const _: () = assert!(SHARDS.is_multiple_of(SWEEP_STEPS), "every step has as many shards");
const _: () = assert!(MAX_SAID_BYTES < MAX_MESSAGE_BYTES, "one that says too much is told so");
const _: () =
    assert!(PRESENCE_REPEAT.as_millis() * 2 < PRESENCE_FORGOTTEN.as_millis(), "one repeat may be lost");
const _: () = assert!(SWEEP_ROUND.as_millis() < 1_000, "a token that expired is seen within a second");
const _: () = assert!(
    DRAIN_STEPS as u128 * DRAIN_PAUSE.as_millis() * 2 <= shared::limits::DRAIN_TIMEOUT.as_millis(),
    "feeds end well before they are cut off"
);
const _: () = assert!(
    MAX_SILENCE.as_secs() * 2 <= DEFAULT_FEED_AGE.as_secs(),
    "a replay comes further before it is old"
);
const _: () = assert!(SHARDS.is_power_of_two(), "a shard is picked by masking");
const _: () = assert!(FRAME_BYTES <= QUEUE_BYTES, "an ordinary frame fits a queue");
const _: () = assert!(FRAME_MESSAGES <= TAIL_BATCH, "a frame comes of one batch");
const _: () =
    assert!(CHECKPOINT_POLL.as_millis() * 10 < shared::limits::READ_WAIT.as_millis(), "waiting means asking");
const _: () = assert!(SNIPPET_BEFORE < SNIPPET_CHARS, "a snippet shows what was found");
const _: () = assert!(PAGE_SIZE <= MAX_PAGE_SIZE, "what is given unasked may be asked for");
