//! What every kind of file shows of a message, and text that shows what it is.

use chrono::DateTime;
use serde_json::{Value, json};

use super::Document;
use crate::view::MessageView;

/// A message as people read it. Fields come from what callers of the snapshot see, by its names.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Line {
    pub(super) speaker: String,
    /// With the offset it was given in.
    pub(super) said: String,
    pub(super) content: String,
    pub(super) sources: String,
    /// One line for each.
    pub(super) attachments: Vec<String>,
    /// Its first version's place in the log, and what else there is to know of it.
    pub(super) note: String,
}

impl Line {
    pub(super) fn of(message: &MessageView) -> Self {
        let view = json!(message);
        let mut note = format!("#{}", message.sequence);
        if message.version > message.sequence {
            note.insert_str(0, "corrected \u{b7} ");
        }
        if view["late"] == true {
            note.insert_str(0, "after the end \u{b7} ");
        }
        Self {
            speaker: capitalised(&message.role),
            said: time(&text(&view["timestamp"])),
            content: printable(&message.content),
            sources: printable(&text(&view["sources"])),
            attachments: attachments(&view).collect(),
            note,
        }
    }
}

/// What there is to say of an attachment, in one line: its kind and name first, its address last.
fn attachments(view: &Value) -> impl Iterator<Item = String> {
    let all = view["attachments"].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().map(|attachment| {
        let place = match (&attachment["latitude"], &attachment["longitude"]) {
            (Value::Number(latitude), Value::Number(longitude)) => format!("{latitude}, {longitude}"),
            _ => String::new(),
        };
        let named = |name: &str| text(&attachment[name]);
        let parts = [named("kind"), named("name"), place, named("media_type"), named("url")];
        let parts: Vec<_> =
            parts.iter().map(|part| printable(part)).filter(|part| !part.is_empty()).collect();
        parts.join(" \u{b7} ").replace('\n', " ")
    })
}

/// What is known of the conversation, by label, in the order it is read in.
pub(super) fn facts(document: &Document) -> Vec<(&'static str, String)> {
    let (conversation, report) = (json!(document.conversation), json!(document.report));
    let began = time(&text(&conversation["timestamp"]));
    let seconds = document.report.duration_seconds.map(duration);
    let all = [
        ("Title", text(&report["title"])),
        ("Status", text(&conversation["status"])),
        ("Call", text(&conversation["call_id"])),
        ("Worker", text(&conversation["worker_id"])),
        ("Telephone", text(&conversation["mobile_no"])),
        ("Urgency", text(&conversation["urgency"])),
        ("Medium", text(&conversation["medium"])),
        ("Admin", text(&conversation["admin_id"])),
        ("Began", began),
        ("Ended", time(&text(&report["ended_at"]))),
        ("Duration", seconds.unwrap_or_default()),
        ("Outcome", text(&report["outcome"])),
        ("Judged", text(&report["call_successful"])),
        ("Reason of the end", text(&report["termination_reason"])),
        ("Language", text(&report["language"])),
        ("Messages", document.conversation.total_messages.to_string()),
        ("Summary", text(&report["summary"])),
    ];
    all.into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(label, value)| (label, printable(&value)))
        .collect()
}

/// A text, or a list of them; what is not there is empty.
fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// `2025-10-03T11:58:04+05:30` as people read it.
fn time(stamp: &str) -> String {
    match DateTime::parse_from_rfc3339(stamp) {
        Ok(time) => time.format("%Y-%m-%d %H:%M:%S %:z").to_string(),
        Err(_) => stamp.to_owned(),
    }
}

fn duration(seconds: i64) -> String {
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{hours}:{minutes:02}:{seconds:02}")
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// The same text with one kind of line end, and without what would steer a terminal or a printer instead of being read.
pub(super) fn printable(text: &str) -> String {
    let text = text.replace("\r\n", "\n");
    let shown = |c: char| match c {
        '\t' => '\t',
        '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}' => '\n',
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests::message;

    #[test]
    fn a_line_says_who_when_and_what_became_of_it() {
        let line = Line::of(&message(4, 4, 1));
        assert_eq!((line.speaker.as_str(), line.note.as_str()), ("User", "#4"));
        assert_eq!(line.said, "1970-01-01 00:00:00 +00:00");
        assert_eq!(Line::of(&message(4, 9, 1)).note, "corrected \u{b7} #4");
    }

    #[test]
    fn attachments_are_told_in_one_line_each() {
        let view = json!({"attachments": [
            {"kind": "location", "latitude": 18.5, "longitude": 73.9, "name": "Gate\n2", "url": null},
            {"kind": "image", "url": "https://example.org/a.png", "media_type": "image/png"},
        ]});
        let told: Vec<_> = attachments(&view).collect();
        let expected = [
            "location \u{b7} Gate 2 \u{b7} 18.5, 73.9",
            "image \u{b7} image/png \u{b7} https://example.org/a.png",
        ];
        assert_eq!(told, expected);
        assert_eq!(attachments(&json!({})).count(), 0);
    }

    #[test]
    fn what_steers_a_terminal_is_shown_instead() {
        assert_eq!(printable("a\r\nb\rc\u{2028}d\te"), "a\nb\nc\nd\te");
        assert_eq!(printable("\u{1b}[2J\u{7}\u{9b}"), "\u{fffd}[2J\u{fffd}\u{fffd}");
        assert_eq!(printable("नमस्ते \u{200f}👩\u{200d}🚒"), "नमस्ते \u{200f}👩\u{200d}🚒");
    }

    #[test]
    fn a_duration_is_read_like_a_clock() {
        assert_eq!((duration(59), duration(3_725)), ("0:00:59".to_owned(), "1:02:05".to_owned()));
    }
}
