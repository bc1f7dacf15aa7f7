//! What became of the conversations that were compared, counted.

/// What became of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The log has it.
    Present,
    /// It was fetched and recorded.
    Fetched,
    /// Its recording was fetched and stored.
    Audio,
    /// It is missing, and only looked for.
    Missing,
    /// The vendor is not done with it.
    NotFinal,
    /// The vendor no longer has it.
    Gone,
    /// It could not be fetched.
    Failed,
    /// It is of an agent that was not asked for.
    Unwanted,
}

impl Outcome {
    /// A word for metrics.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Present => "present",
            Self::Fetched => "fetched",
            Self::Audio => "audio",
            Self::Missing => "missing",
            Self::NotFinal => "not_final",
            Self::Gone => "gone",
            Self::Failed => "failed",
            Self::Unwanted => "unwanted",
        }
    }
}

/// How many became what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Conversations in the list.
    pub seen: u64,
    /// Those that the log has.
    pub present: u64,
    /// Those that were fetched and recorded.
    pub fetched: u64,
    /// Recordings that were fetched and stored.
    pub audio: u64,
    /// Those that are missing, where they are only looked for.
    pub missing: u64,
    /// Those that the vendor is not done with.
    pub not_final: u64,
    /// Those that the vendor no longer has.
    pub gone: u64,
    /// Those that could not be fetched.
    pub failed: u64,
    /// Those of agents that were not asked for.
    pub unwanted: u64,
}

impl Tally {
    pub(super) fn count(&mut self, outcome: Outcome) {
        let counted = match outcome {
            Outcome::Present => &mut self.present,
            Outcome::Fetched => &mut self.fetched,
            Outcome::Audio => &mut self.audio,
            Outcome::Missing => &mut self.missing,
            Outcome::NotFinal => &mut self.not_final,
            Outcome::Gone => &mut self.gone,
            Outcome::Failed => &mut self.failed,
            Outcome::Unwanted => &mut self.unwanted,
        };
        *counted += 1;
    }
}

/// Something became of a conversation.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// Which one.
    pub conversation: &'a str,
    /// What became of it.
    pub outcome: Outcome,
    /// Why, where it failed.
    pub why: Option<&'a str>,
    /// All so far.
    pub tally: Tally,
}
