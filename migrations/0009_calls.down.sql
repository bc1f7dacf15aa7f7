CREATE FUNCTION turnlog.owner_of(token text) RETURNS TABLE (participant_id text)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' ROWS 1
    AS $$ SELECT c.participant_id FROM turnlog.conversations c WHERE c.token = $1 $$;
REVOKE ALL ON FUNCTION turnlog.owner_of(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION turnlog.owner_of(text) TO turnlog_reader;

DROP FUNCTION turnlog.company_of(text), turnlog.access_of(text, text);
DROP POLICY call ON read_v1.conversations;
DROP POLICY call ON read_v1.messages;
DROP POLICY call ON read_v1.reports;
DROP POLICY call ON read_v1.turns;
DROP POLICY call ON read_v1.recordings;
DROP VIEW turnlog.receipts, turnlog.admins, turnlog.workers, turnlog.calls;
DROP TABLE read_v1.receipts, read_v1.calls, read_v1.workers, read_v1.admins;
DROP FUNCTION turnlog.owns(text), turnlog.own_company(), turnlog.own_admin();

DROP VIEW turnlog.messages;
CREATE VIEW turnlog.messages WITH (security_invoker = true) AS
    SELECT m.sequence, m.version_sequence, m.conversation, c.conversation_id, m.ordinal,
           m.participant_id AS research_id, m.message_id, m.role, m.content, m.said_at, m.said_offset,
           m.provider, m.recorded_at, m.place
    FROM read_v1.messages m LEFT JOIN read_v1.conversations c ON c.token = m.conversation;
GRANT SELECT ON turnlog.messages TO turnlog_reader;
ALTER TABLE read_v1.messages DROP COLUMN late, DROP COLUMN attachments, DROP COLUMN sources;

-- A view cannot lose columns, and what depends on this one reads nothing of the one that goes.
DROP VIEW turnlog.conversations;
CREATE VIEW turnlog.conversations WITH (security_invoker = true) AS
    SELECT token, conversation_id, participant_id, provider, status, message_count, first_sequence,
           last_sequence, started_at, last_message_at, ended_at, account_id, email_id, agent_id,
           duration_seconds, reported_at, participant_hash, account_hash, email_hash
    FROM read_v1.conversations;
GRANT SELECT ON turnlog.conversations TO turnlog_reader;
ALTER TABLE read_v1.conversations DROP COLUMN ended_sequence;
