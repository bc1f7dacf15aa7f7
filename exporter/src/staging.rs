//! The folder of a data set: nothing in it looks complete before all of it is.
//!
//! Files are written in a hidden folder within, then moved up, and the manifest last. What a killed export leaves is the
//! hidden folder, by which the next one knows what to clear away.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::error::{ExportError, Result};
use crate::tables::TABLES;

/// The manifest, without which a folder is no data set.
pub const MANIFEST: &str = "datapackage.json";
/// What the data set is for machine learning's tools.
pub(crate) const CROISSANT: &str = "croissant.json";
/// What its columns mean.
pub(crate) const CODEBOOK: &str = "CODEBOOK.md";
/// What was done so that it does not tell whom it is of: for people, and for programs.
pub(crate) const DEIDENTIFICATION: [&str; 2] = ["DEIDENTIFICATION.md", "deidentification.json"];
/// The hidden folder.
const HIDDEN: &str = ".partial";
/// Held by who writes.
const LOCK: &str = "lock";

/// A data set that is written. Dropped before its end, it leaves nothing.
#[derive(Debug)]
pub(crate) struct Staging {
    out: PathBuf,
    hidden: PathBuf,
    /// Whether the folder was not there before.
    made: bool,
    placed: Vec<String>,
    complete: bool,
    _lock: File,
}

impl Staging {
    /// In this folder, which is made, or is empty but for what a killed export left.
    pub(crate) fn begin(out: &Path) -> Result<Self> {
        let made = !out.exists();
        let hidden = out.join(HIDDEN);
        // What people said is for its owner, until they say otherwise.
        let builder = || {
            let mut builder = DirBuilder::new();
            builder.recursive(true).mode(0o700);
            builder
        };
        let other = |name: &str| name != HIDDEN && name != "lost+found";
        // Nothing is made in a folder of somebody else's.
        if !made && !hidden.exists() {
            refuse_full(out, &names(out)?.into_iter().filter(|name| other(name)).collect::<Vec<_>>())?;
        }
        builder().create(&hidden).map_err(ExportError::file(&hidden))?;
        let lock = lock(out, &hidden.join(LOCK))?;
        let staging =
            Self { out: out.to_owned(), hidden, made, placed: Vec::new(), complete: false, _lock: lock };
        staging.clear(other)?;
        Ok(staging)
    }

    /// Clears away what a killed export left.
    fn clear(&self, other: impl Fn(&str) -> bool) -> Result<()> {
        let all = names(&self.out)?;
        if all.iter().any(|name| name == MANIFEST) {
            return refuse_full(&self.out, &all);
        }
        let (left, strange): (Vec<_>, Vec<_>) =
            all.into_iter().filter(|name| other(name)).partition(|name| is_ours(name));
        refuse_full(&self.out, &strange)?;
        for path in left.iter().map(|name| self.out.join(name)) {
            fs::remove_file(&path).map_err(ExportError::file(&path))?;
        }
        for path in
            names(&self.hidden)?.iter().filter(|name| *name != LOCK).map(|name| self.hidden.join(name))
        {
            fs::remove_file(&path).map_err(ExportError::file(&path))?;
        }
        Ok(())
    }

    /// Where files are written.
    pub(crate) fn folder(&self) -> &Path {
        &self.hidden
    }

    /// Moves the files up, and the manifest, which has been written beside them, last.
    pub(crate) fn complete(mut self, files: &[String]) -> Result<()> {
        for file in files {
            self.place(file)?;
        }
        // The names are on the disk before the manifest's is.
        sync(&self.out)?;
        self.place(MANIFEST)?;
        sync(&self.out)?;
        self.complete = true;
        Ok(())
    }

    fn place(&mut self, file: &str) -> Result<()> {
        let to = self.out.join(file);
        fs::rename(self.hidden.join(file), &to).map_err(ExportError::file(&to))?;
        self.placed.push(file.to_owned());
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // The manifest goes first. What cannot be removed is cleared away by the next export.
        let placed = self.placed.iter().rev().filter(|_| !self.complete);
        for path in placed.map(|file| self.out.join(file)) {
            let _left = fs::remove_file(path);
        }
        let _left = fs::remove_dir_all(&self.hidden);
        if self.made && !self.complete {
            let _left = fs::remove_dir(&self.out);
        }
    }
}

fn lock(out: &Path, path: &Path) -> Result<File> {
    let file = File::create(path).map_err(ExportError::file(path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(ExportError::arguments(format!(
            "another export is writing to {}: wait for it, or name another folder with --out",
            out.display()
        ))),
        Err(TryLockError::Error(error)) => Err(ExportError::file(path)(error)),
    }
}

fn refuse_full(out: &Path, names: &[String]) -> Result<()> {
    let what = match names {
        [] => return Ok(()),
        names if names.iter().any(|name| name == MANIFEST) => "holds a data set",
        _ => "is not empty",
    };
    Err(ExportError::arguments(format!("{} {what}: name another folder with --out", out.display())))
}

/// Whether a file has a name that an export gives.
fn is_ours(name: &str) -> bool {
    let of_table = |table: &str| {
        let rest = name.strip_prefix(table).unwrap_or_default();
        let range = rest.strip_prefix('-');
        range.is_some_and(|range| range.starts_with(|c: char| c.is_ascii_digit()))
            || [".jsonl", ".csv", ".parquet"].contains(&rest)
    };
    [CROISSANT, CODEBOOK].contains(&name)
        || DEIDENTIFICATION.contains(&name)
        || TABLES.iter().any(|table| of_table(table.name))
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).map_err(ExportError::file(folder))?;
    let names = entries.map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()));
    names.collect::<io::Result<_>>().map_err(ExportError::file(folder))
}

fn sync(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(ExportError::file(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(out: &Path) -> String {
        Staging::begin(out).unwrap_err().to_string()
    }

    #[test]
    fn a_data_set_appears_with_its_manifest_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("a/b");
        let staging = Staging::begin(&out).unwrap();
        assert!(refused(&out).starts_with("another export is writing to "));
        fs::write(staging.folder().join("events-1.csv"), "x").unwrap();
        fs::write(staging.folder().join(MANIFEST), "{}").unwrap();
        staging.complete(&["events-1.csv".to_owned()]).unwrap();
        let mut found = names(&out).unwrap();
        found.sort();
        assert_eq!(found, [MANIFEST, "events-1.csv"]);
        assert!(refused(&out).ends_with("holds a data set: name another folder with --out"));
    }

    #[test]
    fn one_that_breaks_off_leaves_nothing_and_a_killed_one_is_cleared_away() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        drop(Staging::begin(&out).unwrap());
        assert!(!out.exists());
        // As a kill leaves it between the moves.
        let killed = Staging::begin(&out).unwrap();
        fs::write(killed.folder().join("messages-1-2.csv"), "x").unwrap();
        fs::write(out.join("events-1-2.csv"), "x").unwrap();
        std::mem::forget(killed);
        // The lock goes with the process; here another file takes its place.
        fs::remove_file(out.join(HIDDEN).join(LOCK)).unwrap();
        let next = Staging::begin(&out).unwrap();
        assert_eq!(names(&out).unwrap(), [HIDDEN]);
        assert_eq!(names(next.folder()).unwrap(), [LOCK]);
    }

    #[test]
    fn a_folder_of_somebody_elses_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("thesis.tex"), "x").unwrap();
        assert!(refused(folder.path()).ends_with("is not empty: name another folder with --out"));
        assert_eq!(names(folder.path()).unwrap(), ["thesis.tex"]);
    }
}
