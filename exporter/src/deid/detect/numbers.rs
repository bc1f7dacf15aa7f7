//! Numbers that name somebody: of telephones, cards, accounts, days of birth; and those that only look like it.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::{Mark, Taken, pattern, take};

/// Bytes before a number in which a word may say what it is.
const NEAR: usize = 40;
/// Digits of a number that under Safe Harbor names something: shorter ones count and measure.
const NAMING_DIGITS: usize = 5;

/// Everything in the text that is a number of these kinds.
pub(super) fn find(text: &str, strict: bool, taken: &mut Taken) {
    for found in IP.find_iter(text) {
        take(taken, found.range(), Some(Mark::Ip));
    }
    for found in IBAN.find_iter(text).filter(|found| is_iban(found.as_str())) {
        take(taken, found.range(), Some(Mark::Iban));
    }
    for found in CARD.find_iter(text).filter(|found| is_card(text, &found.range())) {
        take(taken, found.range(), Some(Mark::Card));
    }
    for found in DATE.find_iter(text) {
        let born = is_whole(text, &found.range()) || said_before(&BORN, text, found.start());
        // A date is no telephone number, whatever it is.
        let date = strict.then_some(Mark::Date);
        take(taken, found.range(), if born { Some(Mark::Born) } else { date });
    }
    for found in TIMES.find_iter(text) {
        take(taken, found.range(), None);
    }
    phones(text, taken);
    if strict {
        for found in LONG.find_iter(text) {
            take(taken, found.range(), Some(Mark::Number));
        }
    }
}

fn phones(text: &str, taken: &mut Taken) {
    // What is taken parts two candidates.
    let mut rest = text.as_bytes().to_vec();
    for (span, _) in taken.iter() {
        rest[span.clone()].fill(b'_');
    }
    // Whole spans of characters were replaced by as many plain bytes.
    let Ok(rest) = String::from_utf8(rest) else { return };
    for found in PHONE.find_iter(&rest) {
        let near = said_before(&CALLED, &rest, found.start());
        if alone(&rest, &found.range()) && is_phone(found.as_str(), near) {
            take(taken, found.range(), Some(Mark::Phone));
        }
    }
}

/// Whether no digit, decimal or not, stands beside.
fn alone(text: &str, span: &Range<usize>) -> bool {
    let (before, after) = (&text.as_bytes()[..span.start], &text.as_bytes()[span.end..]);
    let goes_on = |first: Option<&u8>, second: Option<&u8>| match (first, second) {
        (Some(byte), _) if byte.is_ascii_digit() => true,
        (Some(b'.' | b','), Some(next)) => next.is_ascii_digit(),
        _ => false,
    };
    !goes_on(before.last(), before.len().checked_sub(2).and_then(|place| before.get(place)))
        && !goes_on(after.first(), after.get(1))
}

fn said_before(words: &Regex, text: &str, place: usize) -> bool {
    let from = (place.saturating_sub(NEAR)..place).find(|at| text.is_char_boundary(*at)).unwrap_or(place);
    words.is_match(&text[from..place])
}

/// Whether it is all that was said: most likely the answer to a question.
fn is_whole(text: &str, span: &Range<usize>) -> bool {
    let around = |rest: &str| rest.chars().all(|c| c.is_whitespace() || c.is_ascii_punctuation());
    around(&text[..span.start]) && around(&text[span.end..])
}

fn digits(text: &str) -> impl DoubleEndedIterator<Item = u32> + '_ {
    text.bytes().filter(u8::is_ascii_digit).map(|byte| u32::from(byte - b'0'))
}

/// ISO 13616: the remainder of 97 is 1.
fn is_iban(text: &str) -> bool {
    let plain: String = text.chars().filter(|c| c.is_ascii_alphanumeric()).collect();
    if !(15..=34).contains(&plain.len()) {
        return false;
    }
    let turned = plain[4..].chars().chain(plain[..4].chars());
    let rest = turned
        .filter_map(|c| c.to_digit(36))
        .fold(0, |rest, value| if value < 10 { (rest * 10 + value) % 97 } else { (rest * 100 + value) % 97 });
    rest == 1
}

/// ISO/IEC 7812: Luhn's check digit, and an issuer that there is. With a `+` before it is a telephone's.
fn is_card(whole: &str, span: &Range<usize>) -> bool {
    if !alone(whole, span) || whole[..span.start].ends_with('+') {
        return false;
    }
    let text = &whole[span.clone()];
    let count = digits(text).count();
    let sum: u32 = digits(text)
        .rev()
        .enumerate()
        .map(|(place, digit)| match (place % 2, digit * 2) {
            (0, _) => digit,
            (_, twice) => twice / 10 + twice % 10,
        })
        .sum();
    let first = digits(text).next().unwrap_or(0);
    let same = digits(text).all(|digit| digit == first);
    (13..=19).contains(&count) && (2..=6).contains(&first) && !same && sum.is_multiple_of(10)
}

/// Whether what has digits enough also has the form of a telephone number somewhere. `near`: a word before says so.
fn is_phone(text: &str, near: bool) -> bool {
    let groups: Vec<&str> =
        text.split(|c: char| !c.is_ascii_digit()).filter(|group| !group.is_empty()).collect();
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    let count: usize = lengths.iter().sum();
    let (plus, nought) =
        (text.starts_with(['+']), groups.first().is_some_and(|group| group.starts_with('0')));
    if plus || text.starts_with("(+") {
        return (7..=15).contains(&count);
    }
    let all = |test: &dyn Fn(&str) -> bool| groups.iter().all(|group| test(group));
    // Hours as soldiers and nurses write them, years, and numbers in thousands.
    let hour = |group: &str| group.len() == 4 && &group[..2] < "24" && &group[2..] < "60";
    let year = |group: &str| group.len() == 4 && (group.starts_with("19") || group.starts_with("20"));
    let thousands = groups.len() > 1 && lengths[0] <= 3 && lengths[1..].iter().all(|length| *length == 3);
    let rounds = thousands && (text.contains('.') || groups.last() == Some(&"000"));
    if groups.len() > 1 && (all(&hour) || all(&year)) || rounds {
        return false;
    }
    if near {
        return (7..=15).contains(&count) && groups.len() <= 6;
    }
    if text.contains('/') && !nought {
        return false;
    }
    if nought {
        // Pairs after the first are read out one by one: 06 12 34 56 78.
        return (9..=15).contains(&count)
            && groups.len() <= 6
            && lengths[1..].iter().all(|length| *length >= 2);
    }
    let first = groups[0].as_bytes()[0];
    match lengths[..] {
        // Seconds since 1970 begin with 1, and no area code does.
        [10] => first >= b'2',
        [11] => first == b'1' && groups[0].as_bytes()[1] >= b'2',
        [3, 3, 4] | [5, 5] | [4, 6] | [3, 7] | [4, 3, 3] | [3, 4, 3] => true,
        [1, 3, 3, 4] => first == b'1',
        [2, 10] | [2, 5, 5] | [2, 4, 6] => true,
        [3, 3, 3] => first >= b'6',
        // 555-0123, and not 100 2000.
        [3, 4] => text.contains('-') || text.contains('.'),
        _ => false,
    }
}

static IP: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"\b(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)\b|\b(?:[0-9a-fA-F]{1,4}:){5,7}[0-9a-fA-F]{1,4}\b|\b(?:[0-9a-fA-F]{1,4}:){1,6}:(?:[0-9a-fA-F]{1,4}:?){1,6}\b",
    )
});

static IBAN: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)[a-z]{2}\d{2}(?:[ -]?[a-z0-9]{4}){2,7}(?:[ -]?[a-z0-9]{1,3})?"));

static CARD: LazyLock<Regex> = LazyLock::new(|| pattern(r"\d(?:[ .-]{0,2}\d){12,18}"));

static DATE: LazyLock<Regex> = LazyLock::new(|| {
    let month = "(?:jan(?:uar)?y?|feb(?:ruar)?y?|mar(?:ch)?|märz|apr(?:il)?|may|mai|june?|juni|july?|juli|aug(?:ust)?|sept?(?:ember)?|o[ck]t(?:ober)?|nov(?:ember)?|de[cz](?:ember)?)";
    let day = r"(?:0?[1-9]|[12]\d|3[01])";
    let year = r"(?:1[89]|20)\d\d";
    pattern(&format!(
        r"(?i)\b{year}[-/.](?:0?[1-9]|1[0-2])[-/.]{day}\b|\b{day}[-/. ]\s?{day}[-/. ]\s?{year}\b|\b{day}[/.]{day}[/.]\d\d\b|\b{day}(?:st|nd|rd|th|\.)?\s+(?:of\s+)?{month}\.?,?\s+{year}\b|\b{month}\.?\s+{day}(?:st|nd|rd|th)?,?\s+{year}\b"
    ))
});

/// Times of a day, and from one to another.
static TIMES: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)\b\d{1,2}[:h]\d{2}(?::\d{2}(?:[.,]\d+)?)?(?:\s?[ap]\.?m\b)?|\b\d{1,2}\.\d{2}\s?(?:-|to|bis|until)\s?\d{1,2}\.\d{2}\b|\b\d{1,2}(?:[.:]\d{2})?\s?-\s?\d{1,2}(?:[.:]\d{2})?\s?(?:[ap]\.?m\b|h\b|uhr\b|o'clock)",
    )
});

static BORN: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)\b(?:born|birth\w*|b-?day|d\.?\s?o\.?\s?b\b|geboren|geb\b|geburts\w*|née?|nacid[oa]|nacimiento|nato|nata|nascid[oa])\b\.?[^.!?\n]{0,30}$",
    )
});

static CALLED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)\b(?:phone|telephone|tel|mobile|cell\w*|call|text|whatsapp|handy|telefon\w*|rufnummer|number is|reach me|fax)\b[^\d\n]{0,20}$",
    )
});

/// A candidate: digits, with few signs between.
static PHONE: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?:\(?\+\s?)?\(?\d(?:(?:[ ().-]{0,3}|/)\d){6,17}"));

/// Under Safe Harbor: digits that are many, hyphens between or not.
static LONG: LazyLock<Regex> = LazyLock::new(|| pattern(&format!(r"\d(?:-?\d){{{},}}", NAMING_DIGITS - 1)));
