//! What a body asks for. A field that is not known is refused: one that is misspelt must not be left out in silence.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use shared::http::{Fields, JsonObject};
use shared::ids::{ConversationId, ParticipantId};
use shared::problem::Problem;
use utoipa::ToSchema;

use crate::arguments::{AsOf, Deidentify, Format, Part, SafeHarbor, Selection, Wanted, licence};
use crate::limits::NAMED;

/// What fewer persons than this share is suppressed, where the caller says nothing.
const DEFAULT_K: NonZeroU32 = NonZeroU32::new(5).unwrap();
/// The most that can be asked for: there are no groups so large.
const MOST_K: u64 = 1_000_000;
/// Tables of a data set, where the caller names none.
const ALL: [Part; 3] = [Part::Messages, Part::Conversations, Part::Events];

/// What a data set is to hold. Everything may be left out.
#[derive(Deserialize, ToSchema)]
#[expect(dead_code, reason = "it stands for the body in the document, and is never made")]
#[serde(deny_unknown_fields)]
pub(crate) struct ExportArguments {
    /// How tables are written: `jsonl` where it is left out, `csv` or `parquet`.
    #[schema(pattern = "^(jsonl|csv|parquet)$")]
    format: Option<String>,
    /// Which tables: all where it is left out.
    #[schema(min_items = 1, max_items = 3)]
    include: Option<Vec<String>>,
    /// Until where the log is read: a sequence, or a time in RFC 3339. Its end, where it is left out.
    #[schema(inline)]
    as_of: Option<UntilWhere>,
    /// Rows that last changed at this sequence or later.
    #[schema(minimum = 1)]
    from_sequence: Option<u64>,
    /// Rows that last changed before this sequence.
    #[schema(minimum = 1)]
    to_sequence: Option<u64>,
    /// Messages said, conversations that went on, events stored at this time or later, in RFC 3339.
    #[schema(format = DateTime)]
    from: Option<String>,
    /// The same, before this time.
    #[schema(format = DateTime)]
    to: Option<String>,
    /// What is these participants', or names them.
    #[schema(max_items = 1000)]
    participant: Option<Vec<String>>,
    /// What came through these frontends: `elevenlabs`, `openai`, `call`. Of events, messages alone.
    #[schema(max_items = 3)]
    provider: Option<Vec<String>>,
    /// What is in these conversations.
    #[schema(max_items = 1000)]
    conversation: Option<Vec<String>>,
    /// The licence that the data set names: an SPDX or Open Definition id; `other-closed` where it is left out.
    #[schema(pattern = "^[A-Za-z0-9._-]+$")]
    licence: Option<String>,
    /// Pseudonyms in place of ids, where the operator has set a key for them.
    pseudonymize: Option<bool>,
    /// Addresses, numbers and dates of birth in texts masked, best effort.
    redact: Option<bool>,
    /// Both, and all else of 45 CFR 164.514(b)(2) that a program can do; without events.
    #[schema(pattern = "^safe-harbor$")]
    profile: Option<String>,
    /// Under a profile: what fewer persons than this share is suppressed; 5 where it is left out.
    #[schema(minimum = 1, maximum = 1_000_000)]
    k: Option<u32>,
}

/// A sequence, or a time in RFC 3339.
#[derive(Deserialize, ToSchema)]
#[expect(dead_code, reason = "it stands for a part of the body in the document, and is never made")]
#[serde(untagged)]
enum UntilWhere {
    Sequence(u64),
    Time(String),
}

const _: () = assert!(NAMED == 1_000, "the bounds of lists above are literals");

/// What tells two bodies apart, whatever the order of their fields.
pub(crate) fn digest(object: &JsonObject) -> String {
    let sorted: std::collections::BTreeMap<_, _> = object.iter().collect();
    let text = serde_json::to_vec(&sorted).unwrap_or_default();
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads a body; every bad field is named.
pub(crate) fn parse(object: JsonObject) -> Result<Wanted, Problem> {
    let mut fields = Fields::of(object);
    let format = fields.optional("format", |text| match text.as_str() {
        "jsonl" => Ok(Format::Jsonl),
        "csv" => Ok(Format::Csv),
        "parquet" => Ok(Format::Parquet),
        _ => Err("must be \"jsonl\", \"csv\" or \"parquet\""),
    });
    let deidentify = deidentify(&mut fields);
    let include = names(&mut fields, "include", |text| match text.as_str() {
        "messages" => Ok(Part::Messages),
        "conversations" => Ok(Part::Conversations),
        "events" => Ok(Part::Events),
        _ => Err("must be \"messages\", \"conversations\" or \"events\"".to_owned()),
    });
    let as_of = as_of(&mut fields);
    let from_sequence = fields.integer("from_sequence", 1..=u64::MAX);
    let to_sequence = fields.integer("to_sequence", 1..=u64::MAX);
    let (from, to) = (fields.optional("from", |text| time(&text)), fields.optional("to", |text| time(&text)));
    let participants = names(&mut fields, "participant", |text| {
        ParticipantId::try_from(text).map(|id| id.as_str().to_owned())
    });
    let providers = names(&mut fields, "provider", |text| match text.as_str() {
        "elevenlabs" | "openai" | "call" => Ok(text),
        _ => Err("must be \"elevenlabs\", \"openai\" or \"call\"".to_owned()),
    });
    let conversations = names(&mut fields, "conversation", |text| {
        ConversationId::try_from(text).map(|id| id.as_str().to_owned())
    });
    let licence = fields.optional("licence", |text| licence(&text));
    fields.refuse_others();
    let selection = Selection {
        from_sequence,
        to_sequence,
        from,
        to,
        participants: participants.unwrap_or_default(),
        providers: providers.unwrap_or_default(),
        conversations: conversations.unwrap_or_default(),
    };
    fields.finish(Some(Wanted {
        format: format.unwrap_or(Format::Jsonl),
        include: include.unwrap_or_else(|| match deidentify.safe_harbor {
            Some(_) => [Part::Messages, Part::Conversations].into(),
            None => ALL.into(),
        }),
        as_of,
        selection,
        licence: licence.unwrap_or_else(|| "other-closed".into()),
        deidentify,
        // The service has the key; a mapping is kept by nobody.
        key: None,
        keep_mapping: None,
    }))
}

/// What is done so that it does not tell whom it is of.
fn deidentify(fields: &mut Fields) -> Deidentify {
    let mut flag = |name: &str| match fields.any(name) {
        None | Some(Value::Null) => false,
        Some(Value::Bool(flag)) => flag,
        Some(_) => {
            fields.reject(name, "must be true or false");
            false
        }
    };
    let (pseudonymize, redact) = (flag("pseudonymize"), flag("redact"));
    let profile = fields.optional("profile", |text| match text.as_str() {
        "safe-harbor" => Ok(()),
        _ => Err("must be \"safe-harbor\""),
    });
    let k = fields.integer("k", 1..=MOST_K).and_then(|k| u32::try_from(k).ok()).and_then(NonZeroU32::new);
    if k.is_some() && profile.is_none() {
        fields.reject("k", "goes with a profile");
    }
    let safe_harbor = profile.map(|()| SafeHarbor { k: k.unwrap_or(DEFAULT_K) });
    Deidentify { pseudonymize, redact, safe_harbor }
}

fn time(text: &str) -> Result<DateTime<Utc>, &'static str> {
    let time = DateTime::parse_from_rfc3339(text).map(|time| time.to_utc());
    time.map_err(|_| "must be RFC 3339 with an offset, for example 2026-01-31T12:00:00Z")
}

fn as_of(fields: &mut Fields) -> Option<AsOf> {
    let read = match fields.any("as_of")? {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.as_u64().map(AsOf::Sequence),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    if read.is_none() {
        fields.reject("as_of", "must be a sequence, or a time in RFC 3339 such as 2026-01-31T12:00:00Z");
    }
    read
}

/// A list of texts; `None` where it is left out.
fn names<T: Ord, E: ToString>(
    fields: &mut Fields,
    name: &str,
    parse: impl Fn(String) -> Result<T, E>,
) -> Option<BTreeSet<T>> {
    let items = fields.optional_list(name)?;
    if items.len() > NAMED {
        fields.reject(name, &format!("must have at most {NAMED} items"));
        return None;
    }
    let mut found = BTreeSet::new();
    for (place, item) in items.into_iter().enumerate() {
        let parsed = match item {
            Value::String(text) => parse(text).map_err(|error| error.to_string()),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                Err("must be a string".to_owned())
            }
        };
        match parsed {
            Ok(value) => _ = found.insert(value),
            Err(error) => fields.reject(&format!("{name}[{place}]"), &error),
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> JsonObject {
        let Value::Object(object) = value else { panic!("no object") };
        object
    }

    #[test]
    fn nothing_asked_for_is_everything() {
        let wanted = parse(JsonObject::new()).unwrap();
        assert_eq!(wanted.include.len(), 3);
        assert_eq!((wanted.as_of, wanted.selection), (None, Selection::default()));
    }

    #[test]
    fn every_bad_field_is_named_and_a_misspelt_one_is_bad() {
        let body = object(json!({
            "format": "xlsx", "include": ["messages", "dreams", 3], "as_of": true, "from_sequence": 0,
            "from": "yesterday", "participant": ["RID1", ""], "provider": "openai", "licence": "my own",
            "pseudonymise": true,
        }));
        let problem = parse(body).unwrap_err();
        let named: Vec<_> = problem.errors.iter().map(|error| error.field.as_str()).collect();
        let expected = [
            "format",
            "include[1]",
            "include[2]",
            "as_of",
            "from_sequence",
            "from",
            "participant[1]",
            "provider",
            "licence",
            "pseudonymise",
        ];
        assert_eq!(named, expected);
    }

    #[test]
    fn the_same_body_in_another_order_is_the_same() {
        let [one, same, other] = [r#"{"a": 1, "b": 2}"#, r#"{"b": 2, "a": 1}"#, r#"{"b": 2, "a": 3}"#]
            .map(|text| digest(&serde_json::from_str(text).unwrap()));
        assert_eq!(one, same);
        assert_ne!(one, other);
    }
}
