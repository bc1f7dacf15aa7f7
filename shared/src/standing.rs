//! How a conversation stands: the one rule for whatever folds conversations from the log. The read tables hold the same in
//! SQL (`projector/src/apply/sessions.rs`).

/// What a report says of how its session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict<T> {
    /// Of which session it tells; 0 is the whole conversation.
    pub session: u32,
    /// Where it stands in the log.
    pub sequence: u64,
    /// It tells how it ended; traces do not.
    pub tells_outcome: bool,
    /// It did not come about, or broke.
    pub failed: bool,
    /// When it ended.
    pub ended_at: T,
}

/// How it stands, and since when it is over: by what is told of the newest session and of the whole conversation, and the
/// newest end, as far as they are newer than the newest session. A report that tells how it ended counts before one that
/// does not: traces take nothing back.
///
/// `newest` is the number of the newest session and where it was opened; `ended` is where and when it was ended last.
pub fn standing<T>(
    newest: Option<(u32, u64)>,
    told: impl Iterator<Item = Verdict<T>>,
    ended: Option<(u64, T)>,
) -> (&'static str, Option<T>) {
    let (session, opened) = newest.unwrap_or((0, 0));
    let told = told.filter(|told| [0, session].contains(&told.session) && told.sequence > opened);
    let told = told.max_by_key(|told| (told.tells_outcome, told.sequence));
    let ended = ended.filter(|(sequence, _)| *sequence > opened);
    match (told, ended) {
        (Some(Verdict { tells_outcome: true, failed, ended_at, .. }), _) => (over(failed), Some(ended_at)),
        (_, Some((_, at))) => ("ENDED", Some(at)),
        (Some(Verdict { failed, ended_at, .. }), None) => (over(failed), Some(ended_at)),
        (None, None) => ("ACTIVE", None),
    }
}

fn over(failed: bool) -> &'static str {
    if failed { "FAILED" } else { "ENDED" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(session: u32, sequence: u64, tells_outcome: bool, failed: bool) -> Verdict<u64> {
        Verdict { session, sequence, tells_outcome, failed, ended_at: sequence }
    }

    #[test]
    fn what_tells_the_outcome_counts_first_then_the_end_then_the_rest() {
        let stands = |newest, told: &[Verdict<u64>], ended: Option<u64>| {
            standing(newest, told.iter().copied(), ended.map(|at| (at, at)))
        };
        assert_eq!(stands(None, &[], None), ("ACTIVE", None));
        assert_eq!(stands(None, &[], Some(4)), ("ENDED", Some(4)));
        assert_eq!(stands(None, &[told(0, 3, false, true)], None), ("FAILED", Some(3)));
        assert_eq!(stands(None, &[told(0, 3, false, true)], Some(4)), ("ENDED", Some(4)));
        assert_eq!(
            stands(None, &[told(0, 3, true, true), told(0, 9, false, false)], Some(4)),
            ("FAILED", Some(3))
        );
        // It went on since, and only what is told of that session counts.
        assert_eq!(stands(Some((2, 5)), &[told(1, 6, true, false)], Some(4)), ("ACTIVE", None));
        assert_eq!(stands(Some((2, 5)), &[told(2, 6, true, false)], None), ("ENDED", Some(6)));
    }
}
