//! What a data set under Safe Harbor was made with, where somebody asked to keep it: a file for them alone, elsewhere.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::arguments::Arguments;
use crate::deid::ExportKey;
use crate::error::{ExportError, Result};

/// Everything that the data set itself does not tell. With it and an id one has the id's surrogate.
#[derive(Serialize, Deserialize)]
pub(crate) struct Mapping {
    /// What surrogates are made with.
    pub(crate) key: String,
    /// From which log.
    pub(crate) epoch: String,
    /// With which arguments.
    pub(crate) arguments: Arguments,
}

/// A file that goes again, unless it is to stay.
pub(crate) struct Kept(Option<PathBuf>);

impl Kept {
    /// The data set is there.
    pub(crate) fn stays(mut self) {
        self.0 = None;
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // Nothing is lost with it: no data set was made.
            let _removed = fs::remove_file(path);
        }
    }
}

impl Mapping {
    /// Writes it before the data set, so that there is never one whose mapping could not be kept.
    pub(crate) fn keep(&self, path: &Path, out: &Path) -> Result<Kept> {
        let absolute = |path: &Path| std::path::absolute(path).map_err(ExportError::file(path));
        let parent = absolute(path)?.parent().map(Path::to_owned).unwrap_or_default();
        let within = |parent: &Path, out: &Path| parent.starts_with(out);
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let out = absolute(out)?;
        if within(&parent, &out) || within(&real(&parent), &real(&out)) {
            return Err(ExportError::arguments(
                "--keep-mapping names a file in the data set's own folder: whoever gets the one would get the other",
            ));
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let mut file = file.map_err(ExportError::file(path))?;
        let kept = Kept(Some(path.to_owned()));
        let text = serde_json::to_string_pretty(self).map_err(ExportError::encode)?;
        let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
        written.map_err(ExportError::file(path))?;
        Ok(kept)
    }

    /// From a file.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(ExportError::file(path))?;
        // An error would repeat what stands there.
        serde_json::from_str(&text)
            .map_err(|_| ExportError::arguments(format!("{} is no mapping of turnlog's", path.display())))
    }

    /// What surrogates are made with.
    pub(crate) fn key(&self) -> Result<ExportKey> {
        ExportKey::parse(&self.key)
    }
}
