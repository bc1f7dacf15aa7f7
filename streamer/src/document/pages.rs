//! A conversation as data for `conversation.typ`, and how long it will be on paper.

use serde::Serialize;
use unicode_bidi::{Direction, get_base_direction};
use unicode_segmentation::UnicodeSegmentation;

use super::Document;
use super::lines::{Line, facts, printable};
use crate::limits::{PDF_PAGES, UNBROKEN};

/// Lines on a page, and letters on a line, of the template.
const PAGE: usize = 44;
const LINE: usize = 85;
/// Lines that a message takes beside its text: who speaks, and the space around.
const MESSAGE: usize = 2;

/// What the template shows. Texts are data to it, never markup.
#[derive(Debug, Serialize)]
pub(super) struct Pages {
    pub(super) title: String,
    pub(super) as_of: String,
    facts: Vec<(&'static str, Vec<Paragraph>)>,
    messages: Vec<Turn>,
}

#[derive(Debug, Serialize)]
struct Turn {
    speaker: String,
    said: String,
    note: String,
    content: Vec<Paragraph>,
    below: Vec<Paragraph>,
}

/// Text between two line ends.
#[derive(Debug, PartialEq, Serialize)]
struct Paragraph {
    text: String,
    /// Whether it runs from right to left, as its first letter does.
    rtl: bool,
    /// Decides which shapes Han characters have.
    lang: &'static str,
}

impl Pages {
    pub(super) fn of(document: &Document) -> Self {
        let turn = |line: Line| {
            let sources = (!line.sources.is_empty()).then(|| format!("Sources: {}", line.sources));
            let below = line.attachments.into_iter().chain(sources);
            Turn {
                speaker: line.speaker,
                said: line.said,
                note: line.note,
                content: paragraphs(&line.content),
                below: below.flat_map(|text| paragraphs(&text)).collect(),
            }
        };
        let title = printable(&document.conversation.conversation_id).replace('\n', " ");
        Self {
            title: format!("Conversation {}", breakable(&title)),
            as_of: document.as_of_sequence.to_string(),
            facts: facts(document).into_iter().map(|(label, value)| (label, paragraphs(&value))).collect(),
            messages: document.conversation.messages.iter().map(|message| turn(Line::of(message))).collect(),
        }
    }

    /// About how many pages it takes.
    pub(super) fn count(&self) -> usize {
        let facts = self.facts.iter().flat_map(|(_, value)| value);
        let said = self.messages.iter().flat_map(|turn| turn.content.iter().chain(&turn.below));
        let lines: usize = facts.chain(said).map(Paragraph::lines).sum();
        (lines + self.messages.len() * MESSAGE).div_ceil(PAGE)
    }

    /// Whether it is longer than a PDF may be.
    pub(super) fn too_long(&self) -> bool {
        self.count() > PDF_PAGES
    }
}

impl Paragraph {
    fn lines(&self) -> usize {
        let width = |c: char| if is_wide(c) { 2 } else { 1 };
        self.text.chars().map(width).sum::<usize>().div_ceil(LINE).max(1)
    }
}

/// The paragraphs of a text. Empty lines at the ends do not take paper, and of several in a row one does.
fn paragraphs(text: &str) -> Vec<Paragraph> {
    let mut lines: Vec<_> = text.trim_matches('\n').split('\n').map(str::trim_end).collect();
    lines.dedup_by(|next, line| next.is_empty() && line.is_empty());
    lines.into_iter().map(paragraph).collect()
}

fn paragraph(line: &str) -> Paragraph {
    Paragraph {
        text: breakable(&line.replace('\t', "    ")),
        rtl: matches!(get_base_direction(line), Direction::Rtl),
        lang: language(line),
    }
}

/// Of a text with Han characters: kana are Japanese, hangul is Korean. Otherwise it makes no difference.
fn language(line: &str) -> &'static str {
    let has = |range: std::ops::RangeInclusive<char>| line.chars().any(|c| range.contains(&c));
    if has('\u{3040}'..='\u{30ff}') {
        "ja"
    } else if has('\u{ac00}'..='\u{d7a3}') {
        "ko"
    } else if has('\u{2e80}'..='\u{9fff}') {
        "zh"
    } else {
        "en"
    }
}

/// Han, kana, hangul and emoji: as wide as two letters, and a line may end after any of them.
fn is_wide(c: char) -> bool {
    c >= '\u{2e80}' && !('\u{fb1d}'..='\u{feff}').contains(&c)
}

/// The same text, where a word that is longer than a line may be broken.
fn breakable(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut unbroken = 0;
    for grapheme in line.graphemes(true) {
        let free = grapheme.starts_with(|c: char| c.is_whitespace() || is_wide(c));
        unbroken = if free { 0 } else { unbroken + 1 };
        if unbroken > UNBROKEN {
            text.push('\u{200b}');
            unbroken = UNBROKEN / 2;
        }
        text.push_str(grapheme);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::tests::document;
    use super::*;

    #[test]
    fn a_paragraph_runs_as_its_first_letter_does() {
        let rtl = |text: &str| paragraphs(text).iter().map(|paragraph| paragraph.rtl).collect::<Vec<_>>();
        assert_eq!(rtl("Hello مرحبا\n112: مرحبا Hello\n\nनमस्ते\nשלום"), [false, true, false, false, true]);
    }

    #[test]
    fn han_is_set_as_its_language_does() {
        let of = ["你好", "日本語の", "漢字와", "Hello", "مرحبا 你"];
        assert_eq!(of.map(language), ["zh", "ja", "ko", "en", "zh"]);
    }

    #[test]
    fn only_words_that_are_too_long_may_be_broken() {
        let text = "An ordinary sentence, https://example.org/a, हिन्दी, مرحبا and 你好".repeat(5);
        assert_eq!(breakable(&text.replace(' ', "  ")), text.replace(' ', "  "));
        let han = "你".repeat(500);
        assert_eq!(breakable(&han), han);
        let broken = breakable(&"e\u{301}".repeat(500));
        assert!(broken.split('\u{200b}').all(|part| part.graphemes(true).count() <= UNBROKEN), "{broken}");
        assert_eq!(broken.replace('\u{200b}', ""), "e\u{301}".repeat(500));
    }

    #[test]
    fn empty_lines_take_little_paper() {
        let texts =
            |text: &str| paragraphs(text).into_iter().map(|paragraph| paragraph.text).collect::<Vec<_>>();
        assert_eq!(texts("\n\na\n\n\n \nb\tc\n\n"), ["a", "", "b    c"]);
        assert_eq!(texts(""), [""]);
    }

    #[test]
    fn what_takes_many_pages_is_known_before() {
        assert_eq!(Pages::of(&document(&["Hello"])).count(), 1);
        for long in ["word ".repeat(1_000_000), "a\n".repeat(200_000), "你".repeat(1_000_000)] {
            let pages = Pages::of(&document(&[&long]));
            assert!(pages.too_long(), "{} pages", pages.count());
        }
    }
}
