//! Every limit: its name, unit and reason, in one place.

use std::num::NonZeroU32;
use std::time::Duration;

use chrono::TimeDelta;

/// Batches of entries that wait for the decoder: one is decoded, the next is there.
pub(crate) const READ_AHEAD: usize = 2;

/// Bytes of records that one sorter holds in memory; what is more goes to a temporary file as a sorted run.
pub(crate) const SORT_BYTES: usize = 16 * 1024 * 1024;

/// Runs that are merged at once: each holds a file open and a buffer.
pub(crate) const SORT_RUNS: usize = 64;

/// Bytes of a buffer before a temporary file.
pub(crate) const SPILL_BUFFER: usize = 64 * 1024;

/// Bytes of conversations that are folded in memory; then what is known of them goes to the sorter, and folding begins
/// anew. A conversation takes some 400.
pub(crate) const FOLD_BYTES: usize = 48 * 1024 * 1024;

/// Bytes that go to a file at once.
pub(crate) const BLOCK_BYTES: usize = 256 * 1024;

/// Bytes of a file that are written back to the disk at once, while it grows.
pub(crate) const WRITE_BACK_BYTES: usize = 32 * 1024 * 1024;

/// Blocks that wait for the thread that writes them: what comes while it waits for the disk.
pub(crate) const BLOCKS_AHEAD: usize = 8;

/// Row groups that wait for the thread that encodes them: none, as they are large. One gathers while one is encoded.
pub(crate) const GROUPS_AHEAD: usize = 0;

/// Rows of a Parquet row group: large enough to compress well, small enough to be read in part.
pub(crate) const GROUP_ROWS: usize = 65_536;

/// Bytes of cells in a Parquet row group, so that one of large messages stays small in memory.
pub(crate) const GROUP_BYTES: usize = 16 * 1024 * 1024;

/// Level of compression, fixed: another one gives other bytes. Higher ones cost several times as long for a few percent.
pub(crate) const ZSTD_LEVEL: i32 = 1;

/// Rows between two looks at whether a stop was asked for.
pub(crate) const ROWS_A_LOOK: u64 = 4_096;

/// Bytes of a body that asks for a data set; its job's record holds it, and is written again as it goes on.
pub(crate) const BODY_BYTES: usize = 64 * 1024;

/// Participants, or conversations, that a body may name.
pub(crate) const NAMED: usize = 1_000;

/// Bytes of an `Idempotency-Key`.
pub(crate) const KEY_BYTES: usize = 256;

/// Data sets that one researcher may have to download.
pub(crate) const KEPT_JOBS: usize = 50;

/// Jobs of one researcher that came to nothing, or have expired, which are shown: the newest.
pub(crate) const SHOWN_JOBS: usize = 50;

/// When whoever has too many jobs under way may ask again: some are made within that.
pub(crate) const BUSY_RETRY: Duration = Duration::from_secs(10);

/// The longest that a caller is asked to wait for room.
pub(crate) const LONGEST_RETRY: Duration = Duration::from_secs(3600);

/// How long a job that has ended is shown, once nothing can be downloaded any more.
pub(crate) const SHOWN_AFTER: TimeDelta = TimeDelta::days(7);

/// How often it is stored how far a job is: what people watch, at the price of one fsync.
pub(crate) const TELL_EVERY: Duration = Duration::from_millis(500);

/// How often jobs are looked through for what time does to them, and for instances that died.
pub(crate) const SWEEP_EVERY: Duration = Duration::from_secs(2);

/// How often the log may fail while a job runs before it is given up; a restart of its server is one or two.
pub(crate) const MOST_FAILURES: u32 = 10;

/// How long a job waits after the log failed.
pub(crate) const FAILURE_PAUSE: Duration = Duration::from_secs(1);

/// Parts of a data set that are stored at once: one is on its way to the disk while the next is sent.
pub(crate) const PARTS_AT_ONCE: usize = 4;

/// Parts that one download reads ahead: a reader's memory is this many half mebibytes, however slow it is.
pub(crate) const PARTS_AHEAD: usize = 2;

/// Downloads at once: each holds up to three parts.
pub(crate) const DOWNLOADS: usize = 64;

/// How long a further one waits before it is answered 503.
pub(crate) const DOWNLOAD_PATIENCE: Duration = Duration::from_secs(5);

/// Feeds of jobs that are open at once.
pub(crate) const FEEDS: usize = 512;

/// Data sets that one process makes at once, unless `EXPORT_JOBS_AT_ONCE` says otherwise: each takes a core and up to
/// 300 MB.
pub(crate) const DEFAULT_AT_ONCE: NonZeroU32 = NonZeroU32::new(1).expect("is not zero");

/// Jobs under way of one researcher, unless `EXPORT_JOBS_PER_RESEARCHER` says otherwise.
pub(crate) const DEFAULT_PER_RESEARCHER: NonZeroU32 = NonZeroU32::new(2).expect("is not zero");

/// Hours that a data set can be downloaded, unless `EXPORT_EXPIRES_HOURS` says otherwise: over a weekend.
pub(crate) const DEFAULT_EXPIRES_HOURS: NonZeroU32 = NonZeroU32::new(72).expect("is not zero");

/// Bytes of all data sets that are kept, unless `EXPORTS_MAX_BYTES` says otherwise.
pub(crate) const DEFAULT_MAX_BYTES: u64 = 10 * 1024 * 1024 * 1024;

/// Seconds between heartbeats, unless `HEARTBEAT_SECONDS` says otherwise: as feeds of conversations have it.
pub(crate) const DEFAULT_HEARTBEAT: Duration = Duration::from_secs(30);
