//! Which fields of JSON stay, and how: for each type of event, and for the columns that hold JSON. What is not named here
//! is left out of a data set with pseudonyms. `rules/tests.rs` fills every field of every type and fails for those that
//! nobody has judged.

use shared::events::Event;

use super::class::Rule::{self, Drop, Each, Fields, Id, List, Number, Plain, Text, TextOr, Word};
use super::pseudonym::Of;

/// The rule of an event's data. No catch-all: a new type has to be judged here.
pub(crate) fn rule_of(event: &Event) -> Rule {
    match event {
        Event::MessageRecorded(_) | Event::MessageCorrected(_) => MESSAGE,
        Event::ParticipantEnrolled(_) | Event::ParticipantUpdated(_) => ENROLMENT,
        Event::TokenRevoked(_) => REVOCATION,
        Event::ConversationClaimed(_) => CLAIM,
        Event::ConversationReported(_) => REPORT,
        Event::AudioStored(_) => RECORDING,
        Event::WebhookReceived(_) => UNREAD,
        Event::WebhookRefused(_) => REFUSAL,
        Event::CallOpened(_) | Event::CallChanged(_) | Event::CallTakenOver(_) | Event::CallReleased(_) => {
            CALL
        }
        Event::ConversationEnded(_) => ENDING,
        Event::ConversationSeen(sighting) => match sighting.by {
            shared::events::Viewer::Admin(_) => SEEN_BY_ADMIN,
            shared::events::Viewer::Participant(_) => SEEN_BY_PARTICIPANT,
        },
        Event::WorkerRegistered(_) | Event::WorkerRemoved(_) => WORKER,
        Event::AdminRegistered(_) | Event::AdminRemoved(_) => ADMIN,
        Event::DreamRecorded(_) | Event::DreamChanged(_) => DREAM,
        Event::DreamInterpreted(_) => INTERPRETATION,
        Event::DreamDiscussed(_) => DISCUSSION,
        Event::SessionOpened(_) => SESSION,
        Event::ConversationLinked(_) => LINK,
        Event::ParticipantErased(_) => ERASURE,
    }
}

/// Tokens of subjects and names of keys are no pseudonyms, and who did it is none of a reader's business.
const ERASURE: Rule = Fields(&[
    ("participant_id", PARTICIPANT),
    ("by", Drop),
    ("erased_at", Plain),
    ("conversations", Drop),
    ("dreams", Drop),
    ("keys", Drop),
    ("first_sequence", Plain),
    ("last_sequence", Plain),
    ("deleted_events", Plain),
    ("deleted_webhooks", List(&DELETED_WEBHOOKS)),
    ("deleted_objects", Plain),
]);

const DELETED_WEBHOOKS: Rule = Fields(&[("source", Plain), ("events", Plain), ("last_at", Plain)]);

const PARTICIPANT: Rule = Id(Of::Participant);
const CONVERSATION: Rule = Id(Of::Conversation);

/// What came with a turn: what it is, never where, nor how people call it.
pub(crate) const ATTACHMENTS: Rule = List(&ATTACHMENT);

const ATTACHMENT: Rule = Fields(&[
    ("kind", Plain),
    ("url", Drop),
    ("media_id", Id(Of::Object)),
    ("bytes", Plain),
    ("media_type", Plain),
    ("latitude", Drop),
    ("longitude", Drop),
    ("name", Drop),
]);

const MESSAGE: Rule = Fields(&[
    ("first_sequence", Plain),
    ("conversation_id", CONVERSATION),
    ("participant_id", PARTICIPANT),
    ("ordinal", Plain),
    ("message_id", Id(Of::Message)),
    ("idempotency_key", Id(Of::Message)),
    ("role", Plain),
    ("content", Text),
    ("timestamp", Plain),
    ("provider", Plain),
    ("place", Plain),
    ("event_id", Plain),
    ("reported", Plain),
    ("original", Text),
    ("sources", Text),
    ("attachments", ATTACHMENTS),
    ("late", Plain),
    ("session", Plain),
    ("sent", Text),
]);

const ENROLMENT: Rule = Fields(&[
    ("participant_id", PARTICIPANT),
    ("access_code_hash", Drop),
    ("name", Drop),
    ("age", Plain),
    ("location", Drop),
]);

const REVOCATION: Rule = Fields(&[("token_id", Id(Of::Token)), ("expires_at", Plain)]);

const CLAIM: Rule = Fields(&[("conversation_id", CONVERSATION), ("participant_id", PARTICIPANT)]);

const STORED: Rule = Fields(&[("object", Id(Of::Object)), ("bytes", Plain), ("sha256", Id(Of::Object))]);

const REPORT: Rule = Fields(&[
    ("conversation_id", CONVERSATION),
    ("participant_id", PARTICIPANT),
    ("source", Plain),
    ("kind", Word),
    ("session", Plain),
    ("reported_at", Plain),
    ("sha256", Id(Of::Object)),
    ("superseded", Plain),
    ("turns", List(&Plain)),
    ("payload", Fields(&[("json", PAYLOAD), ("object", STORED)])),
]);

/// Both reporters' own words: their names do not meet.
const PAYLOAD: Rule = Fields(&[
    // ElevenLabs.
    ("type", Word),
    ("event_timestamp", Number),
    (
        "data",
        Fields(&[
            ("agent_id", Id(Of::Agent)),
            ("conversation_id", CONVERSATION),
            ("user_id", PARTICIPANT),
            ("status", Word),
            ("failure_reason", Word),
            ("has_audio", Number),
            ("transcript", List(&TURN)),
            ("metadata", METADATA),
            ("analysis", ANALYSIS),
            ("conversation_initiation_client_data", CLIENT_DATA),
        ]),
    ),
    // The conversation webhook.
    ("emailId", Id(Of::Email)),
    ("accountId", Id(Of::Account)),
    ("conversationId", CONVERSATION),
    (
        "transcript",
        List(&Fields(&[
            ("timestamp", Drop),
            ("speaker", Word),
            ("content", Text),
            ("messageId", Id(Of::Message)),
        ])),
    ),
    ("metadata", METADATA),
    ("summary", ANALYSIS),
]);

const TURN: Rule = Fields(&[
    ("role", Word),
    ("message", Text),
    ("original_message", Text),
    ("interrupted", Number),
    ("time_in_call_secs", Number),
    ("source_event_id", Number),
    ("created_at_unix_ms", Number),
]);

/// ElevenLabs', a telephone provider's where no call came about, and the conversation webhook's.
const METADATA: Rule = Fields(&[
    ("start_time_unix_secs", Number),
    ("accepted_time_unix_secs", Number),
    ("call_duration_secs", Number),
    ("cost", Number),
    ("termination_reason", Text),
    ("main_language", Word),
    ("text_only", Number),
    ("phone_call", PHONE_CALL),
    ("type", Word),
    ("body", Drop),
    ("sessionId", Id(Of::Session)),
    ("agentId", Id(Of::Agent)),
    ("duration", Number),
    ("messageCount", Number),
    ("platform", Word),
    ("userAgent", Drop),
]);

const PHONE_CALL: Rule = Fields(&[
    ("type", Word),
    ("direction", Word),
    ("external_number", Id(Of::Phone)),
    ("agent_number", Id(Of::Phone)),
    ("phone_number_id", Id(Of::Object)),
    ("call_sid", Id(Of::Call)),
    ("stream_sid", Drop),
]);

const ANALYSIS: Rule = TextOr(&[
    ("call_successful", Word),
    ("call_summary_title", Text),
    ("transcript_summary", Text),
    ("summary", Text),
    ("text", Text),
    ("evaluation_criteria_results", JUDGED),
    ("data_collection_results", JUDGED),
]);

/// Results by criterion or by datum.
pub(crate) const JUDGED: Rule = Each(&Fields(&[
    ("criteria_id", Word),
    ("data_collection_id", Word),
    ("result", Word),
    ("value", Text),
    ("rationale", Text),
    ("json_schema", Drop),
]));

/// What a browser gave: its variables may be anything, so that those that turnlog hands out are known, and no others.
const CLIENT_DATA: Rule = Fields(&[
    ("user_id", PARTICIPANT),
    (
        "dynamic_variables",
        Fields(&[
            ("dream_id", Id(Of::Dream)),
            ("conversation_id", CONVERSATION),
            ("participant_id", PARTICIPANT),
            ("user_id", PARTICIPANT),
            ("user_name", Drop),
            ("user_age", Number),
            ("user_location", Drop),
        ]),
    ),
]);

const RECORDING: Rule = Fields(&[
    ("conversation_id", CONVERSATION),
    ("participant_id", PARTICIPANT),
    ("session", Plain),
    ("source", Plain),
    ("agent_id", Id(Of::Agent)),
    ("reported_at", Plain),
    ("audio", STORED),
    ("media_type", Plain),
]);

/// Nobody has understood what came, so nobody knows whom it tells of.
const UNREAD: Rule = Fields(&[
    ("source", Plain),
    ("kind", Word),
    ("reason", Drop),
    ("sha256", Id(Of::Object)),
    ("bytes", Plain),
    ("received_at", Plain),
    ("payload", Drop),
]);

const REFUSAL: Rule = Fields(&[
    ("source", Plain),
    ("reason", Plain),
    ("bytes", Plain),
    ("sha256", Id(Of::Object)),
    ("address", Id(Of::Address)),
]);

const CALL_FIELDS: &[(&str, Rule)] = &[
    ("conversation_id", CONVERSATION),
    ("call_id", Id(Of::Call)),
    ("worker_id", Id(Of::Worker)),
    ("mobile_no", Id(Of::Phone)),
    ("urgency", Text),
    ("medium", Text),
    ("timestamp", Plain),
    ("admin_id", Id(Of::Admin)),
    ("by", Id(Of::Admin)),
];
const CALL: Rule = Fields(CALL_FIELDS);

const ENDING: Rule =
    Fields(&[("conversation_id", CONVERSATION), ("call", CALL), ("ended_at", Plain), ("by", Id(Of::Admin))]);

const SEEN_BY_ADMIN: Rule = Fields(&[
    ("conversation_id", CONVERSATION),
    ("by", Fields(&[("role", Plain), ("id", Id(Of::Admin))])),
    ("sequence", Plain),
]);
const SEEN_BY_PARTICIPANT: Rule = Fields(&[
    ("conversation_id", CONVERSATION),
    ("by", Fields(&[("role", Plain), ("id", PARTICIPANT)])),
    ("sequence", Plain),
]);

const WORKER: Rule = Fields(&[
    ("worker_id", Id(Of::Worker)),
    ("company_id", Id(Of::Company)),
    ("mobile_no", Id(Of::Phone)),
    ("name", Drop),
]);

const ADMIN: Rule = Fields(&[("admin_id", Id(Of::Admin)), ("company_id", Id(Of::Company)), ("name", Drop)]);

const DREAM: Rule = Fields(&[
    ("dream_id", Id(Of::Dream)),
    ("participant_id", PARTICIPANT),
    ("raw_transcript", Text),
    ("themes", List(&Text)),
    ("recorded_at", Plain),
]);

/// Interpreters are personas of an agent, and nobody.
const INTERPRETATION: Rule = Fields(&[
    ("dream_id", Id(Of::Dream)),
    ("participant_id", PARTICIPANT),
    ("interpreter_id", Plain),
    ("emotional_tone", Fields(&[("primary", Text), ("secondary", Text), ("intensity", Plain)])),
    ("text", Text),
]);

const DISCUSSION: Rule = Fields(&[
    ("dream_id", Id(Of::Dream)),
    ("participant_id", PARTICIPANT),
    ("interpreter_id", Plain),
    ("conversation_id", CONVERSATION),
]);

const SESSION: Rule = Fields(&[
    ("conversation_id", CONVERSATION),
    ("participant_id", PARTICIPANT),
    ("number", Plain),
    ("vendor_conversation_id", CONVERSATION),
    ("dream_id", Id(Of::Dream)),
    ("interpreter_id", Plain),
    ("agent_id", Id(Of::Agent)),
    ("opened_at", Plain),
    ("expires_at", Plain),
]);

const LINK: Rule = Fields(&[
    ("conversation_id", CONVERSATION),
    ("continues", CONVERSATION),
    ("participant_id", PARTICIPANT),
]);

/// The column of conversations.
pub(crate) const SESSIONS: Rule = List(&Fields(&[
    ("number", Plain),
    ("sequence", Plain),
    ("vendor_conversation_id", CONVERSATION),
    ("dream_id", Id(Of::Dream)),
    ("interpreter_id", Plain),
    ("agent_id", Id(Of::Agent)),
    ("opened_at", Plain),
    ("expires_at", Plain),
]));

/// The column of conversations.
pub(crate) const REPORTS: Rule = List(&Fields(&[
    ("session", Plain),
    ("kind", Word),
    ("sequence", Plain),
    ("source", Plain),
    ("reported_at", Plain),
    ("recorded_at", Plain),
    ("outcome", Text),
    ("failed", Plain),
    ("agent_id", Id(Of::Agent)),
    ("user_id", PARTICIPANT),
    ("account_id", Id(Of::Account)),
    ("email_id", Id(Of::Email)),
    ("started_at", Plain),
    ("ended_at", Plain),
    ("duration_seconds", Plain),
    ("cost", Plain),
    ("call_successful", Text),
    ("title", Text),
    ("summary", Text),
    ("termination_reason", Text),
    ("language", Text),
    ("phone_call", PHONE_CALL),
    ("evaluation", JUDGED),
    ("collected", JUDGED),
    ("client_data", CLIENT_DATA),
    ("metadata", METADATA),
    ("analysis", ANALYSIS),
]));

/// The column of conversations.
pub(crate) const RECORDINGS: Rule = List(&Fields(&[
    ("session", Plain),
    ("sequence", Plain),
    ("source", Plain),
    ("object", Id(Of::Object)),
    ("sha256", Id(Of::Object)),
    ("bytes", Plain),
    ("media_type", Plain),
    ("reported_at", Plain),
    ("recorded_at", Plain),
]));

#[cfg(test)]
mod tests;
