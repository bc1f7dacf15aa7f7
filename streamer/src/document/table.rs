//! A conversation as CSV: one row for each message, for spreadsheets and for programs.

use serde_json::{Value, json};

use super::Document;

const COLUMNS: [&str; 11] = [
    "conversation_id",
    "sequence",
    "message_id",
    "role",
    "timestamp",
    "content",
    "sources",
    "attachments",
    "late",
    "provider",
    "version_sequence",
];

/// Without it spreadsheets take UTF-8 for something else.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Writes it, as RFC 4180 says.
pub(super) fn write(document: &Document) -> Result<Vec<u8>, csv::Error> {
    let mut table =
        csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(BYTE_ORDER_MARK.to_vec());
    table.write_record(COLUMNS)?;
    for message in &document.conversation.messages {
        let mut view = json!(message);
        view["conversation_id"] = json!(document.conversation.conversation_id);
        view["version_sequence"] = json!(message.version);
        table.write_record(COLUMNS.map(|column| cell(&view[column])))?;
    }
    table.into_inner().map_err(|error| error.into_error().into())
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => inert(text),
        // These begin with a letter, a digit or a bracket.
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// A text that a spreadsheet does not run as a formula: one that begins like a formula gets an apostrophe before it.
fn inert(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::super::tests::document;
    use super::*;

    fn rows(contents: &[&str]) -> Vec<csv::StringRecord> {
        let bytes = write(&document(contents)).unwrap();
        let text = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap();
        csv::Reader::from_reader(text).into_records().map(Result::unwrap).collect()
    }

    #[test]
    fn a_row_for_each_message_survives_a_reader() {
        let nasty = "he said \"a,b\"\nand\r\nनमस्ते; مرحبا, 你好 🚒";
        let rows = rows(&["Hello", nasty, ""]);
        let contents: Vec<_> = rows.iter().map(|row| &row[5]).collect();
        assert_eq!(contents, ["Hello", nasty, ""]);
        let row: Vec<_> = rows[1].iter().collect();
        assert_eq!(row[..4], ["conv_1", "2", "m2", "user"]);
        assert_eq!(row[6..], ["", "", "", "openai", "2"]);
    }

    #[test]
    fn no_cell_is_a_formula() {
        for formula in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"] {
            assert_eq!(rows(&[formula])[0][5], format!("'{formula}"), "{formula:?}");
        }
        assert_eq!(&rows(&["'=1 or a-b"])[0][5], "'=1 or a-b");
    }

    #[test]
    fn a_conversation_without_messages_is_a_header() {
        let bytes = write(&document(&[])).unwrap();
        assert_eq!(bytes, format!("\u{feff}{}\r\n", COLUMNS.join(",")).into_bytes());
    }
}
