//! A file that grows: written, hashed and brought to the disk by a thread of its own.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::mpsc::Receiver;

use rustix::fs::{Advice, fadvise};

use super::stage::Stage;
use super::{Hasher, Written};
use crate::error::{ExportError, Result};
use crate::limits::{BLOCK_BYTES, BLOCKS_AHEAD, WRITE_BACK_BYTES};

/// Takes bytes until it is finished.
pub(super) struct GrowingFile {
    /// What is not a block yet.
    rest: Vec<u8>,
    stage: Stage<Vec<u8>>,
}

impl GrowingFile {
    /// Begins a file that is not there yet.
    pub(super) fn create(path: &Path) -> Result<Self> {
        let (file, failed) = (create(path)?, ExportError::file(path.to_owned()));
        let stage = Stage::begin(BLOCKS_AHEAD, move |blocks| grow(file, blocks).map_err(failed));
        Ok(Self { rest: Vec::new(), stage })
    }

    /// Takes a block, as it is.
    pub(super) fn append(&mut self, block: Vec<u8>) -> Result<()> {
        self.stage.send(block)
    }

    /// Waits until all of it is on the disk.
    pub(super) fn finish(mut self) -> Result<Written> {
        self.stage.send(self.rest)?;
        self.stage.end()
    }
}

impl Write for GrowingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.rest.extend_from_slice(bytes);
        if self.rest.len() >= BLOCK_BYTES {
            let block = std::mem::replace(&mut self.rest, Vec::with_capacity(BLOCK_BYTES));
            self.append(block).map_err(io::Error::other)?;
        }
        Ok(bytes.len())
    }

    /// Nothing: whoever needs it on the disk finishes the file.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Creates a file that is not there yet.
pub(super) fn create(path: &Path) -> Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path).map_err(ExportError::file(path))
}

fn grow(mut file: File, blocks: Receiver<Vec<u8>>) -> io::Result<Written> {
    let (mut hasher, mut since) = (Hasher::default(), 0);
    for block in blocks {
        file.write_all(&block)?;
        hasher.write_all(&block)?;
        since += block.len();
        // Left to the end, a large file would wait seconds for the disk; and its pages would push those of the log and the
        // tables out of the cache, though nobody reads them again.
        if since >= WRITE_BACK_BYTES {
            since = 0;
            file.sync_data()?;
            // Advice: where it is not taken, pages stay for longer.
            let _kept = fadvise(&file, 0, None, Advice::DontNeed);
        }
    }
    file.sync_all()?;
    Ok(hasher.written())
}
