-- Where a message stands in the order of its conversation: what a transcript completes later stands between its
-- neighbours. 4294967296 is the step between two that came one after the other.
ALTER TABLE read_v1.messages ADD COLUMN place bigint;
UPDATE read_v1.messages SET place = ordinal * 4294967296;
ALTER TABLE read_v1.messages ALTER COLUMN place SET NOT NULL;

CREATE OR REPLACE VIEW turnlog.messages WITH (security_invoker = true) AS
    SELECT m.sequence, m.version_sequence, m.conversation, c.conversation_id, m.ordinal,
           m.participant_id AS research_id, m.message_id, m.role, m.content, m.said_at, m.said_offset,
           m.provider, m.recorded_at, m.place
    FROM read_v1.messages m LEFT JOIN read_v1.conversations c ON c.token = m.conversation;
