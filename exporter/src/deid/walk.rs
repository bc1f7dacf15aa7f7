//! JSON rewritten as it is read: each field by its rule, in the order in which it came, without a tree in memory.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::Disguise;
use super::class::{Rule, is_word};

/// Rewrites a text that is JSON. `None` where it is none.
pub(super) fn rewrite(disguise: &mut Disguise, rule: Option<Rule>, json: &str) -> Option<String> {
    let mut out = String::with_capacity(json.len());
    let mut reader = serde_json::Deserializer::from_str(json);
    let node = Node { disguise, rule, out: &mut out };
    node.deserialize(&mut reader).ok()?;
    reader.end().ok()?;
    Some(out)
}

/// A value that is to be written. Without a rule, which happens only where nothing is left out, all that is a text in it
/// counts as said.
struct Node<'w> {
    disguise: &'w mut Disguise,
    rule: Option<Rule>,
    out: &'w mut String,
}

impl Node<'_> {
    /// As it is.
    fn plain(self, value: impl serde::Serialize) {
        push_json(self.out, value);
    }

    fn null(self) {
        self.out.push_str("null");
    }

    /// A number or a flag, also as a text for rules that want one.
    fn scalar(self, value: impl serde::Serialize + ToString) {
        match self.rule {
            Some(Rule::Plain | Rule::Number) => self.plain(value),
            Some(Rule::Id(_)) => self.text(&value.to_string()),
            // Digits may be a telephone number also without quotation marks.
            None | Some(Rule::Text | Rule::TextOr(_)) => {
                let text = value.to_string();
                match self.disguise.masked(&text) {
                    Some(masked) => self.plain(masked),
                    None => self.plain(value),
                }
            }
            Some(Rule::Word | Rule::Drop | Rule::Fields(_) | Rule::List(_) | Rule::Each(_)) => {
                self.misfit(value);
            }
        }
    }

    fn text(self, text: &str) {
        match self.rule {
            Some(Rule::Plain) => self.plain(text),
            Some(Rule::Word) if is_word(text) => self.plain(text),
            Some(Rule::Id(of)) => match self.disguise.pseudonym(of, text) {
                Some(name) => self.plain(name),
                None => self.plain(text),
            },
            None | Some(Rule::Text | Rule::TextOr(_)) => match self.disguise.masked(text) {
                Some(masked) => self.plain(masked),
                None => self.plain(text),
            },
            Some(
                Rule::Word | Rule::Number | Rule::Drop | Rule::Fields(_) | Rule::List(_) | Rule::Each(_),
            ) => self.misfit(text),
        }
    }

    /// What is not what the rule is for.
    fn misfit(self, value: impl serde::Serialize + ToString) {
        if self.disguise.leaves_out() {
            self.disguise.left_out += 1;
            return self.null();
        }
        match self.disguise.masked(&value.to_string()) {
            Some(masked) => self.plain(masked),
            None => self.plain(value),
        }
    }
}

/// Appends a value as JSON.
fn push_json(out: &mut String, value: impl serde::Serialize) {
    // Into memory, and of scalars: nothing can fail.
    out.push_str(&serde_json::to_string(&value).unwrap_or_else(|_| "null".to_owned()));
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.null();
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.scalar(value);
        Ok(())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.scalar(value);
        Ok(())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.scalar(value);
        Ok(())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.scalar(value);
        Ok(())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        self.text(value);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let rule = match self.rule {
            Some(Rule::List(rule)) => Some(*rule),
            _ if self.disguise.leaves_out() => {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                self.disguise.left_out += 1;
                self.null();
                return Ok(());
            }
            _ => None,
        };
        self.out.push('[');
        let mut first = true;
        let Self { disguise, out, .. } = self;
        loop {
            let before = out.len();
            if !std::mem::replace(&mut first, false) {
                out.push(',');
            }
            let node = Node { disguise: &mut *disguise, rule, out: &mut *out };
            if items.next_element_seed(node)?.is_none() {
                out.truncate(before);
                break;
            }
        }
        out.push(']');
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        let Self { disguise, rule, out } = self;
        let keeps = matches!(rule, Some(Rule::Fields(_) | Rule::TextOr(_) | Rule::Each(_)));
        let leaves_out = disguise.leaves_out();
        if leaves_out && !keeps {
            while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            disguise.left_out += 1;
            out.push_str("null");
            return Ok(());
        }
        out.push('{');
        let mut first = true;
        while let Some(key) = fields.next_key::<String>()? {
            let found = rule.and_then(|rule| rule.field(&key));
            if leaves_out && matches!(found, None | Some(Rule::Drop)) {
                fields.next_value::<IgnoredAny>()?;
                disguise.left_out += 1;
                continue;
            }
            if !std::mem::replace(&mut first, false) {
                out.push(',');
            }
            // A key that nobody knows is what somebody wrote.
            let masked = if found.is_none() { disguise.masked(&key) } else { None };
            push_json(out, masked.as_deref().unwrap_or(&key));
            out.push(':');
            let path = disguise.enter(if found.is_none() { "*" } else { &key });
            fields.next_value_seed(Node { disguise: &mut *disguise, rule: found, out: &mut *out })?;
            disguise.leave(path);
        }
        out.push('}');
        Ok(())
    }
}
