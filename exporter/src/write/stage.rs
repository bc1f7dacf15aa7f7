//! A thread of the way that rows take to their file: it takes one thing after the other while the next is made.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::Written;
use crate::error::{ExportError, Result};

/// Takes things of one kind, in order, and ends with what it wrote.
pub(super) struct Stage<T> {
    /// None once it is to end.
    sender: Option<SyncSender<T>>,
    thread: Option<JoinHandle<Result<Written>>>,
}

impl<T: Send + 'static> Stage<T> {
    /// Begins it; so many things may wait for it.
    pub(super) fn begin(
        waiting: usize,
        work: impl FnOnce(Receiver<T>) -> Result<Written> + Send + 'static,
    ) -> Self {
        let (sender, things) = sync_channel(waiting);
        Self { sender: Some(sender), thread: Some(std::thread::spawn(move || work(things))) }
    }

    /// Hands it the next thing.
    ///
    /// # Errors
    /// Why it has ended before.
    pub(super) fn send(&mut self, thing: T) -> Result<()> {
        if self.sender.as_ref().is_some_and(|sender| sender.send(thing).is_ok()) {
            return Ok(());
        }
        self.end().and_then(|_| Err(ExportError::encode("the writer ended")))
    }

    /// Nothing more comes: how it ended.
    pub(super) fn end(&mut self) -> Result<Written> {
        self.sender = None;
        let ended = self.thread.take().and_then(|thread| thread.join().ok());
        ended.unwrap_or_else(|| Err(ExportError::encode("the writer ended")))
    }
}
