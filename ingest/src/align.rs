//! Which turn of a transcript is which message: what the two sides share tells it.
//!
//! First by ids, then by a diff of the two sequences (patience, as for source code) over who said what. Where both
//! sides have something between two turns that they share, and it has the same shape, or enough of the same text,
//! it is the same in two wordings.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use shared::events::Message;
use shared::ids::Speaker;
use shared::report;
use similar::{Algorithm, DiffOp, TextDiff, capture_diff_slices};

/// Of the characters of two texts that are alike, in their order: from here on they are two wordings of one.
const ALIKE: f32 = 0.6;
/// The same where the vendor's number of the utterance says so too.
const ALIKE_WITH_NUMBER: f32 = 0.3;
/// Characters of a text that are compared.
const COMPARED: usize = 600;
/// Comparisons in one gap; in a larger one only its shape tells.
const MOST_COMPARISONS: usize = 10_000;
/// Most time for comparing two texts.
const PATIENCE: Duration = Duration::from_millis(2);
/// Most time for comparing all texts of one decision: everybody else's wait for it. Past it only what is plain to see
/// is alike.
const PATIENCE_IN_ALL: Duration = Duration::from_millis(100);

/// What a turn of the transcript is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Match {
    /// This message, word for word.
    Same(usize),
    /// This message, in another wording.
    Differs(usize),
    /// A message that is not there.
    Missing,
    /// No message: nothing was said.
    Silent,
}

/// Finds for each turn the message that it is: a place in `known`, whose messages are in the conversation's order.
pub(crate) fn align(known: &[&Message], turns: &[report::Turn]) -> Vec<Match> {
    let until = Instant::now() + PATIENCE_IN_ALL;
    let mut pairs: Vec<Option<usize>> = vec![None; turns.len()];
    let mut taken = vec![false; known.len()];
    pair_by_id(known, turns, &mut pairs, &mut taken, until);
    let left: Vec<usize> = (0..known.len()).filter(|place| !taken[*place]).collect();
    let open: Vec<usize> =
        (0..turns.len()).filter(|place| pairs[*place].is_none() && turns[*place].text.is_some()).collect();
    let (old, new) = Names::default().of(known, &left, turns, &open);
    let mut gaps = Vec::new();
    for op in capture_diff_slices(Algorithm::Patience, &old, &new) {
        match op {
            DiffOp::Equal { old_index, new_index, len } => {
                (0..len).for_each(|step| pairs[open[new_index + step]] = Some(left[old_index + step]));
            }
            DiffOp::Replace { old_index, old_len, new_index, new_len } => {
                gaps.push((&left[old_index..old_index + old_len], &open[new_index..new_index + new_len]));
            }
            DiffOp::Delete { .. } | DiffOp::Insert { .. } => {}
        }
    }
    // Before the gaps: what says the same is the same, also elsewhere.
    pair_across((&left, &old), (&open, &new), &mut pairs);
    let taken: HashSet<usize> = pairs.iter().copied().flatten().collect();
    for (gap, fill) in gaps {
        let gap: Vec<_> = gap.iter().copied().filter(|place| !taken.contains(place)).collect();
        let fill: Vec<_> = fill.iter().copied().filter(|turn| pairs[*turn].is_none()).collect();
        pair_in_gap((known, &gap), (turns, &fill), &mut pairs, until);
    }
    turns.iter().zip(pairs).map(|(turn, pair)| verdict(known, turn, pair)).collect()
}

/// The reported message that a late one from a frontend is, if any: a place in `reported`.
pub(crate) fn claim(
    reported: &[&Message],
    role: Speaker,
    content: &str,
    event_id: Option<u64>,
) -> Option<usize> {
    let until = Instant::now() + PATIENCE_IN_ALL;
    let of_role = || (0..reported.len()).filter(|place| reported[*place].role == role);
    let plain_content = plain(content);
    let says = |place: usize, wanted: &dyn Fn(&str) -> bool| {
        let message = reported[place];
        wanted(&message.content) || message.original.as_deref().is_some_and(wanted)
    };
    let numbered = of_role().find(|place| {
        event_id.is_some()
            && reported[*place].event_id == event_id
            && says(*place, &|text| likeness(text, content, until) >= ALIKE_WITH_NUMBER)
    });
    numbered
        .or_else(|| of_role().find(|place| says(*place, &|text| text == content)))
        .or_else(|| of_role().find(|place| says(*place, &|text| plain(text) == plain_content)))
        .or_else(|| {
            let likenesses =
                of_role().take(200).map(|place| (place, likeness(&reported[place].content, content, until)));
            let best = likenesses.max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)));
            best.filter(|(_, likeness)| *likeness >= ALIKE).map(|(place, _)| place)
        })
}

fn verdict(known: &[&Message], turn: &report::Turn, pair: Option<usize>) -> Match {
    match (&turn.text, pair) {
        (None, _) => Match::Silent,
        (Some(_), None) => Match::Missing,
        (Some(text), Some(place)) if known[place].content == *text => Match::Same(place),
        (Some(_), Some(place)) => Match::Differs(place),
    }
}

/// A message's own id is the same message; the vendor's number is, where role and text do not speak against it.
fn pair_by_id(
    known: &[&Message],
    turns: &[report::Turn],
    pairs: &mut [Option<usize>],
    taken: &mut [bool],
    until: Instant,
) {
    let mut ids = HashMap::new();
    let mut numbers: HashMap<(Speaker, u64), usize> = HashMap::new();
    for (place, message) in known.iter().enumerate() {
        message.message_id.as_ref().map(|id| ids.entry(id.as_str()).or_insert(place));
        message.event_id.map(|number| numbers.entry((message.role, number)).or_insert(place));
    }
    for (turn, pair) in turns.iter().zip(pairs) {
        let Some(text) = &turn.text else { continue };
        let by_id = turn.message_id.as_ref().and_then(|id| ids.get(id.as_str()).copied());
        let by_number = || {
            let place = *numbers.get(&(turn.role, turn.event_id?))?;
            let content = &known[place].content;
            let texts = [Some(text), turn.original.as_ref()];
            let alike =
                texts.into_iter().flatten().any(|text| likeness(text, content, until) >= ALIKE_WITH_NUMBER);
            alike.then_some(place)
        };
        if let Some(place) = by_id.or_else(by_number).filter(|place| !taken[*place]) {
            taken[place] = true;
            *pair = Some(place);
        }
    }
}

/// Numbers that are equal where the same was said by the same.
#[derive(Default)]
struct Names {
    exact: HashMap<(Speaker, String), usize>,
    plain: HashMap<(Speaker, String), usize>,
    next: usize,
}

impl Names {
    fn of(
        mut self,
        known: &[&Message],
        left: &[usize],
        turns: &[report::Turn],
        open: &[usize],
    ) -> (Vec<usize>, Vec<usize>) {
        let old = left.iter().map(|place| self.known(known[*place])).collect();
        let new = open.iter().map(|place| self.turn(&turns[*place])).collect();
        (old, new)
    }

    fn known(&mut self, message: &Message) -> usize {
        self.next += 1;
        let name = *self.exact.entry((message.role, message.content.clone())).or_insert(self.next);
        self.plain.entry((message.role, plain(&message.content))).or_insert(name);
        name
    }

    fn turn(&mut self, turn: &report::Turn) -> usize {
        self.next += 1;
        let texts = [turn.text.as_ref(), turn.original.as_ref()].into_iter().flatten();
        let named = texts.clone().find_map(|text| self.exact.get(&(turn.role, text.clone())));
        let named =
            named.or_else(|| texts.clone().find_map(|text| self.plain.get(&(turn.role, plain(text)))));
        named.copied().unwrap_or(self.next)
    }
}

/// Between two turns that both sides share: the same speakers in the same order are the same turns; else those whose
/// texts are alike. Two that each have an id of their own, and not the same one, are never one in other words.
fn pair_in_gap(
    (known, gap): (&[&Message], &[usize]),
    (turns, fill): (&[report::Turn], &[usize]),
    pairs: &mut [Option<usize>],
    until: Instant,
) {
    let can_be = |old: usize, new: usize| {
        // Within a session the browser gives ids of its own, which are none of the vendor's.
        let own = known[old].message_id.as_ref().filter(|_| known[old].session == 0);
        known[old].role == turns[new].role && !(own.is_some() && turns[new].message_id.is_some())
    };
    let same_shape = gap.len() == fill.len() && gap.iter().zip(fill).all(|(old, new)| can_be(*old, *new));
    if same_shape {
        gap.iter().zip(fill).for_each(|(old, new)| pairs[*new] = Some(*old));
        return;
    }
    if gap.len() * fill.len() > MOST_COMPARISONS {
        return;
    }
    let mut from = 0;
    for new in fill {
        let text = turns[*new].text.as_deref().unwrap_or_default();
        let alike = |old: &usize| can_be(*old, *new) && likeness(&known[*old].content, text, until) >= ALIKE;
        if let Some(step) = gap[from..].iter().position(alike) {
            pairs[*new] = Some(gap[from + step]);
            from += step + 1;
        }
    }
}

/// What is left and says the same: a frontend's requests overtake one another, so the two sides may differ in order.
fn pair_across(
    (left, old): (&[usize], &[usize]),
    (open, new): (&[usize], &[usize]),
    pairs: &mut [Option<usize>],
) {
    let taken: HashSet<usize> = pairs.iter().copied().flatten().collect();
    let mut unpaired: HashMap<usize, VecDeque<usize>> = HashMap::new();
    for (place, name) in left.iter().zip(old).filter(|(place, _)| !taken.contains(place)) {
        unpaired.entry(*name).or_default().push_back(*place);
    }
    for (turn, name) in open.iter().zip(new) {
        if pairs[*turn].is_none() {
            pairs[*turn] = unpaired.get_mut(name).and_then(VecDeque::pop_front);
        }
    }
}

/// From 0, nothing in common, to 1, the same; a text that goes on where the other one was cut off is alike, too.
fn likeness(a: &str, b: &str, until: Instant) -> f32 {
    // Enough of each for as many characters as are compared.
    let start = |text: &str| plain(&text[..text.floor_char_boundary(8 * COMPARED)]);
    let (a, b) = (start(a), start(b));
    let (a, b): (String, String) = (a.chars().take(COMPARED).collect(), b.chars().take(COMPARED).collect());
    let (short, long) = if a.len() <= b.len() { (&a, &b) } else { (&b, &a) };
    if !short.is_empty() && long.starts_with(short.as_str()) {
        return 1.0;
    }
    let deadline = until.min(Instant::now() + PATIENCE);
    TextDiff::configure().deadline(deadline).diff_chars(&a, &b).ratio()
}

/// Without case, punctuation and spacing, in which a live recognition and a final one differ. Where nothing is left,
/// the text as it is.
fn plain(text: &str) -> String {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let plain = words.collect::<Vec<_>>().join(" ").to_lowercase();
    if plain.is_empty() { text.trim().to_owned() } else { plain }
}

#[cfg(test)]
mod tests;
