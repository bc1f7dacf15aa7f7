//! Every limit: its name, unit and reason, in one place.

/// Entries that the reader takes from the log at once.
pub(crate) const READ_ENTRIES: usize = 2_000;

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

/// Bytes of text that go to a file at once.
pub(crate) const BLOCK_BYTES: usize = 256 * 1024;

/// Blocks of text that wait for the thread that writes them.
pub(crate) const BLOCKS_AHEAD: usize = 1;

/// Row groups that wait for it: none, as they are large. One gathers while one is encoded.
pub(crate) const GROUPS_AHEAD: usize = 0;

/// Rows of a Parquet row group: large enough to compress well, small enough to be read in part.
pub(crate) const GROUP_ROWS: usize = 65_536;

/// Bytes of cells in a Parquet row group, so that one of large messages stays small in memory.
pub(crate) const GROUP_BYTES: usize = 16 * 1024 * 1024;

/// Level of compression, fixed: another one gives other bytes. Higher ones cost several times as long for a few percent.
pub(crate) const ZSTD_LEVEL: i32 = 1;

/// Rows between two looks at whether a stop was asked for.
pub(crate) const ROWS_A_LOOK: u64 = 4_096;
