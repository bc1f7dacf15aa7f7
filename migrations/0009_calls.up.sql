-- Calls, the directory of those who work them, and who has seen what.

-- What few messages have; storing one without them writes nothing of it.
ALTER TABLE read_v1.messages
    ADD COLUMN sources text,
    ADD COLUMN attachments jsonb,
    ADD COLUMN late boolean NOT NULL DEFAULT false;

-- Where it was ended, whatever a report says of its end.
ALTER TABLE read_v1.conversations ADD COLUMN ended_sequence bigint;

-- worker names them as their subject in the log does. company_id follows the worker's: whose admins see the call while
-- nobody holds it.
CREATE TABLE read_v1.calls (
    conversation text COLLATE "C" PRIMARY KEY,
    version_sequence bigint NOT NULL,
    first_sequence bigint NOT NULL,
    opened_at timestamptz NOT NULL,
    ended_at timestamptz,
    opened_offset integer NOT NULL,
    worker text COLLATE "C" NOT NULL,
    call_id text NOT NULL,
    worker_id text NOT NULL,
    mobile_no text NOT NULL,
    urgency text NOT NULL,
    medium text NOT NULL,
    admin_id text COLLATE "C",
    company_id text COLLATE "C"
);
CREATE INDEX calls_worker ON read_v1.calls (worker);
CREATE INDEX calls_company ON read_v1.calls (company_id, first_sequence DESC);
CREATE INDEX calls_admin ON read_v1.calls (admin_id, first_sequence DESC) WHERE admin_id IS NOT NULL;

-- company_id is null for one who has left.
CREATE TABLE read_v1.workers (
    token text COLLATE "C" PRIMARY KEY,
    version_sequence bigint NOT NULL,
    worker_id text NOT NULL,
    company_id text COLLATE "C",
    mobile_no text,
    name text,
    updated_at timestamptz NOT NULL
);

CREATE TABLE read_v1.admins (
    token text COLLATE "C" PRIMARY KEY,
    version_sequence bigint NOT NULL,
    admin_id text NOT NULL,
    company_id text COLLATE "C",
    name text,
    updated_at timestamptz NOT NULL
);

-- Up to where somebody has seen a conversation; viewer names them as their subject in the log does.
CREATE TABLE read_v1.receipts (
    conversation text COLLATE "C" NOT NULL,
    viewer text COLLATE "C" NOT NULL,
    version_sequence bigint NOT NULL,
    sequence bigint NOT NULL,
    role text NOT NULL,
    viewer_id text NOT NULL,
    seen_at timestamptz NOT NULL,
    PRIMARY KEY (conversation, viewer)
);

-- Who an admin's session reads for; null where it does not say, or where the directory says otherwise than the token.
CREATE FUNCTION turnlog.own_admin() RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN CASE WHEN coalesce(current_setting('turnlog.role', true), '') = 'admin'
                THEN nullif(current_setting('turnlog.admin', true), '') END;
CREATE FUNCTION turnlog.own_company() RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN CASE WHEN coalesce(current_setting('turnlog.role', true), '') = 'admin'
                THEN nullif(current_setting('turnlog.company', true), '') END;

ALTER TABLE read_v1.calls ENABLE ROW LEVEL SECURITY;
ALTER TABLE read_v1.workers ENABLE ROW LEVEL SECURITY;
ALTER TABLE read_v1.admins ENABLE ROW LEVEL SECURITY;
ALTER TABLE read_v1.receipts ENABLE ROW LEVEL SECURITY;

-- Calls that they hold, and those of their company that nobody holds; for an admin whom the directory does not say to
-- be of another company, or gone.
CREATE POLICY everything ON read_v1.calls FOR SELECT TO turnlog_reader USING ((SELECT turnlog.sees_everything()));
CREATE POLICY held_or_open ON read_v1.calls FOR SELECT TO turnlog_reader
    USING ((SELECT turnlog.own_admin()) IS NOT NULL
           AND (admin_id = (SELECT turnlog.own_admin())
                OR admin_id IS NULL AND company_id = (SELECT turnlog.own_company()))
           AND NOT EXISTS (SELECT FROM read_v1.admins a
                           WHERE a.admin_id = (SELECT turnlog.own_admin())
                                 AND a.company_id IS DISTINCT FROM (SELECT turnlog.own_company())));
CREATE POLICY everything ON read_v1.workers FOR SELECT TO turnlog_reader USING ((SELECT turnlog.sees_everything()));
CREATE POLICY company ON read_v1.workers FOR SELECT TO turnlog_reader
    USING (company_id = (SELECT turnlog.own_company()));
CREATE POLICY everything ON read_v1.admins FOR SELECT TO turnlog_reader USING ((SELECT turnlog.sees_everything()));
CREATE POLICY own ON read_v1.admins FOR SELECT TO turnlog_reader
    USING (admin_id = (SELECT turnlog.own_admin()) OR company_id = (SELECT turnlog.own_company()));
CREATE INDEX admins_id ON read_v1.admins (admin_id);

CREATE POLICY call ON read_v1.conversations FOR SELECT TO turnlog_reader
    USING ((SELECT turnlog.own_admin()) IS NOT NULL
           AND EXISTS (SELECT FROM read_v1.calls c WHERE c.conversation = conversations.token));
CREATE POLICY call ON read_v1.messages FOR SELECT TO turnlog_reader
    USING ((SELECT turnlog.own_admin()) IS NOT NULL
           AND EXISTS (SELECT FROM read_v1.calls c WHERE c.conversation = messages.conversation));
CREATE POLICY call ON read_v1.reports FOR SELECT TO turnlog_reader
    USING ((SELECT turnlog.own_admin()) IS NOT NULL
           AND EXISTS (SELECT FROM read_v1.calls c WHERE c.conversation = reports.conversation));
CREATE POLICY call ON read_v1.turns FOR SELECT TO turnlog_reader
    USING ((SELECT turnlog.own_admin()) IS NOT NULL
           AND EXISTS (SELECT FROM read_v1.calls c WHERE c.conversation = turns.conversation));
CREATE POLICY call ON read_v1.recordings FOR SELECT TO turnlog_reader
    USING ((SELECT turnlog.own_admin()) IS NOT NULL
           AND EXISTS (SELECT FROM read_v1.calls c WHERE c.conversation = recordings.conversation));
-- A participant sees the call and the receipts of its own conversation. A function, since policies of two tables that
-- name each other would never end.
CREATE FUNCTION turnlog.owns(token text) RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = ''
    AS $$ SELECT EXISTS (SELECT FROM turnlog.conversations c
                         WHERE c.token = $1 AND c.participant_id = turnlog.own_participant()) $$;
REVOKE ALL ON FUNCTION turnlog.owns(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION turnlog.owns(text) TO turnlog_reader;
CREATE POLICY own ON read_v1.calls FOR SELECT TO turnlog_reader
    USING ((SELECT turnlog.own_participant()) IS NOT NULL AND turnlog.owns(conversation));
CREATE POLICY everything ON read_v1.receipts FOR SELECT TO turnlog_reader
    USING ((SELECT turnlog.sees_everything()));
CREATE POLICY of_conversation ON read_v1.receipts FOR SELECT TO turnlog_reader
    USING (EXISTS (SELECT FROM read_v1.calls c WHERE c.conversation = receipts.conversation)
           OR (SELECT turnlog.own_participant()) IS NOT NULL AND turnlog.owns(conversation));

GRANT SELECT ON ALL TABLES IN SCHEMA read_v1 TO turnlog_reader;

CREATE OR REPLACE VIEW turnlog.messages WITH (security_invoker = true) AS
    SELECT m.sequence, m.version_sequence, m.conversation, c.conversation_id, m.ordinal,
           m.participant_id AS research_id, m.message_id, m.role, m.content, m.said_at, m.said_offset,
           m.provider, m.recorded_at, m.place, m.sources, m.attachments, m.late
    FROM read_v1.messages m LEFT JOIN read_v1.conversations c ON c.token = m.conversation;

CREATE OR REPLACE VIEW turnlog.conversations WITH (security_invoker = true) AS
    SELECT token, conversation_id, participant_id, provider, status, message_count, first_sequence,
           last_sequence, started_at, last_message_at, ended_at, account_id, email_id, agent_id,
           duration_seconds, reported_at, participant_hash, account_hash, email_hash, ended_sequence
    FROM read_v1.conversations;

CREATE VIEW turnlog.calls WITH (security_invoker = true) AS
    SELECT conversation, version_sequence, first_sequence, opened_at, ended_at, opened_offset, worker, call_id,
           worker_id, mobile_no, urgency, medium, admin_id, company_id
    FROM read_v1.calls;

CREATE VIEW turnlog.workers WITH (security_invoker = true) AS
    SELECT token, version_sequence, worker_id, company_id, mobile_no, name, updated_at FROM read_v1.workers;

CREATE VIEW turnlog.admins WITH (security_invoker = true) AS
    SELECT token, version_sequence, admin_id, company_id, name, updated_at FROM read_v1.admins;

CREATE VIEW turnlog.receipts WITH (security_invoker = true) AS
    SELECT conversation, viewer, version_sequence, sequence, role, viewer_id, seen_at FROM read_v1.receipts;

GRANT SELECT ON ALL TABLES IN SCHEMA turnlog TO turnlog_reader;

-- What the rule at the API has to know of a conversation, told to readers who may not see it: what tells "not yours"
-- from "not there". Through the views, so that it follows a rebuild; with the rights of its owner, who is not subject
-- to row level security.
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

-- Whether the directory says otherwise than an admin's token.
CREATE FUNCTION turnlog.company_of(admin text) RETURNS TABLE (company_id text)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' ROWS 1
    AS $$ SELECT a.company_id FROM turnlog.admins a WHERE a.token = $1 $$;
REVOKE ALL ON FUNCTION turnlog.company_of(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION turnlog.company_of(text) TO turnlog_reader;

DROP FUNCTION turnlog.owner_of(text);
