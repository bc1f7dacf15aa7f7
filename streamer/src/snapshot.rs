//! Conversations as the read tables have them.

use chrono::{DateTime, Utc};
use shared::events::Attachment;
use shared::ids::Timestamp;
use sqlx::types::Json;

use crate::tables::{ReadError, Reading};
use crate::view::{CallView, ConversationView, MessageView, SeenView, StandingView, made_id};

/// A conversation without its messages.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) conversation_id: String,
    pub(crate) status: String,
    pub(crate) started_at: Timestamp,
    pub(crate) total_messages: u64,
    /// The call that it carries.
    pub(crate) call: Option<CallHead>,
    /// Where it was ended.
    pub(crate) ended: Option<u64>,
    /// Where its newest session was opened.
    pub(crate) opened: Option<u64>,
    /// The number of that session.
    pub(crate) session: u32,
}

/// A call as it stands.
#[derive(Debug, Clone)]
pub(crate) struct CallHead {
    /// Where it changed last.
    pub(crate) version: u64,
    pub(crate) opened_at: Timestamp,
    pub(crate) known: CallFields,
}

/// What is known of a call.
#[derive(Debug, Clone)]
pub(crate) struct CallFields {
    pub(crate) call_id: String,
    pub(crate) worker_id: String,
    pub(crate) mobile_no: String,
    pub(crate) urgency: String,
    pub(crate) medium: String,
    pub(crate) admin_id: Option<String>,
}

impl Head {
    /// What feeds show of it where it carries no call.
    pub(crate) fn standing(&self) -> StandingView {
        let (conversation_id, status) = (self.conversation_id.clone(), self.status.clone());
        StandingView { conversation_id, status, session: self.session }
    }

    /// What feeds show of its call.
    pub(crate) fn call_view(&self, call: &CallHead) -> CallView {
        let known = call.known.clone();
        CallView {
            conversation_id: self.conversation_id.clone(),
            call_id: known.call_id,
            worker_id: known.worker_id,
            mobile_no: known.mobile_no,
            urgency: known.urgency,
            status: self.status.clone(),
            medium: known.medium,
            timestamp: call.opened_at,
            admin_id: known.admin_id,
        }
    }
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
    sources: Option<String>,
    attachments: Option<Json<Vec<Attachment>>>,
    late: bool,
}

impl Row {
    fn into_view(self, conversation_id: &str) -> MessageView {
        let ordinal = self.ordinal.unsigned_abs();
        MessageView {
            message_id: self.message_id.unwrap_or_else(|| made_id(conversation_id, ordinal)),
            role: self.role.into(),
            content: self.content,
            timestamp: Timestamp::from_parts(self.said_at, self.said_offset),
            sources: self.sources.unwrap_or_default(),
            attachments: self.attachments.map(|json| json.0).unwrap_or_default(),
            late: self.late,
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
        self.whole().await.map(|(_, conversation)| conversation)
    }

    /// The whole conversation, and its head.
    ///
    /// # Errors
    /// [`ReadError::Database`].
    pub(crate) async fn whole(&mut self) -> Result<(Head, ConversationView), ReadError> {
        let (head, mut messages) = self.messages_after(0).await?;
        messages.sort_by_key(|message| (message.place, message.sequence));
        let seen = self.seen_after(0).await?;
        let timestamp = head.call.as_ref().map(|call| call.opened_at);
        let timestamp = timestamp.or_else(|| messages.first().map(|first| first.timestamp));
        let call = head.call.as_ref().map(|call| call.known.clone());
        let known = |field: fn(&CallFields) -> &String| call.as_ref().map(|call| field(call).clone());
        let conversation = ConversationView {
            conversation_id: head.conversation_id.clone(),
            call_id: known(|call| &call.call_id),
            worker_id: known(|call| &call.worker_id),
            mobile_no: known(|call| &call.mobile_no),
            urgency: known(|call| &call.urgency),
            status: head.status.clone(),
            medium: known(|call| &call.medium),
            timestamp: timestamp.unwrap_or(head.started_at),
            messages,
            total_messages: head.total_messages,
            admin_id: call.as_ref().and_then(|call| call.admin_id.clone()),
            seen,
        };
        Ok((head, conversation))
    }

    /// Who has seen the conversation, of those who said so after a sequence.
    ///
    /// # Errors
    /// [`ReadError::Database`].
    pub(crate) async fn seen_after(&mut self, sequence: u64) -> Result<Vec<SeenView>, ReadError> {
        let rows = sqlx::query!(
            r#"SELECT role AS "role!", viewer_id AS "viewer_id!", sequence AS "sequence!",
                      version_sequence AS "version!"
               FROM turnlog.receipts WHERE conversation = $1 AND version_sequence > $2
               ORDER BY version_sequence"#,
            self.token,
            i64::try_from(sequence).unwrap_or(i64::MAX),
        )
        .fetch_all(&mut *self.transaction)
        .await?;
        let view = |(role, id, sequence, version): (String, String, i64, i64)| {
            let (sequence, version) = (sequence.unsigned_abs(), version.unsigned_abs());
            SeenView { role, id, sequence, version }
        };
        Ok(rows.into_iter().map(|row| view((row.role, row.viewer_id, row.sequence, row.version))).collect())
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
                      said_offset AS "said_offset!", provider AS "provider!", sources,
                      attachments AS "attachments: Json<Vec<Attachment>>", late AS "late!"
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
            r#"SELECT c.conversation_id AS "conversation_id!", c.status AS "status!", c.started_at AS "started_at!",
                      c.message_count AS "message_count!", k.version_sequence AS "version_sequence?",
                      k.call_id AS "call_id?", k.worker_id AS "worker_id?", k.mobile_no AS "mobile_no?",
                      k.urgency AS "urgency?", k.medium AS "medium?", k.admin_id AS "admin_id?",
                      k.opened_at AS "opened_at?", k.opened_offset AS "opened_offset?", c.ended_sequence,
                      c.opened_sequence, c.session AS "session!"
               FROM turnlog.conversations c LEFT JOIN turnlog.calls k ON k.conversation = c.token
               WHERE c.token = $1"#,
            self.token,
        )
        .fetch_optional(&mut *self.transaction)
        .await?
        .ok_or(ReadError::Hidden)?;
        let opened = row.opened_at.zip(row.opened_offset).zip(row.version_sequence);
        let names = row.call_id.zip(row.worker_id).zip(row.mobile_no);
        let call =
            opened.zip(names).zip(row.urgency.zip(row.medium)).map(|((opened, names), (urgency, medium))| {
                let (((at, offset), version), ((call_id, worker_id), mobile_no)) = (opened, names);
                let admin_id = row.admin_id;
                CallHead {
                    version: version.unsigned_abs(),
                    opened_at: Timestamp::from_parts(at, offset),
                    known: CallFields { call_id, worker_id, mobile_no, urgency, medium, admin_id },
                }
            });
        Ok(Head {
            conversation_id: row.conversation_id,
            status: row.status,
            started_at: Timestamp::from_parts(row.started_at, 0),
            total_messages: row.message_count.unsigned_abs(),
            call,
            ended: row.ended_sequence.map(i64::unsigned_abs),
            opened: row.opened_sequence.map(i64::unsigned_abs),
            session: row.session.unsigned_abs(),
        })
    }
}
