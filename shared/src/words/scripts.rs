//! Which characters are words, by script.

/// What a character, with the marks that follow it, is to a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// A part of a word.
    Letter,
    /// A letter of a script that puts no spaces between words.
    Unspaced,
    /// A picture, which is a word.
    Emoji,
    /// What stands between words.
    Nothing,
}

impl Class {
    pub(super) fn of(c: char) -> Self {
        if c.is_ascii() {
            return if c.is_ascii_alphanumeric() { Self::Letter } else { Self::Nothing };
        }
        if is_emoji(c) {
            Self::Emoji
        } else if !c.is_alphanumeric() {
            Self::Nothing
        } else if is_unspaced(c) {
            Self::Unspaced
        } else {
            Self::Letter
        }
    }
}

/// Emoji, and the pictures and signs among them that are written like one.
fn is_emoji(c: char) -> bool {
    matches!(c, '\u{203c}' | '\u{2049}' | '\u{2300}'..='\u{23ff}' | '\u{25a0}'..='\u{27bf}'
        | '\u{2934}'..='\u{2935}' | '\u{2b00}'..='\u{2bff}' | '\u{3030}' | '\u{303d}' | '\u{1f000}'..='\u{1faff}')
}

/// Thai, Lao, Burmese, Tai, Khmer, Chinese characters, kana, bopomofo.
fn is_unspaced(c: char) -> bool {
    matches!(c, '\u{0e00}'..='\u{0eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}'
        | '\u{1950}'..='\u{19ff}' | '\u{1a20}'..='\u{1aaf}' | '\u{2e80}'..='\u{2fdf}'
        | '\u{3005}'..='\u{3007}' | '\u{3021}'..='\u{3029}' | '\u{3031}'..='\u{312f}'
        | '\u{31a0}'..='\u{31bf}' | '\u{31f0}'..='\u{31ff}' | '\u{3400}'..='\u{4dbf}'
        | '\u{4e00}'..='\u{9fff}' | '\u{a9e0}'..='\u{a9ff}' | '\u{aa60}'..='\u{aadf}'
        | '\u{f900}'..='\u{faff}' | '\u{ff66}'..='\u{ff9f}' | '\u{16ff0}'..='\u{18cff}'
        | '\u{1aff0}'..='\u{1b16f}' | '\u{20000}'..='\u{3ffff}')
}

/// Whether people leave out the marks on this letter, or write it with others: Latin, Greek, Hebrew, Arabic. In other
/// scripts they are vowels, or make another letter.
pub(super) fn sheds_marks(base: char) -> bool {
    matches!(base, '\0'..='\u{02af}' | '\u{0370}'..='\u{03ff}' | '\u{0590}'..='\u{06ff}'
        | '\u{0750}'..='\u{077f}' | '\u{08a0}'..='\u{08ff}' | '\u{1e00}'..='\u{1fff}')
}
