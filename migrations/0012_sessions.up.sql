-- Dreams, what interpreters make of them, and the sessions in which they are talked about.

-- token names the dream as its subject in the log does. recorded_at with recorded_offset (seconds east of UTC) is the
-- time as the caller gave it.
CREATE TABLE read_v1.dreams (
    token text COLLATE "C" PRIMARY KEY,
    version_sequence bigint NOT NULL,
    recorded_at timestamptz NOT NULL,
    recorded_offset integer NOT NULL,
    dream_id text NOT NULL,
    participant_id text NOT NULL,
    raw_transcript text NOT NULL,
    themes text[] NOT NULL
);

-- What each interpreter makes of a dream now.
CREATE TABLE read_v1.interpretations (
    dream text COLLATE "C" NOT NULL,
    interpreter_id text COLLATE "C" NOT NULL,
    version_sequence bigint NOT NULL,
    interpreted_at timestamptz NOT NULL,
    participant_id text NOT NULL,
    emotional_tone jsonb NOT NULL,
    text text NOT NULL,
    PRIMARY KEY (dream, interpreter_id)
);

-- Calls of the vendor's within conversations of ours. vendor is what the subject in the log would be of the conversation
-- that each of them is to the vendor: what it is looked up by.
CREATE TABLE read_v1.sessions (
    conversation text COLLATE "C" NOT NULL,
    number integer NOT NULL,
    sequence bigint NOT NULL,
    opened_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    vendor text COLLATE "C" NOT NULL,
    participant_id text NOT NULL,
    vendor_conversation_id text NOT NULL,
    dream_id text NOT NULL,
    interpreter_id text NOT NULL,
    agent_id text NOT NULL,
    PRIMARY KEY (conversation, number)
);
CREATE INDEX sessions_vendor ON read_v1.sessions (vendor, sequence DESC);

-- What is told of a conversation is told of one of its sessions; 0 is all of it. failed and ended_at are what a report
-- means for its conversation.
ALTER TABLE read_v1.reports
    ADD COLUMN session integer NOT NULL DEFAULT 0,
    ADD COLUMN failed boolean NOT NULL DEFAULT false,
    ADD COLUMN ended_at timestamptz,
    DROP CONSTRAINT reports_pkey,
    ADD PRIMARY KEY (conversation, session, kind);
UPDATE read_v1.reports SET
    failed = kind = 'call_initiation_failure' OR coalesce(outcome = 'failed', false),
    ended_at = coalesce(started_at + make_interval(secs => greatest(duration_seconds, 0)), reported_at, recorded_at);
ALTER TABLE read_v1.reports ALTER COLUMN ended_at SET NOT NULL, ALTER COLUMN failed DROP DEFAULT;

ALTER TABLE read_v1.turns
    ADD COLUMN session integer NOT NULL DEFAULT 0,
    DROP CONSTRAINT turns_pkey,
    ADD PRIMARY KEY (conversation, session, turn);
ALTER TABLE read_v1.recordings
    ADD COLUMN session integer NOT NULL DEFAULT 0,
    DROP CONSTRAINT recordings_pkey,
    ADD PRIMARY KEY (conversation, session);

-- session and opened_sequence are of the newest session. ended_sequence and ending_at are of the newest end that somebody
-- put to it, also where it went on since. How it stands follows from these, from its sessions and from its reports.
ALTER TABLE read_v1.conversations
    ADD COLUMN session integer NOT NULL DEFAULT 0,
    ADD COLUMN opened_sequence bigint,
    ADD COLUMN ending_at timestamptz;
UPDATE read_v1.conversations SET ending_at = ended_at WHERE ended_sequence IS NOT NULL;

ALTER TABLE read_v1.dreams ENABLE ROW LEVEL SECURITY;
ALTER TABLE read_v1.interpretations ENABLE ROW LEVEL SECURITY;
ALTER TABLE read_v1.sessions ENABLE ROW LEVEL SECURITY;

-- Admins see none of them: no call has any.
CREATE POLICY own_or_all ON read_v1.dreams FOR SELECT TO turnlog_reader
    USING ((SELECT turnlog.sees_everything()) OR participant_id = (SELECT turnlog.own_participant()));
CREATE POLICY own_or_all ON read_v1.interpretations FOR SELECT TO turnlog_reader
    USING ((SELECT turnlog.sees_everything()) OR participant_id = (SELECT turnlog.own_participant()));
CREATE POLICY own_or_all ON read_v1.sessions FOR SELECT TO turnlog_reader
    USING ((SELECT turnlog.sees_everything()) OR participant_id = (SELECT turnlog.own_participant()));

GRANT SELECT ON read_v1.dreams, read_v1.interpretations, read_v1.sessions TO turnlog_reader;

CREATE VIEW turnlog.dreams WITH (security_invoker = true) AS
    SELECT token, version_sequence, dream_id, participant_id, raw_transcript, themes, recorded_at, recorded_offset
    FROM read_v1.dreams;

CREATE VIEW turnlog.interpretations WITH (security_invoker = true) AS
    SELECT dream, interpreter_id, version_sequence, participant_id, emotional_tone, text, interpreted_at
    FROM read_v1.interpretations;

CREATE VIEW turnlog.sessions WITH (security_invoker = true) AS
    SELECT conversation, number, sequence, participant_id, vendor, vendor_conversation_id, dream_id, interpreter_id,
           agent_id, opened_at, expires_at
    FROM read_v1.sessions;

CREATE OR REPLACE VIEW turnlog.reports WITH (security_invoker = true) AS
    SELECT conversation, kind, sequence, source, participant_id, reported_at, recorded_at, outcome, agent_id,
           user_id, started_at, duration_seconds, cost, call_successful, title, summary, termination_reason,
           language, phone_call, evaluation, collected, client_data, metadata, analysis, session
    FROM read_v1.reports;

CREATE OR REPLACE VIEW turnlog.turns WITH (security_invoker = true) AS
    SELECT conversation, turn, ordinal, participant_id, said_as, seconds, interrupted, original, detail, session
    FROM read_v1.turns;

CREATE OR REPLACE VIEW turnlog.recordings WITH (security_invoker = true) AS
    SELECT conversation, sequence, source, participant_id, object, bytes, sha256, media_type, reported_at,
           recorded_at, session
    FROM read_v1.recordings;

-- An end after which it went on is none any more.
CREATE OR REPLACE VIEW turnlog.conversations WITH (security_invoker = true) AS
    SELECT token, conversation_id, participant_id, provider, status, message_count, first_sequence,
           last_sequence, started_at, last_message_at, ended_at, account_id, email_id, agent_id,
           duration_seconds, reported_at, participant_hash, account_hash, email_hash,
           CASE WHEN ended_sequence > coalesce(opened_sequence, 0) THEN ended_sequence END AS ended_sequence,
           session, opened_sequence
    FROM read_v1.conversations;

GRANT SELECT ON turnlog.dreams, turnlog.interpretations, turnlog.sessions TO turnlog_reader;

-- As before, and the token of the conversation that it is about: that of the one asked for, or of the one that the
-- vendor's conversation of this name is a session of.
DROP FUNCTION turnlog.access_of(text, text);
CREATE FUNCTION turnlog.access_of(named text, admin text)
    RETURNS TABLE (token text, participant_id text, has_call boolean, worker_id text, holder text, company_id text,
                   ended boolean, admin_known boolean, admin_company text)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' ROWS 1
    AS $$ SELECT c.token, c.participant_id, k.conversation IS NOT NULL, k.worker_id, k.admin_id, k.company_id,
                 c.status <> 'ACTIVE', a.token IS NOT NULL, a.company_id
          FROM turnlog.conversations c
          LEFT JOIN turnlog.calls k ON k.conversation = c.token
          LEFT JOIN turnlog.admins a ON a.token = $2
          WHERE c.token = coalesce((SELECT o.token FROM turnlog.conversations o WHERE o.token = $1),
                                   (SELECT s.conversation FROM turnlog.sessions s WHERE s.vendor = $1
                                    ORDER BY s.sequence DESC LIMIT 1)) $$;
REVOKE ALL ON FUNCTION turnlog.access_of(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION turnlog.access_of(text, text) TO turnlog_reader;
