//! What becomes of a column's cell, or of a field of JSON. A column without a class does not compile; a field without a
//! rule is left out.

use super::pseudonym::Of;

/// What a column holds, seen by who wants to know whom it is of.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Class {
    /// Counts, times, words of turnlog's own: it stays.
    Plain,
    /// An id.
    Id(Of),
    /// A subject of the log.
    Subject,
    /// What somebody wrote or said.
    Text,
    /// JSON, field by field.
    Json(&'static Rule),
    /// JSON of an event, by the rules of its type.
    Event,
}

impl Class {
    /// What a codebook says of a column of pseudonyms, and of one whose texts are masked.
    pub(crate) fn about(self, pseudonymize: bool, redact: bool) -> Option<&'static str> {
        match self {
            Self::Id(_) if pseudonymize => Some("A pseudonym stands in place of the id."),
            Self::Subject if pseudonymize => Some("A pseudonym stands in place of the hash."),
            Self::Text if redact => Some("Masked, as far as a form gives away what it is."),
            Self::Json(_) | Self::Event => match (pseudonymize, redact) {
                (true, true) => {
                    Some("Known fields alone: ids as pseudonyms, texts masked; all others are left out.")
                }
                (true, false) => Some("Known fields alone: ids as pseudonyms; all others are left out."),
                (false, true) => Some("Texts in it are masked, as far as a form gives away what they are."),
                (false, false) => None,
            },
            Self::Plain | Self::Id(_) | Self::Subject | Self::Text => None,
        }
    }
}

/// What becomes of a field of JSON.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rule {
    /// Of turnlog's own making: numbers, flags, times, words of a list.
    Plain,
    /// A number or a flag from outside; anything else is left out.
    Number,
    /// A word of letters from outside, such as `done`; anything else is left out.
    Word,
    /// An id.
    Id(Of),
    /// What somebody wrote or said.
    Text,
    /// Known, and left out: a name, a place, a secret, a link.
    Drop,
    /// An object with these fields.
    Fields(&'static [(&'static str, Rule)]),
    /// A text, or an object with these fields.
    TextOr(&'static [(&'static str, Rule)]),
    /// A list of such.
    List(&'static Rule),
    /// An object whose keys are words, each with such a value.
    Each(&'static Rule),
}

impl Rule {
    /// The rule of a field, where there is one.
    pub(super) fn field(self, name: &str) -> Option<Self> {
        match self {
            Self::Fields(fields) | Self::TextOr(fields) => {
                fields.iter().find(|(known, _)| *known == name).map(|(_, rule)| *rule)
            }
            Self::Each(rule) => is_word(name).then_some(*rule),
            Self::Plain
            | Self::Number
            | Self::Word
            | Self::Id(_)
            | Self::Text
            | Self::Drop
            | Self::List(_) => None,
        }
    }
}

/// Most bytes of a word from outside.
const MAX_WORD: usize = 40;

/// Whether a text can be nothing but a word of a vocabulary: it holds no digit, no space and no `@`.
pub(super) fn is_word(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'-');
    (1..=MAX_WORD).contains(&text.len()) && text.bytes().all(plain)
}
