//! Readers that have something to do, woken once nothing is locked any more: whoever is woken may write to its socket
//! there and then.

use std::task::Waker;

use tokio::task::JoinSet;

use crate::limits::WAKES_TOGETHER;

/// Readers to wake. They are woken at the latest when this is dropped.
#[derive(Debug, Default)]
#[must_use = "dropped, it wakes them all on this thread"]
pub(crate) struct Wakes(Vec<Waker>);

impl Wakes {
    /// Adds one, if it waits.
    pub(crate) fn add(&mut self, waker: Option<Waker>) {
        self.0.extend(waker);
    }

    /// Wakes them, a large number on all threads, and comes back when all are.
    pub(crate) async fn spread(mut self) {
        if self.0.len() <= WAKES_TOGETHER {
            return;
        }
        let mut parts = JoinSet::new();
        while !self.0.is_empty() {
            let part = self.0.split_off(self.0.len().saturating_sub(WAKES_TOGETHER));
            parts.spawn(async move { drop(Self(part)) });
        }
        while parts.join_next().await.is_some() {}
    }
}

impl Drop for Wakes {
    fn drop(&mut self) {
        self.0.drain(..).for_each(Waker::wake);
    }
}
