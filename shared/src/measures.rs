//! What is counted by day, and how finely: the projector writes it, the streamer reads it.

/// Where the buckets of answers begin, in milliseconds: how long a user waited. Each is at most half as long again as the
/// one before, between one and thirty seconds, where people notice.
pub const ANSWER_BOUNDS: [i64; 24] = [
    250, 500, 750, 1_000, 1_500, 2_000, 2_500, 3_000, 4_000, 5_000, 7_000, 10_000, 15_000, 20_000, 30_000,
    45_000, 60_000, 120_000, 300_000, 600_000, 1_800_000, 3_600_000, 21_600_000, 86_400_000,
];

/// Where the buckets of durations begin, in seconds.
pub const DURATION_BOUNDS: [i64; 16] =
    [10, 30, 60, 120, 180, 300, 420, 600, 900, 1_200, 1_800, 2_700, 3_600, 7_200, 14_400, 86_400];

/// What a row of the counts is about.
pub mod names {
    /// Messages of users; the total is their characters.
    pub const OF_USERS: &str = "messages.user";
    /// Messages of assistants; the total is their characters.
    pub const OF_ASSISTANTS: &str = "messages.assistant";
    /// Answers that stand directly after a user's message; the total is milliseconds, and they are bucketed by them.
    pub const ANSWERS: &str = "answers";
    /// Conversations.
    pub const CONVERSATIONS: &str = "conversations";
    /// Those of them that ended well.
    pub const ENDED: &str = "ended";
    /// Those of them that did not come about, or broke.
    pub const FAILED: &str = "failed";
    /// Those of them that are over and took a known time; the total is seconds, and they are bucketed by them.
    pub const DURATIONS: &str = "durations";
}

/// The bucket of a value: how many bounds it has reached.
pub fn bucket(bounds: &[i64], value: i64) -> i32 {
    i32::try_from(bounds.partition_point(|bound| *bound <= value)).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_rise_and_a_value_on_a_bound_is_above_it() {
        assert!(ANSWER_BOUNDS.is_sorted() && DURATION_BOUNDS.is_sorted());
        assert_eq!([0, 249, 250, 499, i64::MAX].map(|value| bucket(&ANSWER_BOUNDS, value)), [0, 0, 1, 1, 24]);
    }
}
