//! The part of a message that shows why it was found.

use std::ops::Range;

use serde::Serialize;
use utoipa::ToSchema;

use crate::limits::{SNIPPET_BEFORE, SNIPPET_CHARS};

/// A part of a message, with what was found in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Snippet {
    /// About 200 characters; `…` stands where more was cut off.
    pub(crate) text: String,
    /// Begin and end of each place that was found, in characters (Unicode code points) of `text`.
    #[schema(example = json!([[12, 16]]))]
    pub(crate) highlights: Vec<[usize; 2]>,
    /// The same as HTML: the text escaped, the places within `<mark>`. Nothing else in it is markup.
    pub(crate) html: String,
}

impl Snippet {
    /// Of the part with the most places.
    pub(crate) fn of(content: &str, marks: &[Range<usize>]) -> Self {
        let part = part(content, marks);
        let mut snippet = Self { text: String::new(), highlights: Vec::new(), html: String::new() };
        let mut at = part.start;
        snippet.plain(if part.start > 0 { "…" } else { "" });
        for mark in marks.iter().filter(|mark| mark.start >= part.start && mark.start < part.end) {
            // What is longer than a snippet is cut with it.
            let end = mark.end.min(part.end);
            snippet.plain(&content[at..mark.start]);
            snippet.marked(&content[mark.start..end]);
            at = end;
        }
        snippet.plain(&content[at..part.end]);
        snippet.plain(if part.end < content.len() { "…" } else { "" });
        snippet
    }

    fn plain(&mut self, text: &str) {
        self.text.push_str(text);
        for c in text.chars() {
            match c {
                '&' => self.html.push_str("&amp;"),
                '<' => self.html.push_str("&lt;"),
                '>' => self.html.push_str("&gt;"),
                '"' => self.html.push_str("&quot;"),
                '\'' => self.html.push_str("&#39;"),
                c => self.html.push(c),
            }
        }
    }

    fn marked(&mut self, text: &str) {
        let start = self.text.chars().count();
        self.html.push_str("<mark>");
        self.plain(text);
        self.html.push_str("</mark>");
        self.highlights.push([start, self.text.chars().count()]);
    }
}

/// The part that has the most marks: it begins a little before one of them, at the edge of a word.
fn part(content: &str, marks: &[Range<usize>]) -> Range<usize> {
    // How many marks begin within a snippet's length of each; bytes are near enough.
    let within = |from: usize| {
        marks[from..].iter().take_while(|mark| mark.start < marks[from].start + SNIPPET_CHARS).count()
    };
    let best = (0..marks.len()).rev().max_by_key(|from| within(*from));
    let first = best.map_or(0, |best| marks[best].start);
    let before =
        content[..first].char_indices().rev().take(SNIPPET_BEFORE).last().map_or(first, |(at, _)| at);
    let start = if before == 0 { 0 } else { edge(content, before, first) };
    let longest =
        content[start..].char_indices().nth(SNIPPET_CHARS).map_or(content.len(), |(at, _)| start + at);
    if longest == content.len() {
        return start..longest;
    }
    // Back to the end of the last whole word, but not into the first mark.
    let least = best.map_or(start, |best| marks[best].end).min(longest);
    let end = content[least..longest].rfind(char::is_whitespace).map_or(longest, |at| least + at);
    start..end
}

/// The first beginning of a word from `from` on, or `to`, if there are spaces; else `from` itself.
fn edge(content: &str, from: usize, to: usize) -> usize {
    let text = &content[from..to];
    match text.find(char::is_whitespace) {
        Some(space) => to - text[space..].trim_start().len(),
        None => from,
    }
}

#[cfg(test)]
mod tests {
    use super::super::query::Query;
    use super::*;

    fn snippet(query: &str, content: &str) -> Snippet {
        let snippet = Snippet::of(content, &Query::parse(query).unwrap().find(content).unwrap());
        // Both forms say the same.
        let chars: Vec<char> = snippet.text.chars().collect();
        let marked: Vec<String> =
            snippet.highlights.iter().map(|[start, end]| chars[*start..*end].iter().collect()).collect();
        assert_eq!(snippet.html.matches("<mark>").count(), marked.len());
        assert!(snippet.highlights.iter().all(|[start, end]| start < end));
        snippet
    }

    #[test]
    fn a_short_message_is_shown_whole_and_escaped() {
        let found = snippet("help now", "<b>Help</b> & \"now\" <script>alert('x')</script>");
        assert_eq!(found.text, "<b>Help</b> & \"now\" <script>alert('x')</script>");
        assert_eq!(found.highlights, [[3, 7], [15, 18]]);
        assert_eq!(
            found.html,
            "&lt;b&gt;<mark>Help</mark>&lt;/b&gt; &amp; &quot;<mark>now</mark>&quot; \
             &lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;"
        );
    }

    #[test]
    fn of_a_long_message_the_part_with_most_places_is_shown() {
        let filler = "lorem ipsum dolor ".repeat(100);
        let content = format!("help {filler}call for help, send help {filler}");
        let found = snippet("help", &content);
        assert_eq!(found.highlights.len(), 2);
        assert!(found.text.starts_with("…") && found.text.ends_with('…'), "{}", found.text);
        assert!(found.text.contains(" call for help, send help lorem"), "{}", found.text);
        assert!(found.text.chars().count() <= SNIPPET_CHARS + 2);
        let words =
            |text: &str| text.trim_matches('…').split(' ').all(|word| content.contains(&format!("{word} ")));
        assert!(words(&found.text), "{}", found.text);
    }

    #[test]
    fn texts_without_spaces_and_long_places_are_cut_between_characters() {
        let content = format!("{}救急車{}", "あ".repeat(3_000), "い".repeat(3_000));
        let found = snippet("救急車", &content);
        assert!(found.html.contains("あ<mark>救急車</mark>い"), "{}", found.html);
        let long = "क".repeat(50) + &"्ष".repeat(5_000);
        let whole = std::iter::once(0..long.len()).collect::<Vec<_>>();
        assert!(Snippet::of(&long, &whole).text.chars().count() <= SNIPPET_CHARS + 1);
        assert_eq!(Snippet::of("", &[]).text, "");
    }
}
