//! A text as detectors read it: plain letters, digits and signs in place of those that only look otherwise, and without
//! what cannot be seen. Every byte of it knows where it stands in the text.

use std::borrow::Cow;

/// The first of each ten digits of the scripts in use, and of the mathematical ones.
const ZEROS: [u32; 42] = [
    0x660, 0x6F0, 0x7C0, 0x966, 0x9E6, 0xA66, 0xAE6, 0xB66, 0xBE6, 0xC66, 0xCE6, 0xD66, 0xDE6, 0xE50, 0xED0,
    0xF20, 0x1040, 0x1090, 0x17E0, 0x1810, 0x1946, 0x19D0, 0x1A80, 0x1A90, 0x1B50, 0x1BB0, 0x1C40, 0x1C50,
    0xA620, 0xA8D0, 0xA900, 0xA9D0, 0xA9F0, 0xAA50, 0xABF0, 0xFF10, 0x104A0, 0x1D7CE, 0x1D7D8, 0x1D7E2,
    0x1D7EC, 0x1D7F6,
];

/// The value of a decimal digit of any of these scripts.
pub(super) fn digit_of(c: char) -> Option<u8> {
    if c.is_ascii() {
        return c.is_ascii_digit().then_some(c as u8 & 15);
    }
    let found = ZEROS.iter().find(|zero| (**zero..**zero + 10).contains(&u32::from(c)))?;
    u8::try_from(u32::from(c) - found).ok()
}

/// What a character reads as; `None` where it cannot be seen.
fn read(c: char) -> Option<char> {
    let plain = match c {
        '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{180E}' | '\u{FEFF}' => return None,
        '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}' => return None,
        '\u{FE00}'..='\u{FE0F}' | '\u{E0000}'..='\u{E007F}' => return None,
        '\u{A0}' | '\u{2000}'..='\u{200A}' | '\u{202F}' | '\u{205F}' | '\u{3000}' => ' ',
        '\u{2028}' | '\u{2029}' => '\n',
        '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{FE58}' | '\u{FE63}' => '-',
        '\u{3002}' | '\u{FF61}' | '\u{FE52}' | '\u{2024}' => '.',
        '\u{FE6B}' => '@',
        '\u{FE62}' => '+',
        '\u{2044}' | '\u{2215}' => '/',
        // Full width.
        '\u{FF01}'..='\u{FF5E}' => char::from_u32(u32::from(c) - 0xFEE0).unwrap_or(c),
        _ => digit_of(c).map_or(c, |digit| char::from(b'0' + digit)),
    };
    Some(plain)
}

/// See the module.
#[derive(Debug)]
pub(super) struct Shadow<'t> {
    pub(super) text: Cow<'t, str>,
    /// For each byte, and for the end, where its character stands in the text. Empty where both are the same.
    places: Vec<usize>,
}

impl<'t> Shadow<'t> {
    /// Of a text.
    pub(super) fn of(text: &'t str) -> Self {
        if text.is_ascii() {
            return Self { text: Cow::Borrowed(text), places: Vec::new() };
        }
        let (mut shadow, mut places) =
            (String::with_capacity(text.len()), Vec::with_capacity(text.len() + 1));
        for (place, c) in text.char_indices() {
            if let Some(c) = read(c) {
                shadow.push(c);
                places.resize(shadow.len(), place);
            }
        }
        places.push(text.len());
        Self { text: Cow::Owned(shadow), places }
    }

    /// Where in the text a byte of the shadow stands.
    pub(super) fn place(&self, byte: usize) -> usize {
        self.places.get(byte).copied().unwrap_or(byte)
    }

    /// Where in the text what ends before this byte ends: what cannot be seen after it is not its own.
    pub(super) fn end(&self, byte: usize) -> usize {
        let Some(last) = byte.checked_sub(1).filter(|_| !self.places.is_empty()) else { return byte };
        // The next character after the last one that is within.
        let start = self.places[last];
        let next = self.places[last..].iter().find(|place| **place != start);
        next.copied().unwrap_or(start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_otherwise_reads_plain_and_keeps_its_place() {
        let text = "ａ\u{200B}＠b。ｃ ٣४";
        let shadow = Shadow::of(text);
        assert_eq!(shadow.text, "a@b.c 34");
        for (byte, c) in ["ａ", "＠", "b", "。", "ｃ", " ", "٣", "४"].into_iter().enumerate() {
            assert_eq!(&text[shadow.place(byte)..][..c.len()], c);
        }
        assert_eq!(shadow.end(shadow.text.len()), text.len());
        assert_eq!(Shadow::of("plain").place(3), 3);
        for zero in ZEROS {
            for value in 0..10 {
                let c = char::from_u32(zero + value).unwrap();
                assert_eq!(digit_of(c), u8::try_from(value).ok());
                assert!(c.is_numeric(), "{c:?}");
            }
        }
    }
}
