DROP VIEW turnlog.messages;
CREATE VIEW turnlog.messages WITH (security_invoker = true) AS
    SELECT m.sequence, m.version_sequence, m.conversation, c.conversation_id, m.ordinal,
           m.participant_id AS research_id, m.message_id, m.role, m.content, m.said_at, m.said_offset,
           m.provider, m.recorded_at
    FROM read_v1.messages m LEFT JOIN read_v1.conversations c ON c.token = m.conversation;
GRANT SELECT ON turnlog.messages TO turnlog_reader;
ALTER TABLE read_v1.messages DROP COLUMN place;
