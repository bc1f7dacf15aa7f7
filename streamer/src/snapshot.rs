//! Conversations as the read tables have them.

use chrono::{DateTime, Utc};
use shared::ids::Timestamp;

use crate::tables::{ReadError, Reading};
use crate::view::{ConversationView, MessageView, made_id};

/// A conversation without its messages.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) conversation_id: String,
    pub(crate) status: String,
    pub(crate) started_at: Timestamp,
    pub(crate) total_messages: u64,
}

struct Row {
    sequence: i64,
    version: i64,
    ordinal: i64,
    place: i64,
    message_id: Option<String>,
    role: String,
    content: String,
    said_at: DateTime<Utc>,
    said_offset: i32,
    provider: String,
}

impl Row {
    fn into_view(self, conversation_id: &str) -> MessageView {
        let ordinal = self.ordinal.unsigned_abs();
        MessageView {
            message_id: self.message_id.unwrap_or_else(|| made_id(conversation_id, ordinal)),
            role: self.role.into(),
            content: self.content,
            timestamp: Timestamp::from_parts(self.said_at, self.said_offset),
            sources: "",
            sequence: self.sequence.unsigned_abs(),
            provider: self.provider.into(),
            version: self.version.unsigned_abs(),
            ordinal,
            place: self.place.unsigned_abs(),
        }
    }
}

impl Reading {
    /// The whole conversation.
    ///
    /// # Errors
    /// [`ReadError::Database`].
    pub(crate) async fn conversation(&mut self) -> Result<ConversationView, ReadError> {
        let (head, mut messages) = self.messages_after(0).await?;
        messages.sort_by_key(|message| (message.place, message.sequence));
        Ok(ConversationView {
            conversation_id: head.conversation_id,
            call_id: None,
            worker_id: None,
            mobile_no: None,
            urgency: None,
            status: head.status,
            medium: None,
            timestamp: messages.first().map_or(head.started_at, |first| first.timestamp),
            messages,
            total_messages: head.total_messages,
            admin_id: None,
        })
    }

    /// The conversation's head, and its messages that were recorded or corrected after a sequence, oldest
    /// first.
    ///
    /// # Errors
    /// [`ReadError::Database`].
    pub(crate) async fn messages_after(
        &mut self,
        sequence: u64,
    ) -> Result<(Head, Vec<MessageView>), ReadError> {
        let head = self.head().await?;
        let rows = sqlx::query_as!(
            Row,
            r#"SELECT sequence AS "sequence!", version_sequence AS "version!", ordinal AS "ordinal!",
                      place AS "place!", message_id, role AS "role!", content AS "content!", said_at AS "said_at!",
                      said_offset AS "said_offset!", provider AS "provider!"
               FROM (SELECT * FROM turnlog.messages WHERE conversation = $1 AND sequence > $2
                     UNION ALL
                     SELECT * FROM turnlog.messages WHERE conversation = $1 AND sequence <= $2
                        AND version_sequence > sequence AND version_sequence > $2) changed
               ORDER BY sequence"#,
            self.token,
            // No log reaches past what a bigint holds.
            i64::try_from(sequence).unwrap_or(i64::MAX),
        )
        .fetch_all(&mut *self.transaction)
        .await?;
        let messages = rows.into_iter().map(|row| row.into_view(&head.conversation_id)).collect();
        Ok((head, messages))
    }

    async fn head(&mut self) -> Result<Head, ReadError> {
        let row = sqlx::query!(
            r#"SELECT conversation_id AS "conversation_id!", status AS "status!", started_at AS "started_at!",
                      message_count AS "message_count!"
               FROM turnlog.conversations WHERE token = $1"#,
            self.token,
        )
        .fetch_optional(&mut *self.transaction)
        .await?
        .ok_or(ReadError::Hidden)?;
        Ok(Head {
            conversation_id: row.conversation_id,
            status: row.status,
            started_at: Timestamp::from_parts(row.started_at, 0),
            total_messages: row.message_count.unsigned_abs(),
        })
    }
}
