//! Rows to files, each in one format: while rows are made, others are encoded, and others written and hashed.

mod file;
mod parquet;
mod stage;
mod text;

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

use self::file::{GrowingFile, create};
use self::parquet::{Group, encoder};
use self::stage::Stage;
use self::text::Lines;
use crate::arguments::Format;
use crate::cell::{Row, Table};
use crate::error::{ExportError, Result};

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

/// Writes rows of one table to one file.
pub(crate) struct Writer {
    form: Form,
    rows: u64,
}

/// What gathers, and who takes it from there.
enum Form {
    Text(Lines, GrowingFile),
    Parquet(Group, Stage<Group>),
}

impl Writer {
    /// Begins a file that is not there yet.
    pub(crate) fn begin(table: &'static Table, format: Format, path: &Path) -> Result<Self> {
        let file = GrowingFile::create(path)?;
        let form = match format {
            Format::Jsonl => Form::Text(Lines::json(table), file),
            Format::Csv => Form::Text(Lines::csv(table)?, file),
            Format::Parquet => Form::Parquet(Group::of(table), encoder(table, file)?),
        };
        Ok(Self { form, rows: 0 })
    }

    /// Rows so far.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Takes a row of its table. After an error it takes none.
    pub(crate) fn write<R: Row>(&mut self, row: &R) -> Result<()> {
        self.rows += 1;
        match &mut self.form {
            Form::Text(lines, file) => lines.take(row)?.map_or(Ok(()), |block| file.append(block)),
            Form::Parquet(group, encoder) => group.take(row).map_or(Ok(()), |full| encoder.send(full)),
        }
    }

    /// Writes what is left, and waits until all of it is on the disk.
    pub(crate) fn finish(self) -> Result<Written> {
        let written = match self.form {
            Form::Text(mut lines, mut file) => {
                file.append(lines.rest()?)?;
                file.finish()?
            }
            Form::Parquet(mut group, mut encoder) => {
                encoder.send(group.rest())?;
                encoder.end()?
            }
        };
        Ok(Written { rows: self.rows, ..written })
    }
}

/// Writes a small file at once.
pub(crate) fn write_whole(path: &Path, content: &[u8]) -> Result<Written> {
    let mut file = create(path)?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(ExportError::file(path))?;
    let mut hasher = Hasher::default();
    hasher.write_all(content).map_err(ExportError::file(path))?;
    Ok(hasher.written())
}

/// SHA-256 and size of a file.
pub(crate) fn digest(path: &Path) -> Result<Written> {
    let mut hasher = Hasher::default();
    let mut file = File::open(path).map_err(ExportError::file(path))?;
    io::copy(&mut file, &mut hasher).map_err(ExportError::file(path))?;
    Ok(hasher.written())
}

/// What went into a file.
#[derive(Default)]
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
