//! The one place where data of an older version becomes data of the newest, before anybody sees it: services, rebuilds,
//! exports and tools all read entries through [`super::Event::from_json`]. Data of the newest version never comes here.
//!
//! How a version is added stands in docs/EVENTS.md.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// How data of one type becomes data of its successor: the next version, or the same under another name.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// The type as it was written, with its version.
    pub from: &'static str,
    /// The type whose data it becomes.
    pub to: &'static str,
    /// Does it. Fails where the data is not of its own version's shape.
    pub lift: fn(&mut Fields) -> Result<(), serde_json::Error>,
}

/// Every step there is, one for each type that is not written any more. Every type is at its first version.
pub const STEPS: &[Step] = &[];

/// The fields of an event's data. What a step does not touch stays as it was written, byte for byte: a report holds a body
/// whose hash stands beside it.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fields(BTreeMap<String, Box<RawValue>>);

impl Fields {
    /// A field's value; `None` where it is absent.
    ///
    /// # Errors
    /// When it is not of that kind.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, serde_json::Error> {
        self.0.get(name).map(|value| serde_json::from_str(value.get())).transpose()
    }

    /// Gives a field a value, whether it was there or not.
    ///
    /// # Errors
    /// When the value is none of JSON's.
    pub fn set(&mut self, name: &str, value: &impl Serialize) -> Result<(), serde_json::Error> {
        self.0.insert(name.to_owned(), serde_json::value::to_raw_value(value)?);
        Ok(())
    }

    /// Gives a field another name, if it is there.
    pub fn rename(&mut self, from: &str, to: &str) {
        if let Some(value) = self.0.remove(from) {
            self.0.insert(to.to_owned(), value);
        }
    }

    /// Takes a field out, if it is there.
    pub fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }
}

/// Data of an older type as that of its newest successor, and that one's name; `None` where no step begins at the type.
///
/// # Errors
/// When the data is not of the shape of its own type, or of one on the way.
pub fn lift(
    steps: &[Step],
    type_name: &str,
    data: &[u8],
) -> Result<Option<(&'static str, Vec<u8>)>, serde_json::Error> {
    let Some(mut step) = step(steps, type_name) else { return Ok(None) };
    let mut fields: Fields = serde_json::from_slice(data)?;
    (step.lift)(&mut fields)?;
    // No way is longer than the table: one that leads back to itself ends, and a test refuses it.
    for _ in steps {
        let Some(next) = self::step(steps, step.to) else { break };
        step = next;
        (step.lift)(&mut fields)?;
    }
    Ok(Some((step.to, serde_json::to_vec(&fields)?)))
}

fn step<'s>(steps: &'s [Step], from: &str) -> Option<&'s Step> {
    steps.iter().find(|step| step.from == from)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::{Event, Payload};
    use super::*;

    /// As a message might change: another name, then a role where there were two flags.
    const MESSAGE: &[Step] = &[
        Step {
            from: "turnlog.turn.said.v1",
            to: "turnlog.turn.said.v2",
            lift: |fields| {
                fields.rename("text", "content");
                Ok(())
            },
        },
        Step {
            from: "turnlog.turn.said.v2",
            to: "turnlog.message.recorded.v1",
            lift: |fields| {
                let by_agent: bool = fields.get("by_agent")?.unwrap_or_default();
                fields.remove("by_agent");
                fields.set("role", &if by_agent { "assistant" } else { "user" })
            },
        },
    ];

    /// As a report might change: a field joins whose absence would mean something else.
    const REPORT: &[Step] = &[Step {
        from: "turnlog.conversation.reported.v0",
        to: "turnlog.conversation.reported.v1",
        lift: |fields| fields.set("turns", &[Some(1), None::<u64>]),
    }];

    fn read(steps: &[Step], type_name: &str, data: &str) -> Result<Option<Event>, serde_json::Error> {
        let Some((newest, data)) = lift(steps, type_name, data.as_bytes())? else { return Ok(None) };
        Event::from_json(newest, &data)
    }

    #[test]
    fn data_of_every_version_becomes_the_newest_step_by_step() {
        let rest = r#""conversation_id":"c","ordinal":1,"timestamp":"2025-01-08T12:00:00+05:30","provider":"openai""#;
        let newest = format!(r#"{{{rest},"role":"assistant","content":"I fell."}}"#);
        let newest = Event::from_json("turnlog.message.recorded.v1", newest.as_bytes()).unwrap();
        let first = format!(r#"{{{rest},"by_agent":true,"text":"I fell."}}"#);
        let second = format!(r#"{{{rest},"by_agent":true,"content":"I fell."}}"#);
        assert_eq!(read(MESSAGE, "turnlog.turn.said.v1", &first).unwrap(), newest);
        assert_eq!(read(MESSAGE, "turnlog.turn.said.v2", &second).unwrap(), newest);
        assert!(read(MESSAGE, "turnlog.turn.said.v3", &second).unwrap().is_none(), "of a newer version");
        assert!(
            lift(MESSAGE, "turnlog.message.recorded.v1", b"{}").unwrap().is_none(),
            "nothing is done to the newest"
        );
    }

    #[test]
    fn what_no_step_touches_stays_as_it_was_written() {
        // Keys twice, numbers that no float holds, spaces: as a vendor wrote it, and hashed.
        let body = r#"{ "b": 1e400, "a":18446744073709551617.10,  "a" : null, "é": "\u00e9" }"#;
        let data = format!(
            r#"{{"conversation_id":"c","source":"elevenlabs_webhook","kind":"k","sha256":"s","payload":{{"json":{body}}}}}"#
        );
        let event = read(REPORT, "turnlog.conversation.reported.v0", &data).unwrap();
        let Some(Event::ConversationReported(report)) = event else { panic!("{event:?}") };
        let Payload::Json(json) = report.payload else { panic!("not in the event") };
        assert_eq!((json.text(), report.turns), (body, vec![Some(1), None]));
    }

    #[test]
    fn data_that_is_not_of_its_version_is_an_error_and_no_panic() {
        for wrong in ["", "[]", "null", "{", r#"{"by_agent": "no"}"#, r#"{"by_agent": true}"#] {
            assert!(read(MESSAGE, "turnlog.turn.said.v2", wrong).is_err(), "{wrong}");
        }
        let deep = format!(r#"{{"by_agent": {}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        assert!(read(MESSAGE, "turnlog.turn.said.v2", &deep).is_err());
    }

    #[test]
    fn a_table_that_leads_back_to_itself_ends() {
        let nothing: fn(&mut Fields) -> Result<(), serde_json::Error> = |_| Ok(());
        let steps = [Step { from: "a", to: "b", lift: nothing }, Step { from: "b", to: "a", lift: nothing }];
        assert!(lift(&steps, "a", b"{}").unwrap().is_some());
    }

    /// Of the table of the program.
    #[test]
    fn every_step_leads_to_a_type_that_is_written_and_begins_at_one_that_is_not() {
        let mut begun = BTreeSet::new();
        for step in STEPS {
            assert!(begun.insert(step.from), "two steps begin at {}", step.from);
            assert!(Event::is_known(step.to), "{} leads nowhere", step.from);
            let mut at = step;
            for _ in STEPS {
                at = self::step(STEPS, at.to).unwrap_or(at);
            }
            assert!(self::step(STEPS, at.to).is_none(), "{} leads back to itself", step.from);
        }
    }
}
