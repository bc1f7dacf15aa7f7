//! Counts as dashboards take them.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use serde::Serialize;
use shared::measures::{ANSWER_BOUNDS, DURATION_BOUNDS, names};
use utoipa::ToSchema;

/// What was counted of one measure.
#[derive(Debug, Clone)]
pub(super) struct Counted {
    pub(super) day: NaiveDate,
    pub(super) provider: String,
    pub(super) measure: String,
    pub(super) bucket: i32,
    pub(super) count: i64,
    pub(super) total: i64,
}

/// Messages, and how long they are.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
#[schema(as = MessageNumbers)]
struct Lengths {
    messages: i64,
    /// In characters; null where there are none.
    average_length: Option<f64>,
}

/// Messages of one provider, on one day or on all of them.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = MessagesByProvider)]
struct Said {
    provider: String,
    #[serde(flatten)]
    all: Lengths,
    user: Lengths,
    assistant: Lengths,
}

/// One provider's numbers of one day.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = MessagesOfDay)]
struct SaidOfDay {
    #[schema(value_type = String, format = Date)]
    day: NaiveDate,
    #[serde(flatten)]
    said: Said,
}

/// Messages by day and provider.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = MessageAnalytics)]
pub(crate) struct Messages {
    success: bool,
    #[schema(value_type = String, format = Date)]
    from: NaiveDate,
    #[schema(value_type = String, format = Date)]
    to: NaiveDate,
    /// Of all days.
    providers: Vec<Said>,
    /// Days without any are left out.
    days: Vec<SaidOfDay>,
}

/// How long something took.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Durations)]
struct Times {
    /// Of how many it is known.
    count: i64,
    /// In seconds, like everything here; null where nothing is known.
    average: Option<f64>,
    /// Half took less.
    p50: Option<f64>,
    p90: Option<f64>,
    p99: Option<f64>,
    /// Those that took any time at all, from the shortest on.
    buckets: Vec<Bucket>,
}

/// Those that took at least so long, and less than so long.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = DurationBucket)]
struct Bucket {
    from: f64,
    /// Null in the last one.
    to: Option<f64>,
    count: i64,
}

/// Answers of one provider, on one day or on all of them.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = AnswersByProvider)]
struct Waited {
    provider: String,
    waited: Times,
}

/// One provider's answers of one day.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = AnswersOfDay)]
struct WaitedOfDay {
    #[schema(value_type = String, format = Date)]
    day: NaiveDate,
    #[serde(flatten)]
    waited: Waited,
}

/// Response times by day and provider.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = AnswerAnalytics)]
pub(crate) struct Answers {
    success: bool,
    #[schema(value_type = String, format = Date)]
    from: NaiveDate,
    #[schema(value_type = String, format = Date)]
    to: NaiveDate,
    /// Of all days.
    providers: Vec<Waited>,
    /// Days without any are left out.
    days: Vec<WaitedOfDay>,
}

/// Conversations that began with one provider, on one day or on all of them.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = ConversationsByProvider)]
struct Held {
    provider: String,
    conversations: i64,
    /// Of these.
    ended: i64,
    failed: i64,
    /// Of those that are over.
    durations: Times,
}

/// One provider's conversations of one day.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = ConversationsOfDay)]
struct HeldOfDay {
    #[schema(value_type = String, format = Date)]
    day: NaiveDate,
    #[serde(flatten)]
    held: Held,
}

/// What goes on.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = ActiveConversations)]
struct Active {
    /// Have begun and not ended, whenever they began.
    conversations: i64,
    by_provider: BTreeMap<String, i64>,
}

/// Conversations by day and provider.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = ConversationAnalytics)]
pub(crate) struct Conversations {
    success: bool,
    #[schema(value_type = String, format = Date)]
    from: NaiveDate,
    #[schema(value_type = String, format = Date)]
    to: NaiveDate,
    active: Active,
    /// Of all days.
    providers: Vec<Held>,
    /// Days without any are left out.
    days: Vec<HeldOfDay>,
}

/// Counts that belong together.
type Group<'a> = Vec<&'a Counted>;

fn by_provider(rows: &[Counted]) -> BTreeMap<&str, Group<'_>> {
    let mut groups: BTreeMap<&str, Group<'_>> = BTreeMap::new();
    rows.iter().for_each(|row| groups.entry(&row.provider).or_default().push(row));
    groups
}

fn by_day(rows: &[Counted]) -> BTreeMap<(NaiveDate, &str), Group<'_>> {
    let mut groups: BTreeMap<(NaiveDate, &str), Group<'_>> = BTreeMap::new();
    rows.iter().for_each(|row| groups.entry((row.day, &row.provider)).or_default().push(row));
    groups
}

/// Count and total of a measure.
fn sum(group: &[&Counted], measure: &str) -> (i64, i64) {
    let rows = group.iter().filter(|row| row.measure == measure);
    rows.fold((0, 0), |(count, total), row| (count + row.count, total + row.total))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "an average of numbers that large has no use for their last digits"
)]
fn average(total: i64, count: i64, unit: f64) -> Option<f64> {
    (count > 0).then(|| thousandths(total as f64 / count as f64 / unit))
}

/// What a page shows; the rest is noise.
fn thousandths(number: f64) -> f64 {
    (number * 1_000.0).round() / 1_000.0
}

impl Lengths {
    fn of((messages, characters): (i64, i64)) -> Self {
        Self { messages, average_length: average(characters, messages, 1.0) }
    }
}

impl Said {
    fn of(provider: &str, group: &[&Counted]) -> Self {
        let (user, assistant) = (sum(group, names::OF_USERS), sum(group, names::OF_ASSISTANTS));
        let all = Lengths::of((user.0 + assistant.0, user.1 + assistant.1));
        Self {
            provider: provider.to_owned(),
            all,
            user: Lengths::of(user),
            assistant: Lengths::of(assistant),
        }
    }
}

impl Messages {
    pub(super) fn of(from: NaiveDate, to: NaiveDate, rows: &[Counted]) -> Self {
        let providers = by_provider(rows).iter().map(|(provider, group)| Said::of(provider, group)).collect();
        let days = by_day(rows);
        let days = days
            .iter()
            .map(|((day, provider), group)| SaidOfDay { day: *day, said: Said::of(provider, group) });
        Self { success: true, from, to, providers, days: days.collect() }
    }
}

impl Times {
    /// Of what was counted as this measure; `unit` is how much of it is a second.
    #[expect(clippy::cast_precision_loss, reason = "bounds are small, and of counts a ratio is taken")]
    fn of(group: &[&Counted], measure: &str, bounds: &[i64], unit: f64) -> Self {
        let (count, total) = sum(group, measure);
        let mut counts = BTreeMap::new();
        for row in group.iter().filter(|row| row.measure == measure) {
            *counts.entry(usize::try_from(row.bucket).unwrap_or_default()).or_insert(0) += row.count;
        }
        let bound = |place: usize| bounds.get(place).map(|bound| *bound as f64 / unit);
        let buckets = counts.iter().map(|(place, count)| Bucket {
            from: place.checked_sub(1).and_then(bound).unwrap_or_default(),
            to: bound(*place),
            count: *count,
        });
        let buckets: Vec<_> = buckets.collect();
        let at = |part: f64| percentile(&buckets, count, part);
        Self {
            count,
            average: average(total, count, unit),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            buckets,
        }
    }
}

/// The value that this part of all is below, as if each bucket were evenly filled. In the last one it is where that begins.
#[expect(clippy::cast_precision_loss, reason = "of counts a ratio is taken")]
fn percentile(buckets: &[Bucket], count: i64, part: f64) -> Option<f64> {
    let wanted = part * count as f64;
    let mut below = 0.0;
    for Bucket { from, to, count } in buckets {
        let within = *count as f64;
        if below + within >= wanted {
            let width = to.unwrap_or(*from) - from;
            return Some(thousandths(from + width * (wanted - below) / within));
        }
        below += within;
    }
    None
}

impl Waited {
    fn of(provider: &str, group: &[&Counted]) -> Self {
        let waited = Times::of(group, names::ANSWERS, &ANSWER_BOUNDS, 1_000.0);
        Self { provider: provider.to_owned(), waited }
    }
}

impl Answers {
    pub(super) fn of(from: NaiveDate, to: NaiveDate, rows: &[Counted]) -> Self {
        let providers =
            by_provider(rows).iter().map(|(provider, group)| Waited::of(provider, group)).collect();
        let days = by_day(rows);
        let days = days
            .iter()
            .map(|((day, provider), group)| WaitedOfDay { day: *day, waited: Waited::of(provider, group) });
        Self { success: true, from, to, providers, days: days.collect() }
    }
}

impl Held {
    fn of(provider: &str, group: &[&Counted]) -> Self {
        let count = |measure| sum(group, measure).0;
        Self {
            provider: provider.to_owned(),
            conversations: count(names::CONVERSATIONS),
            ended: count(names::ENDED),
            failed: count(names::FAILED),
            durations: Times::of(group, names::DURATIONS, &DURATION_BOUNDS, 1.0),
        }
    }
}

impl Conversations {
    pub(super) fn of(
        from: NaiveDate,
        to: NaiveDate,
        rows: &[Counted],
        by_provider_now: BTreeMap<String, i64>,
    ) -> Self {
        let providers = by_provider(rows).iter().map(|(provider, group)| Held::of(provider, group)).collect();
        let days = by_day(rows);
        let days = days
            .iter()
            .map(|((day, provider), group)| HeldOfDay { day: *day, held: Held::of(provider, group) });
        let active = Active { conversations: by_provider_now.values().sum(), by_provider: by_provider_now };
        Self { success: true, from, to, active, providers, days: days.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(measure: &str, bucket: i32, count: i64, total: i64) -> Counted {
        let (day, provider) = (NaiveDate::default(), "openai".to_owned());
        Counted { day, provider, measure: measure.into(), bucket, count, total }
    }

    #[test]
    fn averages_are_of_everything_and_of_nothing_there_is_none() {
        let rows = [counted(names::OF_USERS, 0, 3, 10), counted(names::OF_ASSISTANTS, 0, 1, 7)];
        let said = Messages::of(NaiveDate::default(), NaiveDate::default(), &rows).providers.remove(0);
        assert_eq!((said.all.messages, said.all.average_length), (4, Some(4.25)));
        assert_eq!(said.user.average_length, Some(3.333));
        assert_eq!(Lengths::of((0, 0)).average_length, None);
    }

    #[test]
    fn percentiles_lie_within_their_buckets() {
        // Ten below 0.25 s, ten from 1 to 1.5 s, one of more than a day.
        let rows = [
            counted(names::ANSWERS, 0, 10, 1_000),
            counted(names::ANSWERS, 4, 10, 12_000),
            counted(names::ANSWERS, 24, 1, 90_000_000),
        ];
        let times = Waited::of("openai", &rows.iter().collect::<Vec<_>>()).waited;
        assert_eq!((times.count, times.average), (21, Some(4_286.333)));
        assert_eq!((times.p50, times.p90, times.p99), (Some(1.025), Some(1.445), Some(86_400.0)));
        let of: Vec<_> = times.buckets.iter().map(|bucket| (bucket.from, bucket.to)).collect();
        assert_eq!(of, [(0.0, Some(0.25)), (1.0, Some(1.5)), (86_400.0, None)]);
        assert_eq!(Times::of(&[], names::ANSWERS, &ANSWER_BOUNDS, 1_000.0).p50, None);
    }
}
