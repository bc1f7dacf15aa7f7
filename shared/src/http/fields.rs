//! Fields of a JSON object, each parsed into a type that cannot be wrong; everything that is wrong is named at once.

use serde_json::Value;

use super::JsonObject;
use crate::problem::{FieldError, Problem};

/// Takes fields out of one object and remembers what was wrong. Unknown fields are ignored.
#[derive(Debug)]
pub struct Fields {
    object: JsonObject,
    path: String,
    errors: Vec<FieldError>,
}

impl Fields {
    /// Of a whole body.
    pub fn of(object: JsonObject) -> Self {
        Self::at(object, String::new())
    }

    /// Of an object within the body; `path` (for example `messages[3].`) stands before the fields' names.
    pub fn at(object: JsonObject, path: String) -> Self {
        Self { object, path, errors: Vec::new() }
    }

    /// A text that must be there, parsed by `parse`; `None` when it is wrong, which is remembered.
    pub fn required<T, E: ToString>(
        &mut self,
        name: &str,
        parse: impl FnOnce(String) -> Result<T, E>,
    ) -> Option<T> {
        if matches!(self.object.get(name), None | Some(Value::Null)) {
            self.reject(name, "is required");
            return None;
        }
        self.optional(name, parse)
    }

    /// A text that may be absent or null.
    pub fn optional<T, E: ToString>(
        &mut self,
        name: &str,
        parse: impl FnOnce(String) -> Result<T, E>,
    ) -> Option<T> {
        match self.object.remove(name) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => match parse(text) {
                Ok(value) => Some(value),
                Err(error) => {
                    self.reject(name, &error.to_string());
                    None
                }
            },
            Some(_) => {
                self.reject(name, "must be a string");
                None
            }
        }
    }

    /// A whole number within `range` that may be absent or null.
    pub fn integer(&mut self, name: &str, range: std::ops::RangeInclusive<u64>) -> Option<u64> {
        let value = self.object.remove(name).filter(|value| !value.is_null())?;
        let number = value.as_u64().filter(|number| range.contains(number));
        if number.is_none() {
            self.reject(name, &format!("must be a whole number from {} to {}", range.start(), range.end()));
        }
        number
    }

    /// A whole number within `range` that must be there.
    pub fn required_integer(&mut self, name: &str, range: std::ops::RangeInclusive<u64>) -> Option<u64> {
        if matches!(self.object.get(name), None | Some(Value::Null)) {
            self.reject(name, "is required");
            return None;
        }
        self.integer(name, range)
    }

    /// A number within `range` that may be absent or null.
    pub fn number(&mut self, name: &str, range: std::ops::RangeInclusive<f64>) -> Option<f64> {
        let value = self.object.remove(name).filter(|value| !value.is_null())?;
        let number = value.as_f64().filter(|number| range.contains(number));
        if number.is_none() {
            self.reject(name, &format!("must be a number from {} to {}", range.start(), range.end()));
        }
        number
    }

    /// Yes or no, which must be there.
    pub fn flag(&mut self, name: &str) -> Option<bool> {
        match self.object.remove(name) {
            Some(Value::Bool(flag)) => Some(flag),
            None | Some(Value::Null) => {
                self.reject(name, "is required");
                None
            }
            Some(_) => {
                self.reject(name, "must be true or false");
                None
            }
        }
    }

    /// A list that may be absent or null.
    pub fn optional_list(&mut self, name: &str) -> Option<Vec<Value>> {
        if matches!(self.object.get(name), None | Some(Value::Null)) {
            return None;
        }
        self.list(name)
    }

    /// An object that must be there.
    pub fn object(&mut self, name: &str) -> Option<JsonObject> {
        if matches!(self.object.get(name), None | Some(Value::Null)) {
            self.reject(name, "is required");
            return None;
        }
        self.optional_object(name)
    }

    /// An object that may be absent or null.
    pub fn optional_object(&mut self, name: &str) -> Option<JsonObject> {
        match self.object.remove(name) {
            None | Some(Value::Null) => None,
            Some(Value::Object(object)) => Some(object),
            Some(_) => {
                self.reject(name, "must be an object");
                None
            }
        }
    }

    /// A text or an object that may be absent or null.
    pub fn optional_text_or_object(&mut self, name: &str) -> Option<Value> {
        let value = self.object.remove(name).filter(|value| !value.is_null())?;
        if value.is_string() || value.is_object() {
            return Some(value);
        }
        self.reject(name, "must be a string or an object");
        None
    }

    /// A list that must be there.
    pub fn list(&mut self, name: &str) -> Option<Vec<Value>> {
        match self.object.remove(name) {
            Some(Value::Array(items)) => Some(items),
            None | Some(Value::Null) => {
                self.reject(name, "is required");
                None
            }
            Some(_) => {
                self.reject(name, "must be a list");
                None
            }
        }
    }

    /// A value of any kind that may be absent or null.
    pub fn any(&mut self, name: &str) -> Option<Value> {
        self.object.remove(name).filter(|value| !value.is_null())
    }

    /// Rejects every field that was not taken, where one that is misspelt must not be ignored.
    pub fn refuse_others(&mut self) {
        let others: Vec<_> = self.object.keys().cloned().collect();
        others.iter().for_each(|name| self.reject(name, "is not a field of this body"));
    }

    /// Remembers that a field is wrong.
    pub fn reject(&mut self, name: &str, message: &str) {
        self.errors.push(FieldError { field: format!("{}{name}", self.path), message: message.to_owned() });
    }

    /// Remembers what was wrong within.
    pub fn note(&mut self, errors: Vec<FieldError>) {
        self.errors.extend(errors);
    }

    /// What was wrong, for a caller that gathers over several objects.
    pub fn into_errors(self) -> Vec<FieldError> {
        self.errors
    }

    /// Ends the reading: `value` if nothing was wrong and it is there.
    ///
    /// # Errors
    /// The problem that names every bad field.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, Problem> {
        match value {
            Some(value) if self.errors.is_empty() => Ok(value),
            _ => Err(Problem::fields(self.errors)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Fields {
        let Ok(Value::Object(object)) = serde_json::from_str(text) else { panic!("no object") };
        Fields::of(object)
    }

    #[test]
    fn every_bad_field_is_named_once() {
        let mut fields = fields(r#"{"a": 1, "b": null, "n": -3, "l": {}, "unknown": []}"#);
        let text = |text: String| Ok::<_, String>(text);
        assert_eq!(fields.required("a", text), None);
        assert_eq!(fields.required("b", text), None);
        assert_eq!(fields.optional("c", text), None);
        assert_eq!(fields.integer("n", 0..=130), None);
        assert_eq!(fields.list("l"), None);
        let problem = fields.finish(Some(())).unwrap_err();
        let named: Vec<_> = problem.errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(named, ["a", "b", "n", "l"]);
    }
}
