//! Where results are kept: one JSON and one Markdown file for each kind of run.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Report, markdown};
use crate::error::{Doing, Result};

/// The files of one kind of run.
pub struct Store {
    json: PathBuf,
    markdown: PathBuf,
}

impl Store {
    /// `bench/results/<name>.{json,md}` below `root`.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn open(root: &Path, name: &str) -> Result<Self> {
        let dir = root.join("bench/results");
        fs::create_dir_all(&dir).doing("create bench/results")?;
        Ok(Self { json: dir.join(format!("{name}.json")), markdown: dir.join(format!("{name}.md")) })
    }

    /// Replaces what `change` replaces, keeps the rest, and writes both files anew.
    ///
    /// # Errors
    /// When what is there is no report, or the files cannot be written.
    pub fn update(&self, change: impl FnOnce(&mut Report)) -> Result<()> {
        let mut report: Report = match fs::read(&self.json) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(_) => Report::default(),
        };
        change(&mut report);
        fs::write(&self.json, serde_json::to_string_pretty(&report)? + "\n")
            .doing("write the results as JSON")?;
        fs::write(&self.markdown, markdown::render(&report)).doing("write the results as Markdown")
    }
}
