//! Where data sets are made before they are stored: a folder for each process, locked while it lives, so that the next
//! one knows which to clear away.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// What the folders' names begin with.
const PREFIX: &str = "turnlog-exports-";
/// Held by the process.
const LOCK: &str = "lock";

/// A process's folder. It is made when it is first needed, and removed with this.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
    /// None until it is first needed.
    lock: Mutex<Option<File>>,
}

impl Scratch {
    /// In this directory, which need not be there.
    pub(crate) fn new(parent: &Path, instance: &str) -> Self {
        Self { path: parent.join(format!("{PREFIX}{instance}")), lock: Mutex::default() }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it.
    pub(crate) fn claim(&self) -> io::Result<()> {
        let mut held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if held.is_some() {
            return Ok(());
        }
        // What people said is for its owner alone.
        DirBuilder::new().recursive(true).mode(0o700).create(&self.path)?;
        let lock = File::create(self.path.join(LOCK))?;
        lock.try_lock()?;
        *held = Some(lock);
        Ok(())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let held = self.lock.get_mut().unwrap_or_else(PoisonError::into_inner);
        if held.is_some() {
            let _left = fs::remove_dir_all(&self.path);
        }
    }
}

/// Removes the folders of processes that are gone.
pub(crate) fn sweep(parent: &Path) {
    // There may be no such directory yet.
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let path = entry.path();
        let Ok(lock) = File::open(path.join(LOCK)) else { continue };
        if lock.try_lock().is_ok()
            && let Err(error) = fs::remove_dir_all(&path)
        {
            tracing::warn!(%error, folder = %path.display(), "what an export left cannot be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_of_processes_that_are_gone_are_cleared_away() {
        let parent = tempfile::tempdir().unwrap();
        let (here, dead) = (Scratch::new(parent.path(), "a"), Scratch::new(parent.path(), "b"));
        sweep(&parent.path().join("missing"));
        here.claim().unwrap();
        dead.claim().unwrap();
        fs::write(dead.path().join("archive.zip"), "x").unwrap();
        fs::create_dir(parent.path().join("others")).unwrap();
        // The lock goes with the process; here another file takes its place.
        fs::remove_file(dead.path().join(LOCK)).unwrap();
        File::create(dead.path().join(LOCK)).unwrap();
        sweep(parent.path());
        assert!(here.path().exists() && !dead.path().exists() && parent.path().join("others").exists());
        let path = here.path().to_owned();
        drop(here);
        assert!(!path.exists());
    }
}
