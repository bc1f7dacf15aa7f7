//! What the audit log says of an export: that it begins, before anything is read, and how it ended.

use std::path::Path;

use serde_json::Value;
use shared::audit::{Audit, Look, What};
use shared::log::Log;

use crate::failure::{Failure, OrFail};
use crate::operator;

/// What a data set holds of the log: a range of sequences, as of which one; and where it lies.
type Made<'a> = (Option<((u64, u64), u64)>, &'a Path);

/// An export whose beginning is recorded.
pub(super) struct Recorded {
    audit: Audit,
    begun: Look,
}

impl Recorded {
    /// Records that what was asked for begins.
    pub(super) async fn begin(log: &Log, asked: Value, folder: &Path) -> Result<Self, Failure> {
        let audit = Audit::new(log);
        let begun = Look::by_operator(&operator::name(), What::DataSetBegun).with("asked", asked);
        let begun = begun.with("out", folder.display().to_string());
        audit.record(&begun).await.or_fail("record the export, so nothing is exported")?;
        Ok(Self { audit, begun })
    }

    /// Records how it ended; nothing was `made` where it failed.
    pub(super) async fn end(self, outcome: &str, made: Option<Made<'_>>) -> Result<(), Failure> {
        let ended = self.begun.then(What::DataSetEnded);
        let ended = match made {
            Some((held, folder)) => {
                let (range, as_of) = held.unzip();
                let manifest = std::fs::read(folder.join(exporter::MANIFEST)).or_fail("read the manifest")?;
                let ended = as_of.map_or_else(|| ended.clone(), |as_of| ended.clone().with("as_of", as_of));
                ended.range(range).manifest(&manifest).with("outcome", outcome)
            }
            None => ended.with("outcome", "failed"),
        };
        self.audit.record(&ended).await.or_fail("record the end of the export")
    }
}
