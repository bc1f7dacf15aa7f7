//! Entries of the log to rows: pure, total, and the same whether an entry comes once or twice.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde_json::json;
use shared::events::{
    Admin, Call, Claim, Correction, Dream, Ending, Enrolment, Event, Interpretation, Message, Recording,
    Refusal, Report, Session, Sighting, Source, Viewer, Worker,
};
use shared::ids::{ConversationId, ParticipantId, Provider};
use shared::subjects::Subject;

use crate::intake::Item;
use crate::rows::{
    AdminRow, CallRow, Changes, ClaimRow, ConversationRow, DetailRow, DreamRow, EndingRow, ErasureRow,
    InterpretationRow, MessageRow, ParkedRow, ParticipantRow, ReceiptRow, RecordingRow, RefusedRow,
    ReportRow, SessionRow, SourceRow, WorkerRow, number, ordinal,
};

/// Folds entries that are in the order of their sequence. One that comes again is passed over.
pub(crate) fn fold(items: &[Item]) -> Changes<'_> {
    let mut folding = Folding::default();
    for item in items {
        folding.take(item);
    }
    folding.changes
}

/// Cuts items so that each erasure stands alone, the last part first: what came before it must be in the tables, what
/// comes after it not yet.
pub(crate) fn cut_at_erasures(items: &[Item]) -> Vec<&[Item]> {
    let is_erasure = |item: &Item| matches!(item.event, Ok(Event::ParticipantErased(_)));
    let mut parts: Vec<_> = items.chunk_by(|one, next| !is_erasure(one) && !is_erasure(next)).collect();
    parts.reverse();
    parts
}

#[derive(Default)]
struct Folding<'a> {
    changes: Changes<'a>,
    conversations: HashMap<&'a str, usize>,
}

impl<'a> Folding<'a> {
    fn take(&mut self, item: &'a Item) {
        if item.sequence <= self.changes.last {
            return;
        }
        self.changes.last = item.sequence;
        match &item.event {
            Ok(Event::MessageRecorded(message)) => self.recorded(item, message),
            Ok(Event::MessageCorrected(correction)) => self.corrected(item, correction),
            Ok(Event::ParticipantEnrolled(data) | Event::ParticipantUpdated(data)) => {
                self.participant(item, data);
            }
            // Nobody asks the tables about tokens: every service follows their subjects itself.
            Ok(Event::TokenRevoked(_)) => {}
            Ok(Event::ConversationClaimed(claim)) => self.claimed(item, claim),
            Ok(Event::ConversationReported(report)) => self.reported(item, report),
            Ok(Event::AudioStored(recording)) => self.recording(item, recording),
            // It can be read now: the write edge makes a report of it.
            Ok(Event::WebhookReceived(unread)) => self.received(unread.source, item),
            Ok(Event::WebhookRefused(refusal)) => self.refused(item, refusal),
            Ok(Event::CallOpened(call) | Event::CallChanged(call)) => self.call(item, call),
            Ok(Event::CallTakenOver(handover) | Event::CallReleased(handover)) => {
                self.call(item, &handover.call);
            }
            Ok(Event::ConversationEnded(ending)) => self.ended(item, ending),
            Ok(Event::ConversationSeen(sighting)) => self.seen(item, sighting),
            Ok(Event::WorkerRegistered(worker)) => {
                self.worker(item, worker.worker_id.as_str(), Some(worker));
            }
            Ok(Event::WorkerRemoved(removal)) => self.worker(item, removal.worker_id.as_str(), None),
            Ok(Event::AdminRegistered(admin)) => self.admin(item, admin.admin_id.as_str(), Some(admin)),
            Ok(Event::AdminRemoved(removal)) => self.admin(item, removal.admin_id.as_str(), None),
            Ok(Event::DreamRecorded(dream) | Event::DreamChanged(dream)) => self.dream(item, dream),
            Ok(Event::DreamInterpreted(interpretation)) => self.interpreted(item, interpretation),
            Ok(Event::SessionOpened(session)) => self.session(item, session),
            // Both stand in the session, too, which is opened after them.
            Ok(Event::DreamDiscussed(_) | Event::ConversationLinked(_)) => {}
            Ok(Event::ParticipantErased(erasure)) => self.changes.erasures.push(ErasureRow {
                erasure,
                participant: Subject::participant(&erasure.participant_id).token().to_owned(),
                left: &item.left,
            }),
            Err(unreadable) if unreadable.erased => {
                if let Some(source) = unreadable.source {
                    self.received(source, item);
                }
            }
            Err(unreadable) => {
                self.changes.parked.push(ParkedRow::of(item, &unreadable.reason));
                if let Some(source) = unreadable.source {
                    self.received(source, item);
                }
            }
        }
    }

    fn recorded(&mut self, item: &'a Item, message: &'a Message) {
        self.conversation(item, message);
        self.changes.messages.push(message_row(item, item.sequence, message));
        if message.sources.is_some() || !message.attachments.is_empty() || message.late {
            self.changes.details.push(detail_row(item, item.sequence, message));
        }
    }

    /// Not merged with a row of the same batch: what is refused must not depend on what shares a batch.
    fn corrected(&mut self, item: &'a Item, correction: &'a Correction) {
        self.conversation(item, &correction.message);
        let Correction { first_sequence, message, .. } = correction;
        self.changes.corrections.push(message_row(item, *first_sequence, message));
        // Newest last: one statement cannot write a row twice.
        self.changes.details.retain(|row| row.sequence != number(*first_sequence));
        self.changes.details.push(detail_row(item, *first_sequence, message));
    }

    fn call(&mut self, item: &'a Item, call: &'a Call) {
        let began = call.opened_at.instant();
        self.row(item, &call.conversation_id, None, Provider::Call, began);
        let rows = &mut self.changes.calls;
        // It began where its first event is, whichever entries share a batch.
        let before = rows.iter().position(|held| held.conversation == item.token());
        let before = before.map(|place| rows.swap_remove(place));
        rows.push(CallRow {
            conversation: item.token(),
            first_sequence: before.as_ref().map_or(number(item.sequence), |row| row.first_sequence),
            version_sequence: number(item.sequence),
            worker: Subject::worker(&call.worker_id).token().to_owned(),
            call,
            ended_at: before.and_then(|row| row.ended_at),
        });
    }

    fn ended(&mut self, item: &'a Item, ending: &'a Ending) {
        let ended_at = ending.ended_at.instant();
        if let Some(call) = &ending.call {
            self.call(item, call);
            if let Some(row) = self.changes.calls.last_mut() {
                row.ended_at = Some(ended_at);
            }
        }
        let sequence = number(item.sequence);
        self.changes.endings.push(EndingRow { conversation: item.token(), sequence, ended_at });
    }

    fn seen(&mut self, item: &'a Item, sighting: &'a Sighting) {
        let viewer = match &sighting.by {
            Viewer::Admin(id) => Subject::admin(id),
            Viewer::Participant(id) => Subject::participant(id),
        };
        let row = ReceiptRow {
            conversation: item.token(),
            viewer: viewer.token().to_owned(),
            version_sequence: number(item.sequence),
            sequence: number(sighting.sequence),
            role: sighting.by.role(),
            viewer_id: sighting.by.id(),
            seen_at: item.stored_at,
        };
        let rows = &mut self.changes.receipts;
        rows.retain(|held| (held.conversation, &held.viewer) != (row.conversation, &row.viewer));
        rows.push(row);
    }

    fn worker(&mut self, item: &'a Item, worker_id: &'a str, worker: Option<&'a Worker>) {
        self.changes.workers.retain(|held| held.token != item.token());
        self.changes.workers.push(WorkerRow {
            token: item.token(),
            version_sequence: number(item.sequence),
            worker_id,
            company_id: worker.map(|worker| worker.company_id.as_str()),
            mobile_no: worker.map(|worker| worker.mobile_no.as_str()),
            name: worker.and_then(|worker| worker.name.as_deref()),
            updated_at: item.stored_at,
        });
    }

    fn admin(&mut self, item: &'a Item, admin_id: &'a str, admin: Option<&'a Admin>) {
        self.changes.admins.retain(|held| held.token != item.token());
        self.changes.admins.push(AdminRow {
            token: item.token(),
            version_sequence: number(item.sequence),
            admin_id,
            company_id: admin.map(|admin| admin.company_id.as_str()),
            name: admin.and_then(|admin| admin.name.as_deref()),
            updated_at: item.stored_at,
        });
    }

    /// Every version counts, so that it does not matter which entries share a batch.
    fn conversation(&mut self, item: &'a Item, message: &'a Message) {
        let owner = message.participant_id.as_ref();
        let said_at = message.timestamp.instant();
        let row = self.row(item, &message.conversation_id, owner, message.provider, said_at);
        row.message_count = row.message_count.max(number(message.ordinal));
    }

    /// The row of the conversation that the entry is of, in which something was said or told at this time.
    fn row(
        &mut self,
        item: &'a Item,
        id: &'a ConversationId,
        owner: Option<&'a ParticipantId>,
        provider: Provider,
        at: DateTime<Utc>,
    ) -> &mut ConversationRow<'a> {
        let row = self.begun(item, id, owner, provider, at);
        row.last_message_at = row.last_message_at.max(at);
        row
    }

    /// The row of the conversation that the entry is of, which had begun by this time.
    fn begun(
        &mut self,
        item: &'a Item,
        id: &'a ConversationId,
        owner: Option<&'a ParticipantId>,
        provider: Provider,
        at: DateTime<Utc>,
    ) -> &mut ConversationRow<'a> {
        let rows = &mut self.changes.conversations;
        let sequence = number(item.sequence);
        let found = *self.conversations.entry(item.token()).or_insert_with(|| {
            rows.push(ConversationRow {
                token: item.token(),
                conversation_id: id.as_str(),
                participant_id: None,
                provider: provider.as_str(),
                message_count: 0,
                first_sequence: sequence,
                last_sequence: sequence,
                started_at: at,
                last_message_at: DateTime::UNIX_EPOCH,
            });
            rows.len() - 1
        });
        let row = &mut rows[found];
        row.participant_id = row.participant_id.or(owner.map(|id| id.as_str()));
        row.last_sequence = sequence;
        row.started_at = row.started_at.min(at);
        row
    }

    fn claimed(&mut self, item: &'a Item, claim: &'a Claim) {
        let participant_id = claim.participant_id.as_str();
        let sequence = number(item.sequence);
        self.changes.claims.push(ClaimRow { sequence, conversation: item.token(), participant_id });
    }

    fn reported(&mut self, item: &'a Item, report: &'a Report) {
        self.received(report.source, item);
        let Some(reading) = &item.reading else { return };
        if report.superseded {
            return;
        }
        let owner = report.participant_id.as_ref();
        let near = reading.facts.started_at.or(report.reported_at).unwrap_or(item.stored_at);
        self.row(item, &report.conversation_id, owner, Provider::Elevenlabs, near);
        let ordinals = report.turns.iter().map(|ordinal| ordinal.map(number)).chain(std::iter::repeat(None));
        let row = ReportRow {
            sequence: number(item.sequence),
            conversation: item.token(),
            participant_id: owner.map(|id| id.as_str()),
            source: report.source.as_str(),
            kind: &report.kind,
            session: ordinal(report.session),
            reported_at: report.reported_at,
            recorded_at: item.stored_at,
            ended_at: reading.facts.ended_at().or(report.reported_at).unwrap_or(item.stored_at),
            facts: &reading.facts,
            turns: reading.turns.iter().zip(ordinals).collect(),
        };
        self.changes.reports.push(row);
    }

    fn recording(&mut self, item: &'a Item, data: &'a Recording) {
        self.received(data.source, item);
        let owner = data.participant_id.as_ref();
        let near = data.reported_at.unwrap_or(item.stored_at);
        self.row(item, &data.conversation_id, owner, Provider::Elevenlabs, near);
        let row = RecordingRow {
            sequence: number(item.sequence),
            conversation: item.token(),
            participant_id: owner.map(|id| id.as_str()),
            session: ordinal(data.session),
            source: data.source.as_str(),
            object: &data.audio.object,
            bytes: number(data.audio.bytes),
            sha256: &data.audio.sha256,
            media_type: &data.media_type,
            reported_at: data.reported_at,
            recorded_at: item.stored_at,
        };
        let rows = &mut self.changes.recordings;
        rows.retain(|held| (held.conversation, held.session) != (row.conversation, row.session));
        rows.push(row);
    }

    fn session(&mut self, item: &'a Item, session: &'a Session) {
        let (id, owner) = (&session.conversation_id, Some(&session.participant_id));
        if session.number > 1 {
            // It goes on, but nothing was said in it yet.
            self.begun(item, id, owner, Provider::Elevenlabs, session.opened_at);
        } else {
            self.row(item, id, owner, Provider::Elevenlabs, session.opened_at);
        }
        let row = SessionRow {
            sequence: number(item.sequence),
            conversation: item.token(),
            number: ordinal(session.number),
            vendor: Subject::conversation(&session.vendor_conversation_id).token().to_owned(),
            session,
        };
        let rows = &mut self.changes.sessions;
        rows.retain(|held| (held.conversation, held.number) != (row.conversation, row.number));
        rows.push(row);
    }

    fn dream(&mut self, item: &'a Item, dream: &'a Dream) {
        self.changes.dreams.retain(|held| held.token != item.token());
        self.changes.dreams.push(DreamRow {
            token: item.token(),
            version_sequence: number(item.sequence),
            themes: json!(dream.themes),
            dream,
        });
    }

    fn interpreted(&mut self, item: &'a Item, interpretation: &'a Interpretation) {
        let row = InterpretationRow {
            dream: item.token(),
            version_sequence: number(item.sequence),
            tone: json!(interpretation.emotional_tone),
            interpreted_at: item.stored_at,
            interpretation,
        };
        let key = |row: &InterpretationRow<'a>| (row.dream, &row.interpretation.interpreter_id);
        self.changes.interpretations.retain(|held| key(held) != key(&row));
        self.changes.interpretations.push(row);
    }

    fn refused(&mut self, item: &'a Item, refusal: &'a Refusal) {
        let row = self.source(refusal.source);
        row.refused += 1;
        row.failures += i64::from(refusal.is_failed_delivery());
        row.last_refused = Some(item.stored_at);
        self.changes.refused.push(RefusedRow {
            sequence: number(item.sequence),
            source: refusal.source.as_str(),
            reason: &refusal.reason,
            bytes: number(refusal.bytes),
            sha256: &refusal.sha256,
            address: &refusal.address,
            refused_at: item.stored_at,
        });
    }

    fn received(&mut self, source: Source, item: &Item) {
        let row = self.source(source);
        (row.received, row.failures, row.last_received) = (row.received + 1, 0, Some(item.stored_at));
    }

    fn source(&mut self, source: Source) -> &mut SourceRow {
        let rows = &mut self.changes.sources;
        let source = source.as_str();
        let found = rows.iter().position(|row| row.source == source).unwrap_or_else(|| {
            let (received, refused, failures) = (0, 0, 0);
            let (last_received, last_refused) = (None, None);
            rows.push(SourceRow { source, received, refused, failures, last_received, last_refused });
            rows.len() - 1
        });
        &mut rows[found]
    }

    fn participant(&mut self, item: &'a Item, data: &'a Enrolment) {
        self.changes.participants.push(ParticipantRow {
            token: item.token(),
            participant_id: data.participant_id.as_str(),
            name: data.name.as_deref(),
            age: data.age.map(i32::from),
            location: data.location.as_deref(),
            stored_at: item.stored_at,
        });
    }
}

fn detail_row<'a>(item: &'a Item, first_sequence: u64, message: &'a Message) -> DetailRow<'a> {
    let attachments = &message.attachments;
    DetailRow {
        sequence: number(first_sequence),
        version_sequence: number(item.sequence),
        conversation: item.token(),
        sources: message.sources.as_deref(),
        attachments: (!attachments.is_empty()).then(|| json!(attachments)),
        late: message.late,
    }
}

fn message_row<'a>(item: &'a Item, first_sequence: u64, message: &'a Message) -> MessageRow<'a> {
    MessageRow {
        sequence: number(first_sequence),
        version_sequence: number(item.sequence),
        ordinal: number(message.ordinal),
        place: number(message.place()),
        said_at: message.timestamp.instant(),
        said_offset: message.timestamp.offset_seconds(),
        recorded_at: item.stored_at,
        conversation: item.token(),
        participant_id: message.participant_id.as_ref().map(|id| id.as_str()),
        message_id: message.message_id.as_ref().map(|id| id.as_str()),
        role: message.role.as_str(),
        provider: message.provider.as_str(),
        content: &message.content,
    }
}

#[cfg(test)]
mod tests;
