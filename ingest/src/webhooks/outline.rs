//! What a webhook says it is, found without holding it in memory.

use std::cell::Cell;
use std::fmt;
use std::io::{self, BufReader, Read};
use std::ops::Range;

use serde::Deserializer as _;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use shared::report::{Heading, Object, heading};

use super::spool::{Content, Spooled};

/// Bytes read at once.
const PART_BYTES: usize = 64 * 1024;
/// Bytes of the members that say what a webhook is; longer ones say nothing.
const MAX_MEMBER_BYTES: u64 = 64 * 1024;

/// What a body says it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outline {
    /// Its kind, conversation and time; absent in a body that is no object.
    pub heading: Option<Heading>,
    /// The agent that was talked to.
    pub agent_id: Option<String>,
    /// Where the text of `data.full_audio` lies, between its quotes.
    pub full_audio: Option<Range<u64>>,
}

/// The body is not JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the body is not JSON: line {line} column {column}")]
pub struct NotJson {
    line: usize,
    column: usize,
}

/// Why there is no outline.
#[derive(Debug, thiserror::Error)]
pub enum NoOutline {
    /// The body is not JSON.
    #[error(transparent)]
    NotJson(#[from] NotJson),
    /// The body could not be read again.
    #[error("the spooled body cannot be read: {0}")]
    Unreadable(#[from] io::Error),
}

/// Reads the whole body: is it JSON, and what does it say it is? Neither deep nesting, long numbers, lone surrogates nor
/// repeated names are a reason to fail.
///
/// # Errors
/// [`NoOutline`].
pub async fn scan(spooled: &Spooled) -> Result<Outline, NoOutline> {
    let reader = spooled.read_from(0);
    let outline = move || outline(&|place| reader.at(place));
    match &spooled.content {
        Content::Memory(_) => outline(),
        Content::File(_) => tokio::task::spawn_blocking(outline).await.map_err(io::Error::other)?,
    }
}

fn outline<R: Read>(open: &dyn Fn(u64) -> R) -> Result<Outline, NoOutline> {
    let members = match members(open(0)) {
        Ok(members) => members,
        // What the look inside stumbled over may be JSON all the same; then it is just not known what it is.
        Err(_) => return valid(open(0)).map(|()| Outline::default()),
    };
    let text =
        |range: &Option<Range<u64>>| range.as_ref().map_or(Ok("null".to_owned()), |range| slice(open, range));
    let (kind, at) = (text(&members.kind)?, text(&members.at)?);
    let (conversation, agent) = (text(&members.conversation)?, text(&members.agent)?);
    let small = format!(
        r#"{{"type":{kind},"event_timestamp":{at},"data":{{"conversation_id":{conversation},"agent_id":{agent}}}}}"#
    );
    let small = RawValue::from_string(small).map_err(io::Error::other)?;
    let data = Object::read(&small).and_then(|body| body.object("data"));
    Ok(Outline {
        heading: heading(&small),
        agent_id: data.and_then(|data| data.word("agent_id")),
        full_audio: members.audio.map(|range| inside_quotes(open, range)).transpose()?.flatten(),
    })
}

/// Where the text of a string lies; `None` for a value that is no string.
fn inside_quotes<R: Read>(open: &dyn Fn(u64) -> R, range: Range<u64>) -> io::Result<Option<Range<u64>>> {
    for (place, byte) in (range.start..).zip(BufReader::new(open(range.start)).bytes()) {
        match byte? {
            b' ' | b'\t' | b'\r' | b'\n' => {}
            b'"' => return Ok(Some(place + 1..range.end - 1)),
            _ => break,
        }
    }
    Ok(None)
}

/// Where the members lie that say what a webhook is. Of several with one name the last counts.
#[derive(Debug, Default)]
struct Members {
    kind: Option<Range<u64>>,
    at: Option<Range<u64>>,
    conversation: Option<Range<u64>>,
    agent: Option<Range<u64>>,
    audio: Option<Range<u64>>,
}

fn members(reader: impl Read) -> Result<Members, NotJson> {
    let place = Cell::new(0);
    let mut members = Members::default();
    let counted = Counted { inner: BufReader::with_capacity(PART_BYTES, reader), place: &place };
    let mut json = serde_json::Deserializer::from_reader(counted);
    let look = Look { place: &place, members: &mut members, inside: false };
    json.deserialize_map(look).and_then(|()| json.end()).map_err(not_json)?;
    Ok(members)
}

fn valid(reader: impl Read) -> Result<(), NoOutline> {
    let mut json = serde_json::Deserializer::from_reader(BufReader::with_capacity(PART_BYTES, reader));
    let read = json.deserialize_ignored_any(IgnoredAny).and_then(|_| json.end());
    read.map_err(|error| if error.is_io() { io::Error::from(error).into() } else { not_json(error).into() })
}

#[expect(clippy::needless_pass_by_value, reason = "as map_err hands it over")]
fn not_json(error: serde_json::Error) -> NotJson {
    NotJson { line: error.line(), column: error.column() }
}

/// The text of a small value; `null` for a large one. The end of a number is only seen by what comes after it, so the
/// range of one is longer by that.
fn slice<R: Read>(open: &dyn Fn(u64) -> R, range: &Range<u64>) -> io::Result<String> {
    if range.end - range.start > MAX_MEMBER_BYTES {
        return Ok("null".into());
    }
    let mut bytes = Vec::new();
    open(range.start).take(range.end - range.start).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let first = serde_json::Deserializer::from_str(&text).into_iter::<&RawValue>().next();
    Ok(first.and_then(Result::ok).map_or("null", RawValue::get).to_owned())
}

/// Goes through an object, and through its `data`.
struct Look<'a> {
    place: &'a Cell<u64>,
    members: &'a mut Members,
    inside: bool,
}

impl<'de> Visitor<'de> for Look<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            if !self.inside && name == "data" {
                let (kind, at) = (self.members.kind.take(), self.members.at.take());
                *self.members = Members { kind, at, ..Members::default() };
                map.next_value_seed(Inside(Look { place: self.place, members: self.members, inside: true }))?;
                continue;
            }
            let found = Some(map.next_value_seed(Place(self.place))?);
            match (self.inside, name.as_str()) {
                (false, "type") => self.members.kind = found,
                (false, "event_timestamp") => self.members.at = found,
                (true, "conversation_id") => self.members.conversation = found,
                (true, "agent_id") => self.members.agent = found,
                (true, "full_audio") => self.members.audio = found,
                _ => {}
            }
        }
        Ok(())
    }
}

struct Inside<'a>(Look<'a>);

impl<'de> DeserializeSeed<'de> for Inside<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self.0)
    }
}

/// Passes a value over and says where it lies, with the blanks before it.
struct Place<'a>(&'a Cell<u64>);

impl<'de> DeserializeSeed<'de> for Place<'_> {
    type Value = Range<u64>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Range<u64>, D::Error> {
        // Between the colon and the value: nothing is read ahead here.
        let from = self.0.get();
        deserializer.deserialize_ignored_any(IgnoredAny)?;
        Ok(from..self.0.get())
    }
}

/// Counts what is taken, one byte at a time, which is how the parser takes it: after a value the count is its end.
struct Counted<'a, R> {
    inner: R,
    place: &'a Cell<u64>,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.place.set(self.place.get() + read as u64);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scanned(text: &str) -> Result<Outline, NoOutline> {
        let bytes = text.as_bytes().to_vec();
        outline(&move |place| {
            let mut cursor = io::Cursor::new(bytes.clone());
            cursor.set_position(place);
            cursor
        })
    }

    fn found(text: &str) -> Outline {
        scanned(text).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn what_a_webhook_says_it_is_is_found_wherever_it_stands() {
        let text = r#" {"x":[{"type":"no"}], "data" : {"full_audio" : "QUJD", "agent_id":"a\u0031",
            "conversation_id":"conv_1" } , "type":"post_call_audio","event_timestamp": 1700000000} "#;
        let outline = found(text);
        let heading = outline.heading.unwrap();
        assert_eq!(heading.kind.as_deref(), Some("post_call_audio"));
        assert_eq!(heading.conversation.unwrap().as_str(), "conv_1");
        assert_eq!(heading.reported_at.unwrap().timestamp(), 1_700_000_000);
        assert_eq!(outline.agent_id.as_deref(), Some("a1"));
        let range = outline.full_audio.unwrap();
        let value = &text[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()];
        assert_eq!(value, "QUJD");
    }

    #[test]
    fn a_number_ends_where_it_ends() {
        for text in [
            r#"{"event_timestamp":1700000000,"type":"x","data":{"conversation_id":7}}"#,
            r#"{"data":{"conversation_id":7},"type":"x","event_timestamp":1700000000}"#,
            "{\"event_timestamp\":1700000000\n,\"type\":\"x\",\"data\":{\"conversation_id\":7,\"agent_id\":{}}}",
        ] {
            let heading = found(text).heading.unwrap();
            assert_eq!(heading.reported_at.unwrap().timestamp(), 1_700_000_000, "{text}");
            assert_eq!(heading.conversation.unwrap().as_str(), "7", "{text}");
            assert_eq!(heading.kind.as_deref(), Some("x"), "{text}");
        }
    }

    #[test]
    fn of_several_members_with_one_name_the_last_counts() {
        let text = r#"{"type":"a","type":"b","data":{"conversation_id":"c","full_audio":"x"},
            "data":{"conversation_id":"d","conversation_id":"e"}}"#;
        let Outline { heading, full_audio, .. } = found(text);
        let heading = heading.unwrap();
        assert_eq!((heading.kind.as_deref(), full_audio), (Some("b"), None));
        assert_eq!(heading.conversation.unwrap().as_str(), "e");
    }

    #[test]
    fn hostile_json_is_json() {
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        let odd = format!(
            r#"{{"type":"x","deep":{deep},"big":1e999,"lone":"\ud800","\u0000":"\u0000","data":{{}}}}"#
        );
        assert_eq!(found(&odd).heading.unwrap().kind.as_deref(), Some("x"));
        for strange in [r#"{"data":"\ud800"}"#, r#"{"data":1e999}"#, r#"{"\ud800":1}"#, "[1]", "7", "null"] {
            assert_eq!(found(strange), Outline::default(), "{strange}");
        }
    }

    #[test]
    fn what_is_cut_off_or_goes_on_is_not_json() {
        for bad in ["", "{", r#"{"data":{"full_audio":"QUJD"#, "{} {}", "{'a':1}", r#"{"type":"x"}x"#] {
            assert!(matches!(scanned(bad), Err(NoOutline::NotJson(_))), "{bad}");
        }
    }
}
