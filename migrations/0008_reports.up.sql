-- What others tell of whole conversations: ElevenLabs' post-call webhooks, its API, the conversation webhook.

-- What lists ask for. Set by reports alone, so that storing a message writes none of it.
ALTER TABLE read_v1.conversations
    ADD COLUMN account_id text,
    ADD COLUMN email_id text,
    ADD COLUMN agent_id text,
    ADD COLUMN duration_seconds bigint,
    ADD COLUMN reported_at timestamptz,
    ADD COLUMN report_sequence bigint;

-- Lists go newest first, by where a conversation began in the log: that never changes, so a page further on costs
-- what the first one costs. Ids from outside may be longer than an index row can hold: a hash of them is looked up.
-- It is a column, not an expression of the index: the function is not leakproof, and row level security keeps such a
-- one out of index conditions. The first index is for what has no filter, and says so by a condition that is true of
-- every row: walking it for the few of a filter that are all old would pass everything that is newer.
ALTER TABLE read_v1.conversations
    ADD COLUMN participant_hash bigint GENERATED ALWAYS AS (hashtextextended(participant_id, 0)) STORED,
    ADD COLUMN account_hash bigint GENERATED ALWAYS AS (hashtextextended(account_id, 0)) STORED,
    ADD COLUMN email_hash bigint GENERATED ALWAYS AS (hashtextextended(email_id, 0)) STORED;
CREATE INDEX conversations_newest ON read_v1.conversations (first_sequence DESC) WHERE first_sequence > 0;
CREATE INDEX conversations_account ON read_v1.conversations (account_hash, first_sequence DESC)
    WHERE account_hash IS NOT NULL;
CREATE INDEX conversations_email ON read_v1.conversations (email_hash, first_sequence DESC)
    WHERE email_hash IS NOT NULL;
CREATE INDEX conversations_participant ON read_v1.conversations (participant_hash, first_sequence DESC)
    WHERE participant_hash IS NOT NULL;
CREATE INDEX conversations_status ON read_v1.conversations (status, first_sequence DESC);

-- How many there are of each status: counting a million takes too long for a page.
CREATE TABLE read_v1.conversation_counts (
    status text PRIMARY KEY,
    conversations bigint NOT NULL
);
INSERT INTO read_v1.conversation_counts
    SELECT status, count(*) FROM read_v1.conversations GROUP BY status
    UNION ALL SELECT unnest(ARRAY['ACTIVE', 'ENDED', 'FAILED']), 0
    ON CONFLICT DO NOTHING;

-- The newest report of each kind of a conversation.
CREATE TABLE read_v1.reports (
    conversation text COLLATE "C" NOT NULL,
    kind text NOT NULL,
    sequence bigint NOT NULL,
    source text NOT NULL,
    participant_id text,
    reported_at timestamptz,
    recorded_at timestamptz NOT NULL,
    outcome text,
    agent_id text,
    user_id text,
    started_at timestamptz,
    duration_seconds bigint,
    cost bigint,
    call_successful text,
    title text,
    summary text,
    termination_reason text,
    language text,
    phone_call jsonb,
    evaluation jsonb,
    collected jsonb,
    client_data jsonb,
    metadata jsonb,
    analysis jsonb,
    PRIMARY KEY (conversation, kind)
);

-- Every turn of the newest transcript, also those in which nothing was said: what was called, measured, found.
-- ordinal names its message.
CREATE TABLE read_v1.turns (
    conversation text COLLATE "C" NOT NULL,
    turn integer NOT NULL,
    ordinal bigint,
    participant_id text,
    said_as text NOT NULL,
    seconds bigint,
    interrupted boolean NOT NULL,
    original text,
    detail jsonb NOT NULL,
    PRIMARY KEY (conversation, turn)
);

-- The sound of a conversation; the sound itself is in the object store.
CREATE TABLE read_v1.recordings (
    conversation text COLLATE "C" PRIMARY KEY,
    sequence bigint NOT NULL,
    source text NOT NULL,
    participant_id text,
    object text NOT NULL,
    bytes bigint NOT NULL,
    sha256 text NOT NULL,
    media_type text NOT NULL,
    reported_at timestamptz,
    recorded_at timestamptz NOT NULL
);

-- Where webhooks come in. failures counts those turned away since the last good one: ElevenLabs switches a webhook
-- off after ten.
CREATE TABLE read_v1.sources (
    source text PRIMARY KEY,
    received bigint NOT NULL,
    refused bigint NOT NULL,
    failures bigint NOT NULL,
    last_received timestamptz,
    last_refused timestamptz
);

-- What was turned away, without its body.
CREATE TABLE read_v1.refused (
    sequence bigint PRIMARY KEY,
    source text NOT NULL,
    reason text NOT NULL,
    bytes bigint NOT NULL,
    sha256 text NOT NULL,
    address text NOT NULL,
    refused_at timestamptz NOT NULL
);

ALTER TABLE read_v1.reports ENABLE ROW LEVEL SECURITY;
ALTER TABLE read_v1.turns ENABLE ROW LEVEL SECURITY;
ALTER TABLE read_v1.recordings ENABLE ROW LEVEL SECURITY;
ALTER TABLE read_v1.refused ENABLE ROW LEVEL SECURITY;

CREATE POLICY own_or_all ON read_v1.reports FOR SELECT TO turnlog_reader
    USING ((SELECT turnlog.sees_everything()) OR participant_id = (SELECT turnlog.own_participant()));
CREATE POLICY own_or_all ON read_v1.turns FOR SELECT TO turnlog_reader
    USING ((SELECT turnlog.sees_everything()) OR participant_id = (SELECT turnlog.own_participant()));
CREATE POLICY own_or_all ON read_v1.recordings FOR SELECT TO turnlog_reader
    USING ((SELECT turnlog.sees_everything()) OR participant_id = (SELECT turnlog.own_participant()));
-- Addresses of callers: for services alone.
CREATE POLICY services ON read_v1.refused FOR SELECT TO turnlog_reader
    USING ((SELECT turnlog.sees_everything()));

GRANT SELECT ON ALL TABLES IN SCHEMA read_v1 TO turnlog_reader;

CREATE OR REPLACE VIEW turnlog.conversations WITH (security_invoker = true) AS
    SELECT token, conversation_id, participant_id, provider, status, message_count, first_sequence,
           last_sequence, started_at, last_message_at, ended_at, account_id, email_id, agent_id,
           duration_seconds, reported_at, participant_hash, account_hash, email_hash
    FROM read_v1.conversations;

CREATE VIEW turnlog.conversation_counts WITH (security_invoker = true) AS
    SELECT status, conversations FROM read_v1.conversation_counts;

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

CREATE VIEW turnlog.sources WITH (security_invoker = true) AS
    SELECT source, received, refused, failures, last_received, last_refused FROM read_v1.sources;

CREATE VIEW turnlog.refused WITH (security_invoker = true) AS
    SELECT sequence, source, reason, bytes, sha256, address, refused_at FROM read_v1.refused;

GRANT SELECT ON ALL TABLES IN SCHEMA turnlog TO turnlog_reader;
