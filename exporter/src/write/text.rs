//! JSON Lines and CSV.

use std::io::Write;

use chrono::{DateTime, Datelike, Timelike};

use crate::cell::{Cell, Row, Table};
use crate::error::{ExportError, Result};
use crate::limits::BLOCK_BYTES;

/// Rows as lines.
pub(crate) struct Lines {
    form: Form,
}

enum Form {
    Json {
        /// What stands before each cell: `{"name":` or `,"name":`.
        before: Vec<Vec<u8>>,
        text: Vec<u8>,
    },
    Csv(Box<csv::Writer<Vec<u8>>>, usize),
}

impl Lines {
    /// An object a line, every name in each.
    pub(crate) fn json(table: &Table) -> Self {
        let before = table.columns.iter().enumerate().map(|(place, column)| {
            format!("{}\"{}\":", if place == 0 { '{' } else { ',' }, column.name).into_bytes()
        });
        Self { form: Form::Json { before: before.collect(), text: Vec::new() } }
    }

    /// RFC 4180 with `\n`, and a head.
    pub(crate) fn csv(table: &Table) -> Result<Self> {
        let mut writer = csv_writer();
        let names = table.columns.iter().map(|column| column.name);
        writer.write_record(names).map_err(ExportError::encode)?;
        Ok(Self { form: Form::Csv(Box::new(writer), 0) })
    }

    /// Takes a row; answers the lines so far when they are many.
    pub(crate) fn take<R: Row>(&mut self, row: &R) -> Result<Option<Vec<u8>>> {
        match &mut self.form {
            Form::Json { before, text } => {
                json_line(before, text, row)?;
                Ok((text.len() >= BLOCK_BYTES).then(|| std::mem::take(text)))
            }
            Form::Csv(writer, bytes) => {
                *bytes += csv_line(writer, row)?;
                if *bytes < BLOCK_BYTES {
                    return Ok(None);
                }
                *bytes = 0;
                text_of(writer).map(Some)
            }
        }
    }

    /// What has gathered.
    pub(crate) fn rest(&mut self) -> Result<Vec<u8>> {
        match &mut self.form {
            Form::Json { text, .. } => Ok(std::mem::take(text)),
            Form::Csv(writer, _) => text_of(writer),
        }
    }
}

fn csv_writer() -> csv::Writer<Vec<u8>> {
    csv::WriterBuilder::new().from_writer(Vec::with_capacity(BLOCK_BYTES))
}

fn text_of(writer: &mut csv::Writer<Vec<u8>>) -> Result<Vec<u8>> {
    std::mem::replace(writer, csv_writer()).into_inner().map_err(ExportError::encode)
}

fn json_line<R: Row>(before: &[Vec<u8>], text: &mut Vec<u8>, row: &R) -> Result<()> {
    let (mut place, mut failed) = (0, None);
    row.cells(|cell| {
        text.extend_from_slice(&before[place]);
        place += 1;
        match cell {
            Cell::Null => text.extend_from_slice(b"null"),
            Cell::Boolean(true) => text.extend_from_slice(b"true"),
            Cell::Boolean(false) => text.extend_from_slice(b"false"),
            Cell::Integer(number) => text.extend_from_slice(itoa::Buffer::new().format(number).as_bytes()),
            Cell::Instant(micros) => {
                text.push(b'"');
                text.extend_from_slice(&instant(micros));
                text.push(b'"');
            }
            Cell::Text(said) => failed = serde_json::to_writer(&mut *text, said).err().or(failed.take()),
        }
    });
    text.extend_from_slice(b"}\n");
    failed.map_or(Ok(()), |error| Err(ExportError::encode(error)))
}

/// Answers how much went in.
fn csv_line<R: Row>(writer: &mut csv::Writer<Vec<u8>>, row: &R) -> Result<usize> {
    let (mut bytes, mut failed) = (0, None);
    row.cells(|cell| {
        bytes += cell.size();
        let written = match cell {
            Cell::Null => writer.write_field(""),
            Cell::Boolean(true) => writer.write_field("true"),
            Cell::Boolean(false) => writer.write_field("false"),
            Cell::Integer(number) => writer.write_field(itoa::Buffer::new().format(number)),
            Cell::Instant(micros) => writer.write_field(instant(micros)),
            Cell::Text(said) => writer.write_field(said),
        };
        failed = written.err().or(failed.take());
    });
    let ended = writer.write_record(None::<&[u8]>);
    failed.or(ended.err()).map_or(Ok(bytes), |error| Err(ExportError::encode(error)))
}

/// RFC 3339 in UTC, always to the microsecond: `2025-01-08T12:00:00.000000Z`. By hand, as the general formatter takes
/// longer than all else of a row.
pub(crate) fn instant(micros: i64) -> [u8; 27] {
    let at = DateTime::from_timestamp_micros(micros).unwrap_or_default().naive_utc();
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    let mut put = |end: usize, digits: usize, mut number: u32| {
        for place in (end - digits..end).rev() {
            text[place] = b'0' + (number % 10) as u8;
            number /= 10;
        }
    };
    put(4, 4, u32::try_from(at.year()).unwrap_or_default());
    put(7, 2, at.month());
    put(10, 2, at.day());
    put(13, 2, at.hour());
    put(16, 2, at.minute());
    put(19, 2, at.second());
    put(26, 6, at.nanosecond() / 1_000 % 1_000_000);
    text
}

/// The same as a text.
pub(crate) fn instant_text(micros: i64) -> String {
    let mut text = Vec::new();
    // Into memory, which takes everything.
    let _written = text.write_all(&instant(micros));
    String::from_utf8(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use chrono::SecondsFormat;

    use super::*;

    #[test]
    fn an_instant_is_written_as_the_general_formatter_would() {
        for micros in [0, 1, 999_999, 1_736_337_600_000_000, 1_740_787_199_123_456, 7_258_118_399_999_999] {
            let at = DateTime::from_timestamp_micros(micros).unwrap();
            assert_eq!(instant_text(micros), at.to_rfc3339_opts(SecondsFormat::Micros, true));
        }
    }
}
