DROP FUNCTION turnlog.access_of(text, text);
CREATE FUNCTION turnlog.access_of(token text, admin text)
    RETURNS TABLE (participant_id text, has_call boolean, worker_id text, holder text, company_id text,
                   ended boolean, admin_known boolean, admin_company text)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' ROWS 1
    AS $$ SELECT c.participant_id, k.conversation IS NOT NULL, k.worker_id, k.admin_id, k.company_id,
                 c.status <> 'ACTIVE', a.token IS NOT NULL, a.company_id
          FROM turnlog.conversations c
          LEFT JOIN turnlog.calls k ON k.conversation = c.token
          LEFT JOIN turnlog.admins a ON a.token = $2
          WHERE c.token = $1 $$;
REVOKE ALL ON FUNCTION turnlog.access_of(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION turnlog.access_of(text, text) TO turnlog_reader;

-- Views cannot lose columns, and what depends on these reads nothing of those that go.
DROP VIEW turnlog.conversations, turnlog.recordings, turnlog.turns, turnlog.reports, turnlog.sessions,
    turnlog.interpretations, turnlog.dreams;
CREATE VIEW turnlog.conversations WITH (security_invoker = true) AS
    SELECT token, conversation_id, participant_id, provider, status, message_count, first_sequence,
           last_sequence, started_at, last_message_at, ended_at, account_id, email_id, agent_id,
           duration_seconds, reported_at, participant_hash, account_hash, email_hash, ended_sequence
    FROM read_v1.conversations;
CREATE VIEW turnlog.reports WITH (security_invoker = true) AS
    SELECT conversation, kind, sequence, source, participant_id, reported_at, recorded_at, outcome, agent_id,
           user_id, started_at, duration_seconds, cost, call_successful, title, summary, termination_reason,
           language, phone_call, evaluation, collected, client_data, metadata, analysis
    FROM read_v1.reports;
CREATE VIEW turnlog.turns WITH (security_invoker = true) AS
    SELECT conversation, turn, ordinal, participant_id, said_as, seconds, interrupted, original, detail
    FROM read_v1.turns;
CREATE VIEW turnlog.recordings WITH (security_invoker = true) AS
    SELECT conversation, sequence, source, participant_id, object, bytes, sha256, media_type, reported_at,
           recorded_at
    FROM read_v1.recordings;
GRANT SELECT ON turnlog.conversations, turnlog.reports, turnlog.turns, turnlog.recordings TO turnlog_reader;

DROP TABLE read_v1.sessions, read_v1.interpretations, read_v1.dreams;

-- Of several sessions the newest stays.
DELETE FROM read_v1.reports r
    WHERE EXISTS (SELECT FROM read_v1.reports n
                  WHERE n.conversation = r.conversation AND n.kind = r.kind AND n.session > r.session);
DELETE FROM read_v1.turns t
    WHERE EXISTS (SELECT FROM read_v1.turns n WHERE n.conversation = t.conversation AND n.session > t.session);
DELETE FROM read_v1.recordings r
    WHERE EXISTS (SELECT FROM read_v1.recordings n WHERE n.conversation = r.conversation AND n.session > r.session);
ALTER TABLE read_v1.reports
    DROP CONSTRAINT reports_pkey, ADD PRIMARY KEY (conversation, kind),
    DROP COLUMN ended_at, DROP COLUMN failed, DROP COLUMN session;
ALTER TABLE read_v1.turns
    DROP CONSTRAINT turns_pkey, ADD PRIMARY KEY (conversation, turn), DROP COLUMN session;
ALTER TABLE read_v1.recordings
    DROP CONSTRAINT recordings_pkey, ADD PRIMARY KEY (conversation), DROP COLUMN session;

UPDATE read_v1.conversations SET ended_sequence = NULL WHERE ended_sequence < opened_sequence;
ALTER TABLE read_v1.conversations
    DROP COLUMN ending_at, DROP COLUMN opened_sequence, DROP COLUMN session;
