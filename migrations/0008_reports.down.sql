DROP VIEW turnlog.refused, turnlog.sources, turnlog.recordings, turnlog.turns, turnlog.reports,
    turnlog.conversation_counts;

-- A view cannot lose columns, and messages, owner_of and the seeds' views do not depend on this one's.
DROP VIEW turnlog.conversations CASCADE;
CREATE VIEW turnlog.conversations WITH (security_invoker = true) AS
    SELECT token, conversation_id, participant_id, provider, status, message_count, first_sequence,
           last_sequence, started_at, last_message_at, ended_at
    FROM read_v1.conversations;
GRANT SELECT ON turnlog.conversations TO turnlog_reader;

DROP TABLE read_v1.refused, read_v1.sources, read_v1.recordings, read_v1.turns, read_v1.reports,
    read_v1.conversation_counts;
DROP INDEX read_v1.conversations_newest, read_v1.conversations_account, read_v1.conversations_email,
    read_v1.conversations_participant, read_v1.conversations_status;
ALTER TABLE read_v1.conversations
    DROP COLUMN participant_hash, DROP COLUMN account_hash, DROP COLUMN email_hash,
    DROP COLUMN account_id, DROP COLUMN email_id, DROP COLUMN agent_id, DROP COLUMN duration_seconds,
    DROP COLUMN reported_at, DROP COLUMN report_sequence;
