//! Rows to files: each in one format, written and hashed by a thread of its own while the next rows are made.

mod behind;
mod parquet;
mod text;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use sha2::{Digest, Sha256};

use self::behind::Behind;
use self::parquet::{Group, GroupFile};
use self::text::Lines;
use crate::arguments::Format;
use crate::cell::{Row, Table};
use crate::error::{ExportError, Result};
use crate::limits::{BLOCKS_AHEAD, GROUPS_AHEAD};

pub(crate) use self::text::instant_text;

/// A file that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Written {
    /// Its rows; 0 where it is no table.
    pub(crate) rows: u64,
    /// Its size.
    pub(crate) bytes: u64,
    /// Of its content, hexadecimal.
    pub(crate) sha256: String,
}

/// What goes to the thread at once.
enum Block {
    Text(Vec<u8>),
    Group(Group),
}

/// What gathers before it goes.
enum Sheet {
    Lines(Lines),
    Group(Group),
}

/// Writes rows of one table to one file.
pub(crate) struct Writer {
    sheet: Sheet,
    rows: u64,
    /// None once the thread is to end.
    sender: Option<SyncSender<Block>>,
    thread: Option<JoinHandle<Result<Written>>>,
}

impl Writer {
    /// Begins a file that is not there yet.
    pub(crate) fn begin(table: &'static Table, format: Format, path: &Path) -> Result<Self> {
        let file = HashedFile::create(path)?;
        let ahead = if format == Format::Parquet { GROUPS_AHEAD } else { BLOCKS_AHEAD };
        let (sender, blocks) = sync_channel(ahead);
        let (sheet, thread) = match format {
            Format::Jsonl | Format::Csv => {
                let write = move || {
                    let mut file = file;
                    for block in blocks {
                        if let Block::Text(text) = block {
                            file.write_all(&text).map_err(file.failed())?;
                        }
                    }
                    file.finish()
                };
                let lines = if format == Format::Csv { Lines::csv(table)? } else { Lines::json(table) };
                (Sheet::Lines(lines), std::thread::spawn(write))
            }
            Format::Parquet => {
                let mut file = GroupFile::begin(table, file)?;
                let write = move || {
                    for block in blocks {
                        if let Block::Group(group) = block {
                            file.write(group)?;
                        }
                    }
                    file.finish()
                };
                (Sheet::Group(Group::of(table)), std::thread::spawn(write))
            }
        };
        Ok(Self { sheet, rows: 0, sender: Some(sender), thread: Some(thread) })
    }

    /// Rows so far.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Takes a row of its table.
    pub(crate) fn write<R: Row>(&mut self, row: &R) -> Result<()> {
        self.rows += 1;
        let full = match &mut self.sheet {
            Sheet::Lines(lines) => lines.take(row)?.map(Block::Text),
            Sheet::Group(group) => group.take(row).map(Block::Group),
        };
        if full.is_none_or(|block| self.send(block)) {
            return Ok(());
        }
        self.end().and_then(|_| Err(ExportError::encode("the writer ended")))
    }

    /// Writes what is left, and waits until all of it is on the disk.
    pub(crate) fn finish(mut self) -> Result<Written> {
        let rest = match &mut self.sheet {
            Sheet::Lines(lines) => Block::Text(lines.rest()?),
            Sheet::Group(group) => Block::Group(group.rest()),
        };
        // If nobody takes it, the thread has ended, and says why.
        self.send(rest);
        let written = self.end()?;
        Ok(Written { rows: self.rows, ..written })
    }

    /// Whether the thread took it.
    fn send(&self, block: Block) -> bool {
        self.sender.as_ref().is_some_and(|sender| sender.send(block).is_ok())
    }

    /// How the thread ended.
    fn end(&mut self) -> Result<Written> {
        self.sender = None;
        let ended = self.thread.take().and_then(|thread| thread.join().ok());
        ended.unwrap_or_else(|| Err(ExportError::encode("the writer ended")))
    }
}

/// Writes a small file at once.
pub(crate) fn write_whole(path: &Path, content: &[u8]) -> Result<Written> {
    let mut file = HashedFile::create(path)?;
    file.write_all(content).map_err(file.failed())?;
    file.finish()
}

/// SHA-256 and size of a file.
pub(crate) fn digest(path: &Path) -> Result<Written> {
    let mut hasher = Hasher { hash: Sha256::new(), bytes: 0 };
    let mut file = File::open(path).map_err(ExportError::file(path))?;
    io::copy(&mut file, &mut hasher).map_err(ExportError::file(path))?;
    Ok(hasher.written())
}

struct Hasher {
    hash: Sha256,
    bytes: u64,
}

impl Hasher {
    fn written(self) -> Written {
        let sha256 = self.hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Written { rows: 0, bytes: self.bytes, sha256 }
    }
}

impl Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file, and the hash of what went into it.
struct HashedFile {
    path: PathBuf,
    file: File,
    hasher: Hasher,
    behind: Behind,
}

impl HashedFile {
    fn create(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).open(path);
        let file = file.map_err(ExportError::file(path))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            hasher: Hasher { hash: Sha256::new(), bytes: 0 },
            behind: Behind::default(),
        })
    }

    /// Says which file failed.
    fn failed(&self) -> impl FnOnce(io::Error) -> ExportError + use<> {
        ExportError::file(self.path.clone())
    }

    fn finish(self) -> Result<Written> {
        self.behind.end().and_then(|()| self.file.sync_all()).map_err(ExportError::file(&self.path))?;
        Ok(self.hasher.written())
    }
}

impl Write for HashedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.behind.wrote(&self.file, written)?;
        self.hasher.write(&bytes[..written])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
