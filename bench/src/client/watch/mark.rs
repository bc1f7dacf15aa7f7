//! What a message says of itself in its content: its conversation, its place there, and its number in the run.

use memchr::memmem::Finder;

use crate::client::request::digits;

/// Begins a mark. Nothing else of a frame holds it, and JSON leaves it as it is.
const BEGIN: &[u8] = b"#~c";
const CONVERSATION_DIGITS: usize = 8;
const PLACE_DIGITS: usize = 8;
const NUMBER_DIGITS: usize = 10;
const PLACE_AT: usize = BEGIN.len() + CONVERSATION_DIGITS + 1;
const NUMBER_AT: usize = PLACE_AT + PLACE_DIGITS + 1;
/// Bytes of a mark.
pub const MARK_BYTES: usize = NUMBER_AT + NUMBER_DIGITS;

/// One message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Its conversation.
    pub conversation: u32,
    /// Its place there, from 0, without a gap.
    pub place: u32,
    /// Its number in the whole run, from 0.
    pub number: u32,
}

impl Mark {
    /// As it stands in the content.
    pub fn text(self) -> String {
        let Self { conversation, place, number } = self;
        format!("#~c{conversation:0CONVERSATION_DIGITS$}p{place:0PLACE_DIGITS$}n{number:0NUMBER_DIGITS$}")
    }

    /// Writes it over another.
    pub fn write(self, slot: &mut [u8]) {
        digits(&mut slot[BEGIN.len()..][..CONVERSATION_DIGITS], self.conversation.into());
        digits(&mut slot[PLACE_AT..][..PLACE_DIGITS], self.place.into());
        digits(&mut slot[NUMBER_AT..][..NUMBER_DIGITS], self.number.into());
    }
}

/// Finds marks.
pub struct Marks {
    finder: Finder<'static>,
}

impl Default for Marks {
    fn default() -> Self {
        Self { finder: Finder::new(BEGIN) }
    }
}

impl Marks {
    /// Every mark in `data`, in order.
    pub fn of<'a>(&'a self, data: &'a [u8]) -> impl Iterator<Item = Mark> + 'a {
        self.finder.find_iter(data).filter_map(|at| {
            let mark = data.get(at..at + MARK_BYTES)?;
            Some(Mark {
                conversation: number(&mark[BEGIN.len()..][..CONVERSATION_DIGITS])?,
                place: number(&mark[PLACE_AT..][..PLACE_DIGITS])?,
                number: number(&mark[NUMBER_AT..])?,
            })
        })
    }
}

fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0_u32, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| digit - b'0')?;
        number.checked_mul(10)?.checked_add(digit.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_found_again_where_they_were_written() {
        let mark = |conversation, place, number| Mark { conversation, place, number };
        let mut text = format!("{{\"a\":\"{} x\",\"b\":\"{}\"}}", mark(0, 0, 0).text(), mark(1, 2, 3).text());
        let at = text.find("#~c").unwrap();
        let mut bytes = std::mem::take(&mut text).into_bytes();
        mark(7, 89, 4_000_000_000).write(&mut bytes[at..][..MARK_BYTES]);
        let found: Vec<Mark> = Marks::default().of(&bytes).collect();
        assert_eq!(found, [mark(7, 89, 4_000_000_000), mark(1, 2, 3)]);
    }

    #[test]
    fn half_a_mark_is_none() {
        assert_eq!(Marks::default().of(b"#~c00000001p0000").count(), 0);
        assert_eq!(Marks::default().of(b"#~c0000000xp00000001n0000000001").count(), 0);
    }
}
