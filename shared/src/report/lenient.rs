//! JSON read one level at a time: a member that is broken, hostile or of another shape costs nothing but itself.
//!
//! Nothing recurses but [`Object::value`], which has serde's own bound: nesting of any depth is passed over.

use std::collections::HashMap;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

/// The members of a JSON object. Of a member that comes twice the last holds.
#[derive(Debug)]
pub struct Object<'a>(HashMap<String, &'a RawValue>);

impl<'a> Object<'a> {
    /// Reads one level; `None` when it is no object.
    pub fn read(raw: &'a RawValue) -> Option<Self> {
        serde_json::from_str(raw.get()).ok()
    }

    /// A member as it was written; `None` when it is absent or null.
    pub fn raw(&self, name: &str) -> Option<&'a RawValue> {
        self.0.get(name).copied().filter(|raw| raw.get() != "null")
    }

    /// A member that is a text, or a number written as one would write it in a text.
    pub fn text(&self, name: &str) -> Option<String> {
        let raw = self.raw(name)?;
        if let Ok(Lossy(text)) = serde_json::from_str(raw.get()) {
            return Some(text);
        }
        let number = raw.get().starts_with(|c: char| c == '-' || c.is_ascii_digit());
        number.then(|| raw.get().to_owned())
    }

    /// A short text for a column: no NUL, at most a kilobyte.
    pub fn word(&self, name: &str) -> Option<String> {
        let text = self.text(name)?;
        let end = text.floor_char_boundary(1_024);
        Some(text[..end].replace('\0', "\u{fffd}")).filter(|text| !text.is_empty())
    }

    /// A member that is a number, or a text that holds one.
    pub fn number(&self, name: &str) -> Option<f64> {
        self.text(name)?.trim().parse().ok().filter(|number: &f64| number.is_finite())
    }

    /// A member that is a whole number, or a fraction, which is cut.
    pub fn integer(&self, name: &str) -> Option<i64> {
        let text = self.text(name)?;
        let whole = text.trim().parse().ok();
        whole.or_else(|| self.number(name).filter(|number| number.abs() < 1e15).map(|number| number as i64))
    }

    /// A member that is `true`; anything else is not.
    pub fn flag(&self, name: &str) -> bool {
        self.raw(name).is_some_and(|raw| raw.get() == "true")
    }

    /// A member that is an object.
    pub fn object(&self, name: &str) -> Option<Self> {
        self.raw(name).and_then(Self::read)
    }

    /// The items of a member that is a list; empty when it is absent, `None` when it is something else.
    pub fn list(&self, name: &str) -> Option<Vec<&'a RawValue>> {
        self.raw(name).map_or(Some(Vec::new()), |raw| serde_json::from_str(raw.get()).ok())
    }

    /// A member as a value that Postgres can hold, null when it is absent, too deep, or not to be had as a value.
    pub fn value(&self, name: &str) -> Value {
        self.raw(name).map_or(Value::Null, value)
    }

    /// Every member but these as one value.
    pub fn rest(&self, without: &[&str]) -> Value {
        let mut names: Vec<_> = self.0.keys().filter(|name| !without.contains(&name.as_str())).collect();
        // The order of a hash map is another one each time.
        names.sort_unstable();
        let members = names.into_iter().map(|name| (storable_text(name), self.value(name)));
        Value::Object(members.filter(|(_, value)| !value.is_null()).collect())
    }
}

/// A value that Postgres can hold, null where it cannot be had as one.
fn value(raw: &RawValue) -> Value {
    serde_json::from_str(raw.get()).map_or(Value::Null, storable)
}

/// Without NUL, which `jsonb` cannot hold.
fn storable(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(storable_text(&text)),
        Value::Array(items) => Value::Array(items.into_iter().map(storable).collect()),
        Value::Object(members) => Value::Object(
            members.into_iter().map(|(name, value)| (storable_text(&name), storable(value))).collect(),
        ),
        Value::Null | Value::Bool(_) | Value::Number(_) => value,
    }
}

fn storable_text(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Object<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
        let mut members = HashMap::new();
        while let Some((Lossy(name), value)) = map.next_entry()? {
            members.insert(name, value);
        }
        Ok(Object(members))
    }
}

/// A text in which a lone surrogate, which JSON allows and Unicode does not, became replacement characters.
struct Lossy(String);

impl<'de> Deserialize<'de> for Lossy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // As bytes: that is where the parser lets lone surrogates through.
        deserializer.deserialize_bytes(Text)
    }
}

struct Text;

impl Visitor<'_> for Text {
    type Value = Lossy;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Lossy, E> {
        Ok(Lossy(String::from_utf8_lossy(bytes).into_owned()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Lossy, E> {
        Ok(Lossy(text.to_owned()))
    }
}
