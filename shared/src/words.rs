//! What can be searched for in a text, of any language: the one place where texts and queries are cut into words.
//!
//! Words are runs of letters, marks and digits. Scripts that put no spaces between words (Chinese, Japanese, Thai and
//! their like) are cut into single characters and overlapping pairs, so that any part of a run is found as a phrase of
//! pairs. An emoji is a word of its own. What differs only in case, width, composition or, where people leave them
//! out, in diacritics is the same word.

mod fold;
mod scripts;

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;

use scripts::Class;

/// Characters of a word that count: longer ones are found by their beginning, and no lexeme is too long for Postgres.
const MAX_WORD_CHARS: usize = 64;

/// A word of a text, folded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// What it is compared by: letters, marks, digits and emoji, nothing else.
    pub text: String,
    /// How it was cut.
    pub kind: Kind,
    /// Its number in the text, from 1. A character and the pair that it begins have the same.
    pub position: u32,
    /// The bytes of the text that it was made of.
    pub bytes: Range<usize>,
}

/// How a word was cut out of its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It stands by itself.
    Whole,
    /// One character of a run without spaces.
    Single,
    /// Two neighbours of such a run.
    Pair,
}

/// The words of a text, in order.
pub fn words(text: &str) -> Vec<Word> {
    let mut cutting = Cutting::default();
    let mut at = 0;
    while at < text.len() {
        let cluster = cluster(&text[at..]);
        let end = at + cluster.len();
        match cluster.chars().next().map_or(Class::Nothing, Class::of) {
            Class::Letter => match &mut cutting.open {
                Some(open) => open.end = end,
                none => *none = Some(at..end),
            },
            Class::Unspaced => {
                cutting.close(text);
                cutting.unspaced(cluster, at..end);
            }
            Class::Emoji => {
                cutting.close(text);
                cutting.push(fold::emoji(cluster), Kind::Whole, at..end);
            }
            Class::Nothing => cutting.close(text),
        }
        at = end;
    }
    cutting.close(text);
    cutting.words
}

/// The first user-perceived character. Between ASCII there is no need to ask the tables.
fn cluster(text: &str) -> &str {
    match text.as_bytes() {
        [_] => text,
        [first, second, ..] if first.is_ascii() && second.is_ascii() => &text[..1],
        _ => text.graphemes(true).next().unwrap_or(text),
    }
}

#[derive(Default)]
struct Cutting {
    words: Vec<Word>,
    position: u32,
    /// The bytes of the word that is being read.
    open: Option<Range<usize>>,
}

impl Cutting {
    fn close(&mut self, text: &str) {
        if let Some(bytes) = self.open.take() {
            self.push(fold::letters(&text[bytes.clone()], MAX_WORD_CHARS), Kind::Whole, bytes);
        }
    }

    fn unspaced(&mut self, cluster: &str, bytes: Range<usize>) {
        let folded = fold::letters(cluster, MAX_WORD_CHARS / 2);
        let before =
            self.words.last().filter(|word| word.kind == Kind::Single && word.bytes.end == bytes.start);
        let pair = before.filter(|_| !folded.is_empty()).map(|before| Word {
            text: format!("{}{folded}", before.text),
            kind: Kind::Pair,
            position: before.position,
            bytes: before.bytes.start..bytes.end,
        });
        self.words.extend(pair);
        self.push(folded, Kind::Single, bytes);
    }

    fn push(&mut self, text: String, kind: Kind, bytes: Range<usize>) {
        if !text.is_empty() {
            self.position = self.position.saturating_add(1);
            self.words.push(Word { text, kind, position: self.position, bytes });
        }
    }
}

#[cfg(test)]
mod tests;
