//! How far the projection has come, asked once for everybody who waits for it.

use sqlx::PgPool;
use tokio::sync::watch;
use tokio::time::Instant;

use super::ReadError;
use crate::limits::{CHECKPOINT_PAUSE, CHECKPOINT_POLL};

/// The tables' position as it was last seen. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Checkpoint {
    epoch: String,
    name: &'static str,
    position: watch::Sender<u64>,
    waiters: watch::Sender<usize>,
}

/// Counted while somebody waits.
struct Waiting<'a>(&'a watch::Sender<usize>);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|waiters| *waiters -= 1);
    }
}

impl Checkpoint {
    /// Of the tables that this log is folded into, or of what is searched of them.
    pub(crate) fn new(epoch: &str, name: &'static str) -> Self {
        Self {
            epoch: epoch.to_owned(),
            name,
            position: watch::Sender::new(0),
            waiters: watch::Sender::new(0),
        }
    }

    /// Takes note of a checkpoint that was read, and answers the position it stands for: none of ours, where
    /// the tables were folded from another log. It may lie before one that was seen earlier.
    pub(crate) fn seen(&self, epoch: &str, last_sequence: i64) -> u64 {
        let ours = epoch == self.epoch;
        let position = if ours { u64::try_from(last_sequence).unwrap_or(0) } else { 0 };
        self.position.send_if_modified(|known| std::mem::replace(known, position) != position);
        position
    }

    /// Waits until the tables have come to `at_least`.
    ///
    /// # Errors
    /// [`ReadError::Behind`] at the deadline.
    pub(crate) async fn wait(&self, at_least: u64, deadline: Instant) -> Result<(), ReadError> {
        if *self.position.borrow() >= at_least {
            return Ok(());
        }
        let mut position = self.position.subscribe();
        self.waiters.send_modify(|waiters| *waiters += 1);
        let _waiting = Waiting(&self.waiters);
        match tokio::time::timeout_at(deadline, position.wait_for(|position| *position >= at_least)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(ReadError::Behind),
        }
    }

    /// What `open` answers beside a position of at least this.
    pub(crate) async fn at<R, F: Future<Output = Result<(R, u64), ReadError>>>(
        &self,
        at_least: u64,
        deadline: Instant,
        open: impl Fn() -> F,
    ) -> Result<R, ReadError> {
        loop {
            self.wait(at_least, deadline).await?;
            let opening = tokio::time::timeout_at(deadline, open());
            let (opened, position) = opening.await.unwrap_or(Err(sqlx::Error::PoolTimedOut.into()))?;
            // A database that crashed may have come back a little before where it was: its checkpoint with
            // its rows.
            if position >= at_least {
                return Ok(opened);
            }
        }
    }

    /// Asks while somebody waits, for ever.
    pub(crate) async fn poll(&self, pool: &PgPool) {
        let mut waiters = self.waiters.subscribe();
        // Cannot end: the sender lives as long as this.
        while waiters.wait_for(|waiters| *waiters > 0).await.is_ok() {
            let asked = sqlx::query!(
                r#"SELECT epoch AS "epoch!", last_sequence AS "last_sequence!"
                   FROM turnlog.checkpoint WHERE name = $1"#,
                self.name
            )
            .fetch_one(pool)
            .await;
            match asked {
                Ok(row) => {
                    self.seen(&row.epoch, row.last_sequence);
                    tokio::time::sleep(CHECKPOINT_POLL).await;
                }
                Err(error) => {
                    tracing::debug!(%error, "the checkpoint cannot be read");
                    tokio::time::sleep(CHECKPOINT_PAUSE).await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(20)
    }

    #[tokio::test]
    async fn whoever_waits_goes_on_when_the_tables_are_there_and_not_before() {
        let checkpoint = Checkpoint::new("e", "read");
        assert!(checkpoint.wait(0, soon()).await.is_ok());
        assert!(matches!(checkpoint.wait(5, soon()).await, Err(ReadError::Behind)));
        let waiting = checkpoint.clone();
        let waiter =
            tokio::spawn(async move { waiting.wait(5, Instant::now() + Duration::from_secs(10)).await });
        let mut waiters = checkpoint.waiters.subscribe();
        waiters.wait_for(|waiters| *waiters == 1).await.unwrap();
        checkpoint.seen("e", 4);
        checkpoint.seen("e", 5);
        assert!(waiter.await.unwrap().is_ok());
        assert_eq!(*checkpoint.waiters.borrow(), 0);
    }

    #[test]
    fn tables_of_another_log_stand_at_its_beginning() {
        let checkpoint = Checkpoint::new("e", "read");
        assert_eq!(checkpoint.seen("e", 7), 7);
        assert_eq!(checkpoint.seen("x", 9), 0);
        assert_eq!(checkpoint.seen("", 0), 0);
        assert_eq!(*checkpoint.position.borrow(), 0);
    }
}
