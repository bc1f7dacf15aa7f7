//! What somebody searches for, parsed: words that must all be there, `"phrases"`, `pre*` and `-not`.

use std::collections::HashMap;
use std::ops::Range;

use shared::words::{Kind, Word, words};

use crate::limits::{MAX_QUERY_CHARS, MAX_QUERY_WORDS, MIN_PREFIX_CHARS};

/// A parsed query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Query {
    parts: Vec<Part>,
}

/// Words that stand one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    negated: bool,
    terms: Vec<Term>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Term {
    text: String,
    /// How many positions after the part's first word.
    offset: u32,
    prefix: bool,
}

/// Why a query is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Invalid {
    #[error("must be at most {MAX_QUERY_CHARS} characters")]
    Long,
    #[error("must be at most {MAX_QUERY_WORDS} words; of scripts without spaces each character counts")]
    ManyWords,
    #[error(
        "must name something to look for: a word, \"a phrase\", a begin* or an emoji, besides what is not to be there"
    )]
    Nothing,
    #[error("has a word with * that is too short: give at least {MIN_PREFIX_CHARS} letters of its beginning")]
    ShortPrefix,
}

impl Query {
    /// Reads what somebody typed. What is no word separates words.
    pub(crate) fn parse(text: &str) -> Result<Self, Invalid> {
        if text.chars().nth(MAX_QUERY_CHARS).is_some() {
            return Err(Invalid::Long);
        }
        let mut parts = Vec::new();
        for piece in pieces(text) {
            let terms = piece.terms()?;
            if !terms.is_empty() {
                parts.push(Part { negated: piece.negated, terms });
            }
        }
        if parts.iter().map(|part| part.terms.len()).sum::<usize>() > MAX_QUERY_WORDS {
            return Err(Invalid::ManyWords);
        }
        if parts.iter().all(|part| part.negated) { Err(Invalid::Nothing) } else { Ok(Self { parts }) }
    }

    /// Whether a word is only begun.
    pub(crate) fn has_prefixes(&self) -> bool {
        self.parts.iter().any(|part| part.terms.iter().any(|term| term.prefix))
    }

    /// The text form of a tsquery. Where a document does not hold all positions, it only asks for what must be there
    /// whatever its order is; [`Self::find`] then looks into the text.
    pub(crate) fn tsquery(&self) -> String {
        let strict = all(self.parts.iter().map(|part| part.tsquery(" <", "> ")));
        if self.parts.iter().all(|part| part.terms.len() == 1) {
            return strict;
        }
        let may = self.parts.iter().filter(|part| !part.negated || part.terms.len() == 1);
        format!("({strict}) | ('=l' & {})", all(may.map(Part::anywhere)))
    }

    /// Where in a text its words are, as bytes in order and apart from each other; `None` where the query is not true
    /// of it.
    pub(crate) fn find(&self, text: &str) -> Option<Vec<Range<usize>>> {
        let words = words(text);
        let mut places: HashMap<(&str, u32), &Word> = HashMap::with_capacity(words.len());
        for word in &words {
            places.insert((&word.text, word.position), word);
        }
        let mut marks = Vec::new();
        for part in &self.parts {
            let before = marks.len();
            part.mark(&words, &places, &mut marks);
            if (marks.len() > before) == part.negated {
                return None;
            }
        }
        marks.sort_by_key(|mark| (mark.start, mark.end));
        let mut apart: Vec<Range<usize>> = Vec::with_capacity(marks.len());
        for mark in marks {
            match apart.last_mut() {
                Some(last) if mark.start <= last.end => last.end = last.end.max(mark.end),
                _ => apart.push(mark),
            }
        }
        Some(apart)
    }
}

fn all(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(" & ")
}

impl Part {
    fn tsquery(&self, open: &str, close: &str) -> String {
        let mut text = String::from(if self.negated { "!(" } else { "(" });
        let mut last = 0;
        for (index, term) in self.terms.iter().enumerate() {
            if index > 0 {
                text.push_str(&format!("{open}{}{close}", term.offset - last));
            }
            last = term.offset;
            text.push_str(&term.tsquery());
        }
        text + ")"
    }

    fn anywhere(&self) -> String {
        let terms = all(self.terms.iter().map(Term::tsquery));
        format!("{}({terms})", if self.negated { "!" } else { "" })
    }

    fn mark(&self, words: &[Word], places: &HashMap<(&str, u32), &Word>, marks: &mut Vec<Range<usize>>) {
        let Some((first, rest)) = self.terms.split_first() else { return };
        for word in words.iter().filter(|word| first.is(&word.text)) {
            let mut end = word.bytes.end;
            let follows = rest.iter().all(|term| {
                let position = word.position + term.offset;
                let exact = places.get(&(term.text.as_str(), position)).copied();
                let found = exact.or_else(|| term.prefix.then(|| at(words, position, term)).flatten());
                found.inspect(|word| end = end.max(word.bytes.end)).is_some()
            });
            if follows {
                marks.push(word.bytes.start..end);
            }
        }
    }
}

/// The word at a position that a term is the beginning of.
fn at<'w>(words: &'w [Word], position: u32, term: &Term) -> Option<&'w Word> {
    let from = words.partition_point(|word| word.position < position);
    words[from..].iter().take_while(|word| word.position == position).find(|word| term.is(&word.text))
}

impl Term {
    fn is(&self, word: &str) -> bool {
        if self.prefix { word.starts_with(&self.text) } else { word == self.text }
    }

    fn tsquery(&self) -> String {
        // Words hold neither; this is the second lock.
        let quoted = self.text.replace('\\', "\\\\").replace('\'', "''");
        format!("'{quoted}'{}", if self.prefix { ":*" } else { "" })
    }
}

/// A part as it was typed.
struct Piece<'t> {
    negated: bool,
    text: &'t str,
    prefix: bool,
}

impl Piece<'_> {
    /// Of a run without spaces its pairs are enough, unless it is a single character.
    fn terms(&self) -> Result<Vec<Term>, Invalid> {
        let words = words(self.text);
        let paired = |word: &Word| {
            word.kind == Kind::Single
                && words.iter().any(|pair| {
                    pair.kind == Kind::Pair
                        && (pair.bytes.start == word.bytes.start || pair.bytes.end == word.bytes.end)
                })
        };
        let start = words.first().map_or(0, |word| word.position);
        let mut terms: Vec<_> = words
            .iter()
            .filter(|word| !paired(word))
            .map(|word| Term { text: word.text.clone(), offset: word.position - start, prefix: false })
            .collect();
        // In scripts without spaces every part of a run is found as it is.
        let begun =
            terms.last_mut().filter(|_| self.prefix && words.last().is_some_and(|w| w.kind == Kind::Whole));
        if let Some(last) = begun {
            if last.text.chars().count() < MIN_PREFIX_CHARS {
                return Err(Invalid::ShortPrefix);
            }
            last.prefix = true;
        }
        Ok(terms)
    }
}

/// Cuts at white space and quotes. A quote that is not closed goes to the end.
fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let negated = rest.starts_with('-');
        let body = rest.strip_prefix('-').unwrap_or(rest);
        let (piece, after) = match body.strip_prefix('"') {
            Some(quoted) => {
                let (phrase, after) = quoted.split_once('"').unwrap_or((quoted, ""));
                (Piece { negated, text: phrase, prefix: false }, after)
            }
            None => {
                let end = body.find(|c: char| c.is_whitespace() || c == '"').unwrap_or(body.len());
                let (word, after) = body.split_at(end);
                (Piece { negated, text: word, prefix: word.ends_with('*') }, after)
            }
        };
        pieces.push(piece);
        rest = after.trim_start();
    }
    pieces
}

#[cfg(test)]
mod tests;
