//! The folder that holds all of an instance's state, claimed by one `turnlog up` at a time.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::failure::{Failure, OrFail};

/// A claimed data directory. The claim ends with this value, also when the process is killed.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes the folder where it is not there, for its owner alone, and claims it.
    pub(crate) fn claim(path: &Path) -> Result<Self, Failure> {
        make_private(path)?;
        let path = fs::canonicalize(path).or_fail(format!("use {}", path.display()))?;
        let lock = lock(&path)?;
        Ok(Self { path, _lock: lock })
    }

    /// Where it is; absolute.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A folder in it, for its owner alone.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf, Failure> {
        let folder = self.path.join(name);
        make_private(&folder)?;
        Ok(folder)
    }
}

fn make_private(path: &Path) -> Result<(), Failure> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .or_fail(format!("make the folder {}", path.display()))
}

fn lock(dir: &Path) -> Result<File, Failure> {
    let path = dir.join("lock");
    let what = format!("lock {}", path.display());
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .or_fail(&what)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            file.read_to_string(&mut holder).or_fail(&what)?;
            return Err(Failure::new(format!(
                "another turnlog up (pid {}) runs on {}: stop it, or give this one its own with --data-dir",
                holder.trim(),
                dir.display()
            )));
        }
        Err(TryLockError::Error(error)) => return Err(error).or_fail(&what),
    }
    // The text only tells the next one whom it met; the lock itself is the kernel's.
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .or_fail(&what)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn one_at_a_time_and_its_owner_alone() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        let first = DataDir::claim(&path).unwrap();
        let mode = fs::metadata(first.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let refusal = DataDir::claim(&path).unwrap_err().to_string();
        assert!(refusal.contains(&format!("pid {}", std::process::id())), "{refusal}");
        drop(first);
        DataDir::claim(&path).unwrap();
    }
}
