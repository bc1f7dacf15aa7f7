//! Writes a growing file back to the disk, behind whoever writes it.
//!
//! Left to the end, a large file waits seconds for the disk; and its pages would push those of the log and the tables out
//! of the cache, though nobody reads them again.

use std::fs::File;
use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use rustix::fs::{Advice, fadvise};

use crate::limits::WRITE_BACK_BYTES;

/// Who writes one file back. Small files need none, so it begins with the first stretch.
#[derive(Debug, Default)]
pub(super) struct Behind {
    /// Bytes since it was last asked.
    since: usize,
    thread: Option<(SyncSender<()>, JoinHandle<io::Result<()>>)>,
}

impl Behind {
    /// So much more was written to `file`.
    pub(super) fn wrote(&mut self, file: &File, bytes: usize) -> io::Result<()> {
        self.since += bytes;
        if self.since < WRITE_BACK_BYTES {
            return Ok(());
        }
        self.since = 0;
        let (sender, _) = match &self.thread {
            Some(thread) => thread,
            None => self.thread.insert(start(file.try_clone()?)),
        };
        // Where it is still at it, it takes this stretch with the next; where it failed, the end says so.
        let _asked = sender.try_send(());
        Ok(())
    }

    /// Waits for it. The last stretch is still to be synced.
    ///
    /// # Errors
    /// What failed on the way: the system says it once, so a later sync would not.
    pub(super) fn end(self) -> io::Result<()> {
        let Some((sender, thread)) = self.thread else { return Ok(()) };
        drop(sender);
        thread.join().unwrap_or_else(|_| Err(io::Error::other("who writes the file back ended")))
    }
}

fn start(file: File) -> (SyncSender<()>, JoinHandle<io::Result<()>>) {
    let (sender, asked) = sync_channel(1);
    let write_back = move || {
        for () in asked {
            file.sync_data()?;
            // Advice: where it is not taken, pages stay for longer.
            let _kept = fadvise(&file, 0, None, Advice::DontNeed);
        }
        Ok(())
    };
    (sender, std::thread::spawn(write_back))
}
