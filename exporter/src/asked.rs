//! What the audit log keeps of what was asked for.

use serde_json::{Value, json};
use shared::subjects::{Aggregate, Subject};

use crate::arguments::{Arguments, AsOf, Selection, Wanted};

impl Wanted {
    /// What the audit log says was asked for. Participants stand there by the tokens of their subjects, since nothing is ever
    /// taken out of it.
    #[must_use]
    pub fn asked(&self) -> Value {
        let Self { format, include, as_of, selection, licence, deidentify, key: _, keep_mapping } = self;
        let as_of = match as_of {
            Some(AsOf::Sequence(sequence)) => json!(sequence),
            Some(AsOf::Time(time)) => json!(time),
            Some(AsOf::End) | None => json!("end"),
        };
        json!({
            "format": format, "include": include, "as_of": as_of, "licence": licence, "selection": masked(selection),
            "deidentify": deidentify, "keeps_mapping": keep_mapping.is_some(),
        })
    }
}

impl Arguments {
    /// The same, once every choice is made.
    pub(crate) fn asked(&self) -> Value {
        let Self { format, include, as_of, licence, deidentify, selection } = self;
        json!({
            "format": format, "include": include, "as_of": as_of, "licence": licence, "selection": masked(selection),
            "deidentify": deidentify,
        })
    }
}

fn masked(selection: &Selection) -> Selection {
    let token = |id: &String| Subject::of(Aggregate::Participant, id).token().to_owned();
    Selection { participants: selection.participants.iter().map(token).collect(), ..selection.clone() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::{Deidentify, Format, Part, Selection, Wanted};

    #[test]
    fn it_says_what_was_asked_for_and_names_no_participant() {
        let wanted = Wanted {
            format: Format::Csv,
            include: BTreeSet::from([Part::Messages]),
            as_of: None,
            selection: Selection {
                from_sequence: Some(3),
                participants: BTreeSet::from(["RID001".to_owned()]),
                ..Selection::default()
            },
            licence: "other-closed".into(),
            deidentify: Deidentify::default(),
            key: None,
            keep_mapping: None,
        };
        let asked = wanted.asked();
        assert_eq!((&asked["format"], &asked["selection"]["from_sequence"]), (&"csv".into(), &3.into()));
        assert_eq!(asked["selection"]["participants"][0].as_str().map(str::len), Some(24));
        assert!(!asked.to_string().contains("RID001"), "{asked}");
    }
}
