//! Different spellings of one word, made the same.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use super::scripts::sheds_marks;

/// Letters, marks and digits in one width, case and composition; Latin, Greek, Hebrew and Arabic without their marks.
pub(super) fn letters(text: &str, at_most: usize) -> String {
    if text.is_ascii() {
        let mut lower = text.to_ascii_lowercase();
        lower.truncate(at_most);
        return lower;
    }
    let mut bare = String::with_capacity(text.len());
    let mut sheds = false;
    for c in text.nfkd().flat_map(char::to_lowercase) {
        if is_combining_mark(c) {
            if !sheds {
                bare.push(c);
            }
        // The tatweel only stretches a line.
        } else if c.is_alphanumeric() && c != '\u{0640}' {
            sheds = sheds_marks(c);
            match same_as(c) {
                Some(letters) => bare.push_str(letters),
                None => bare.push(c),
            }
        }
    }
    bare.nfc().take(at_most).collect()
}

/// Letters that do not come apart into a plain one and a mark, but are typed as these by whoever lacks them.
fn same_as(c: char) -> Option<&'static str> {
    Some(match c {
        'ß' => "ss",
        'æ' => "ae",
        'œ' => "oe",
        'ø' => "o",
        'đ' | 'ð' => "d",
        'ħ' => "h",
        'ı' => "i",
        'ł' => "l",
        'ŧ' => "t",
        'þ' => "th",
        'ς' => "σ",
        _ => return None,
    })
}

/// One emoji, whatever its skin tone and with or without the sign that asks for colour.
pub(super) fn emoji(cluster: &str) -> String {
    cluster.chars().filter(|c| !matches!(c, '\u{fe0e}' | '\u{fe0f}' | '\u{1f3fb}'..='\u{1f3ff}')).collect()
}
