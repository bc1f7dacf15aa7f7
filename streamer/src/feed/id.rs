//! Ids of frames: `<epoch>-<sequence>`, opaque to clients.

/// What a client's last id means to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LastId {
    /// It has everything up to this sequence.
    Seen(u64),
    /// It cannot be continued from.
    Lost(Lost),
}

/// Why an id cannot be continued from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lost {
    /// Not an id of ours.
    Unknown,
    /// Of a log that this one has replaced.
    OtherEpoch,
    /// Past the end of the log.
    Future,
}

impl Lost {
    /// As it stands in a `reset` frame.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown_id",
            Self::OtherEpoch => "other_epoch",
            Self::Future => "future_id",
        }
    }
}

/// Reads a client's last id. Whether the log reaches that far is not known here.
pub(crate) fn parse(text: &str, epoch: &str) -> LastId {
    let Some((of, digits)) = text.rsplit_once('-') else { return LastId::Lost(Lost::Unknown) };
    let canonical = digits.parse::<u64>().ok().filter(|number| number.to_string() == digits);
    match canonical {
        Some(sequence) if of == epoch => LastId::Seen(sequence),
        Some(_) if !of.is_empty() => LastId::Lost(Lost::OtherEpoch),
        Some(_) | None => LastId::Lost(Lost::Unknown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_id_of_this_epoch_is_continued() {
        assert_eq!(parse("abc-12", "abc"), LastId::Seen(12));
        assert_eq!(parse("abc-0", "abc"), LastId::Seen(0));
        assert_eq!(parse("xyz-12", "abc"), LastId::Lost(Lost::OtherEpoch));
    }

    #[test]
    fn what_is_no_id_is_unknown() {
        for text in [
            "",
            "-",
            "abc",
            "abc-",
            "abc--",
            "-12",
            "abc-012",
            "abc-+1",
            "abc-1.0",
            "abc-18446744073709551616",
            "🦀-x",
        ] {
            assert_eq!(parse(text, "abc"), LastId::Lost(Lost::Unknown), "{text}");
        }
        assert_eq!(parse("abc--1", "abc"), LastId::Lost(Lost::OtherEpoch));
    }
}
