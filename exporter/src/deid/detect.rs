//! What in a text may tell who somebody is: found where its form gives it away. A name, a place or a story has no form.

mod numbers;

use std::ops::Range;
use std::sync::LazyLock;

use linkify::{LinkFinder, LinkKind};
use regex::Regex;

use super::shadow::Shadow;

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Mark {
    /// An e-mail address.
    Email,
    /// A web address.
    Url,
    /// A telephone number.
    Phone,
    /// A payment card's number.
    Card,
    /// A bank account's number.
    Iban,
    /// A date of birth.
    Born,
    /// A network address.
    Ip,
    /// A date that is more than a year; looked for under Safe Harbor alone.
    Date,
    /// Any other number of five digits or more; looked for under Safe Harbor alone.
    Number,
}

impl Mark {
    /// Each of them.
    pub(crate) const ALL: [Self; 9] = [
        Self::Email,
        Self::Url,
        Self::Phone,
        Self::Card,
        Self::Iban,
        Self::Born,
        Self::Ip,
        Self::Date,
        Self::Number,
    ];

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        self.stands().trim_matches(['[', ']'])
    }

    /// What stands in its place.
    pub(crate) fn stands(self) -> &'static str {
        match self {
            Self::Email => "[EMAIL]",
            Self::Url => "[URL]",
            Self::Phone => "[PHONE]",
            Self::Card => "[CARD]",
            Self::Iban => "[IBAN]",
            Self::Born => "[DATE_OF_BIRTH]",
            Self::Ip => "[IP]",
            Self::Date => "[DATE]",
            Self::Number => "[NUMBER]",
        }
    }
}

/// Finds marks.
#[derive(Debug)]
pub(crate) struct Detector {
    links: LinkFinder,
    /// Everything that Safe Harbor asks for.
    strict: bool,
}

/// What is taken already, and by what; by nothing where it stays.
type Taken = Vec<(Range<usize>, Option<Mark>)>;

impl Detector {
    /// `strict` also takes dates and other numbers.
    pub(crate) fn new(strict: bool) -> Self {
        Self { links: LinkFinder::new(), strict }
    }

    /// Writes a text with marks in place of what was found, and tells each with its offset in what is written, in
    /// characters. Writes nothing, and answers false, where nothing is found.
    pub(crate) fn mask(&self, text: &str, out: &mut String, mut each: impl FnMut(Mark, usize)) -> bool {
        if !may_hold(text) {
            return false;
        }
        let shadow = Shadow::of(text);
        let mut found = self.find(&shadow.text);
        found.sort_by_key(|(span, _)| span.start);
        let (begin, mut written, mut characters) = (out.len(), 0, 0);
        for (span, mark) in found {
            let (start, end) = (shadow.place(span.start), shadow.end(span.end));
            // What a mark took already, through something that cannot be seen.
            if start < written {
                continue;
            }
            let before = &text[written..start];
            characters += before.chars().count();
            each(mark, characters);
            out.push_str(before);
            out.push_str(mark.stands());
            characters += mark.stands().len();
            written = end;
        }
        if written == 0 && out.len() == begin {
            return false;
        }
        out.push_str(&text[written..]);
        true
    }

    /// In the order of certainty: what one has taken is nothing to the next.
    fn find(&self, text: &str) -> Vec<(Range<usize>, Mark)> {
        let mut taken = Taken::new();
        if text.contains(['@', ':', '.']) || spelled(text) {
            self.addresses(text, &mut taken);
        }
        if text.bytes().any(|byte| byte.is_ascii_digit()) {
            numbers::find(text, self.strict, &mut taken);
        }
        taken.into_iter().filter_map(|(span, mark)| mark.map(|mark| (span, mark))).collect()
    }

    fn addresses(&self, text: &str, taken: &mut Taken) {
        for link in self.links.links(text) {
            let mark = if *link.kind() == LinkKind::Email { Mark::Email } else { Mark::Url };
            take(taken, link.start()..link.end(), Some(mark));
        }
        for (pattern, mark) in [(&*MAIL, Mark::Email), (&*SPOKEN, Mark::Email), (&*BARE, Mark::Url)] {
            for found in pattern.find_iter(text) {
                take(taken, found.range(), Some(mark));
            }
        }
    }
}

/// Whether a text is worth a look: most hold nothing that could be found.
fn may_hold(text: &str) -> bool {
    let bytes = text.as_bytes();
    let next = |place: usize| bytes.get(place + 1);
    let told = |(place, byte): (usize, &u8)| match byte {
        b'0'..=b'9' | b'@' | 0x80.. => true,
        b':' => next(place) == Some(&b'/'),
        // A full stop at the end of a sentence is none within a name.
        b'.' => next(place).is_some_and(u8::is_ascii_alphanumeric),
        _ => false,
    };
    bytes.iter().enumerate().any(told) || spelled(text)
}

/// Whether signs of an address may be written as words.
fn spelled(text: &str) -> bool {
    [" dot ", "at]", "at)", "AT]", "AT)"].iter().any(|words| text.contains(words))
}

/// Takes a span that is nobody's yet.
fn take(taken: &mut Taken, span: Range<usize>, mark: Option<Mark>) {
    let free = taken.iter().all(|(other, _)| span.end <= other.start || other.end <= span.start);
    if free && !span.is_empty() {
        taken.push((span, mark));
    }
}

/// Ends of names on the network that stand alone in speech, without a scheme before or a path after.
const ENDS: &str = "com|org|net|edu|gov|mil|int|info|biz|io|ai|app|dev|me|co|tv|uk|de|fr|es|it|nl|be|ch|at|pl|se|no|dk|fi|ie|pt|eu|us|ca|br|mx|in|jp|cn|kr|ru|au|nz|za";

fn pattern(text: &str) -> Regex {
    // A pattern of ours that is none would show in the first test.
    Regex::new(text).unwrap_or_else(|error| unreachable!("{error}"))
}

/// An address that lines were broken in, beside `@` or a full stop; with letters of any script.
static MAIL: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"[\w.+%'-]*[\w+%'-](?:[ \t]*\r?\n[ \t]*)?(?:@|[ ]?[\[({][ ]?(?:at|AT|@)[ ]?[\])}][ ]?)(?:[ \t]*\r?\n[ \t]*)?[\w-]+(?:(?:[ \t]*\r?\n[ \t]*)?(?:\.|[ ]?[\[({][ ]?(?:dot|DOT|\.)[ ]?[\])}][ ]?)(?:[ \t]*\r?\n[ \t]*)?[\w-]+)+",
    )
});

/// As it is told on the telephone.
static SPOKEN: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r"(?i)\b[\w+-]+(?: (?:dot|underscore|dash|minus|plus) [\w+-]+)* at [\w-]+(?: dot [\w-]+)* dot (?:{ENDS})\b"
    ))
});

/// A name without a scheme, and whatever has one.
static BARE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r#"(?i)\bwww\.[\w-]+(?:\.[\w-]+)+(?:[/?#][^\s]*)?|\b(?:[a-z0-9-]+\.)+(?:{ENDS})\b(?:/[^\s]*)?|\b[a-z][a-z0-9+.-]*://[^\s<>"')]+"#
    ))
});

#[cfg(test)]
mod tests;
