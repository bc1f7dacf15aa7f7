//! A message to what Postgres calls a tsvector, in its text form.

use std::collections::HashMap;
use std::fmt::Write;

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use shared::words::words;

/// A block is this many bits of a sequence: 4096 of them.
pub(crate) const BLOCK_BITS: i32 = 12;
/// Blocks come in three sizes, each eight times the one before. `turnlog.search` knows them too.
const BLOCKS: [(u8, i32); 3] = [(0, BLOCK_BITS), (1, BLOCK_BITS + 3), (2, BLOCK_BITS + 6)];
/// Positions that a tsvector can hold: later ones would all become the last.
const MAX_POSITION: u32 = 16_383;
/// Positions of one word that a tsvector can hold.
const MAX_OCCURRENCES: usize = 255;
/// Bytes of words and positions: Postgres takes 1 MiB. Texts of the default greatest length stay well below.
const MAX_BYTES: usize = 900_000;

/// A message as far as it is searched.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) sequence: i64,
    pub(crate) conversation: String,
    pub(crate) participant_id: Option<String>,
    pub(crate) content: String,
    pub(crate) said_at: DateTime<Utc>,
}

impl Source {
    /// Its words with their positions, and what searches are narrowed to. Words hold nothing that would have to be
    /// quoted, and none begins with =.
    pub(crate) fn document(&self) -> String {
        let Self { sequence, conversation, participant_id, content, .. } = self;
        let words = words(content);
        let (lexemes, complete) = lexemes(&words);
        let mut text = String::with_capacity(content.len() * 2 + 128);
        for (word, positions) in lexemes {
            let _ = write!(text, "'{word}'");
            for (index, position) in positions.iter().enumerate() {
                let _ = write!(text, "{}{position}", if index == 0 { ':' } else { ',' });
            }
            text.push(' ');
        }
        if !complete {
            text.push_str("'=l' ");
        }
        for (size, bits) in BLOCKS {
            let _ = write!(text, "'={size}:{}' ", sequence >> bits);
        }
        if let Some(participant) = participant_id {
            let hash = Sha256::digest(participant.as_bytes());
            let _ = write!(text, "'=p:{}' ", hex::encode(&hash[..8]));
        }
        let _ = write!(text, "'=c:{conversation}'");
        text
    }
}

/// Each word once with its positions, and whether that is all there is.
fn lexemes(words: &[shared::words::Word]) -> (HashMap<&str, Vec<u32>>, bool) {
    let mut lexemes: HashMap<&str, Vec<u32>> = HashMap::with_capacity(words.len());
    let (mut bytes, mut complete) = (0, true);
    for word in words {
        let known = lexemes.contains_key(word.text.as_str());
        // A lexeme, how many positions it has and how it is aligned; a position.
        let cost = if known { 2 } else { word.text.len() + 6 };
        if bytes + cost > MAX_BYTES {
            complete = false;
            continue;
        }
        bytes += cost;
        let positions = lexemes.entry(&word.text).or_default();
        if word.position <= MAX_POSITION && positions.len() < MAX_OCCURRENCES {
            positions.push(word.position);
        } else {
            complete = false;
        }
    }
    (lexemes, complete)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(sequence: i64, participant: Option<&str>, content: &str) -> Vec<String> {
        let source = Source {
            sequence,
            conversation: "tok".into(),
            participant_id: participant.map(str::to_owned),
            content: content.to_owned(),
            said_at: DateTime::UNIX_EPOCH,
        };
        let mut lexemes: Vec<_> = source.document().split(' ').map(str::to_owned).collect();
        lexemes.sort();
        lexemes
    }

    #[test]
    fn a_document_has_words_with_positions_and_what_it_is_narrowed_by() {
        let narrowed = ["'=0:24'", "'=1:3'", "'=2:0'", "'=c:tok'", "'=p:4bea01b763414ccc'"];
        let words = ["'help':1,3", "'me':2"];
        assert_eq!(document(100_000, Some("RID"), "Help me, HELP!")[..], [&narrowed[..], &words].concat());
        assert_eq!(document(1, None, "…"), ["'=0:0'", "'=1:0'", "'=2:0'", "'=c:tok'"]);
    }

    #[test]
    fn what_cannot_be_positioned_is_still_found_and_says_so() {
        let often = document(1, None, &"x ".repeat(300));
        let many: String = (0..20_000).map(|n| format!("w{n} ")).collect();
        let many = document(1, None, &many);
        assert!(often.contains(&"'=l'".to_owned()) && many.contains(&"'=l'".to_owned()));
        assert!(many.contains(&"'w16382':16383".to_owned()) && many.contains(&"'w19999'".to_owned()));
        let positions = often.iter().find(|lexeme| lexeme.starts_with("'x'")).unwrap();
        assert_eq!(positions.split(',').count(), 255);
        let huge: String = (0..400_000).map(|n| format!("w{n} ")).collect();
        assert!(document(1, None, &huge).concat().len() < 3 << 20);
    }
}
