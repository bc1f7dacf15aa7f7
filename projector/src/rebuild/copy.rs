//! Rows in the binary form of COPY.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::rows::MessageRow;

/// What begins a file of this form: its signature, no flags, no more header.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What ends it.
const TRAILER: &[u8] = &(-1_i16).to_be_bytes();
/// Microseconds from 1970 to 2000, where Postgres begins to count.
const EPOCH: i64 = 946_684_800_000_000;
/// Bytes that are sent at once.
const CHUNK: usize = 256 * 1024;

const MESSAGES: &str =
    "COPY messages (sequence, version_sequence, ordinal, said_at, recorded_at, said_offset,
    conversation, participant_id, message_id, role, provider, content, place) FROM STDIN (FORMAT binary)";

/// Stores messages that are new to the table.
pub(super) async fn messages(
    connection: &mut PgConnection,
    rows: &[MessageRow<'_>],
) -> Result<(), sqlx::Error> {
    let mut copy = connection.copy_in_raw(MESSAGES).await?;
    let mut tuples = Tuples(HEADER.to_vec());
    for row in rows {
        tuples.begin(13);
        for number in [row.sequence, row.version_sequence, row.ordinal] {
            tuples.number(number);
        }
        tuples.instant(row.said_at);
        tuples.instant(row.recorded_at);
        tuples.field(Some(&row.said_offset.to_be_bytes()));
        tuples.text(Some(row.conversation));
        tuples.text(row.participant_id);
        tuples.text(row.message_id);
        tuples.text(Some(row.role));
        tuples.text(Some(row.provider));
        tuples.text(Some(row.content));
        tuples.number(row.place);
        if tuples.0.len() >= CHUNK {
            copy.send(tuples.0.as_slice()).await?;
            tuples.0.clear();
        }
    }
    tuples.0.extend_from_slice(TRAILER);
    copy.send(tuples.0.as_slice()).await?;
    copy.finish().await?;
    Ok(())
}

struct Tuples(Vec<u8>);

impl Tuples {
    fn begin(&mut self, fields: i16) {
        self.0.extend_from_slice(&fields.to_be_bytes());
    }

    fn field(&mut self, bytes: Option<&[u8]>) {
        // Nothing that the log holds is longer: an event has a greatest size far below.
        let length = bytes.map_or(-1, |bytes| i32::try_from(bytes.len()).unwrap_or(i32::MAX));
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(bytes.unwrap_or_default());
    }

    fn number(&mut self, number: i64) {
        self.field(Some(&number.to_be_bytes()));
    }

    fn instant(&mut self, instant: DateTime<Utc>) {
        self.number(instant.timestamp_micros() - EPOCH);
    }

    fn text(&mut self, text: Option<&str>) {
        self.field(text.map(str::as_bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_have_their_length_before_them_and_nothing_is_shorter_than_nothing() {
        let mut tuples = Tuples(Vec::new());
        tuples.begin(3);
        tuples.text(Some("ab"));
        tuples.text(None);
        tuples.instant(DateTime::from_timestamp_micros(EPOCH + 7).unwrap());
        let wanted: &[u8] =
            &[0, 3, 0, 0, 0, 2, b'a', b'b', 255, 255, 255, 255, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 7];
        assert_eq!(tuples.0, wanted);
        assert_eq!(HEADER.len(), 19);
    }
}
