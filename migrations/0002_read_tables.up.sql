-- Version 1 of the read tables. All of it is folded from the log and can be thrown away and built again.

CREATE SCHEMA read_v1;

-- How far the log is folded in, committed together with the rows. epoch is the stream's; empty before the
-- first event.
CREATE TABLE read_v1.checkpoint (
    name text PRIMARY KEY,
    epoch text NOT NULL,
    last_sequence bigint NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO read_v1.checkpoint (name, epoch, last_sequence) VALUES ('read', '', 0);

-- token names the conversation as its subject in the log does. Ids from outside may be 16 KiB long, past what
-- an index row can hold, so every key is a token. Collation "C" compares tokens as bytes, several times
-- faster. Counters change with every batch: the free space keeps those updates within the page and out of the
-- index.
CREATE TABLE read_v1.conversations (
    token text COLLATE "C" PRIMARY KEY,
    conversation_id text NOT NULL,
    participant_id text,
    provider text NOT NULL,
    status text NOT NULL DEFAULT 'ACTIVE',
    message_count bigint NOT NULL,
    first_sequence bigint NOT NULL,
    last_sequence bigint NOT NULL,
    started_at timestamptz NOT NULL,
    last_message_at timestamptz NOT NULL,
    ended_at timestamptz
) WITH (fillfactor = 60);

-- sequence is the first version's, the message's id for ever; version_sequence is the newest version's.
-- said_at with said_offset (seconds east of UTC) is the time as the caller gave it. Fixed widths first: no
-- padding.
CREATE TABLE read_v1.messages (
    sequence bigint PRIMARY KEY,
    version_sequence bigint NOT NULL,
    ordinal bigint NOT NULL,
    said_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    said_offset integer NOT NULL,
    conversation text COLLATE "C" NOT NULL,
    participant_id text,
    message_id text,
    role text NOT NULL,
    provider text NOT NULL,
    content text NOT NULL
);
-- The one way messages are looked up besides their id. Every further index costs the projection a tenth of
-- its speed.
CREATE INDEX messages_conversation ON read_v1.messages (conversation, sequence);

-- Never the access code's hash: that stays in the log.
CREATE TABLE read_v1.participants (
    token text COLLATE "C" PRIMARY KEY,
    participant_id text NOT NULL,
    name text,
    age integer,
    location text,
    enrolled_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

-- Events that could not be folded. Nothing personal: the reason names a kind of error, never a value.
CREATE TABLE read_v1.parked (
    sequence bigint PRIMARY KEY,
    subject text NOT NULL,
    event_type text NOT NULL,
    event_id text NOT NULL,
    reason text NOT NULL,
    attempts integer NOT NULL DEFAULT 1,
    state text NOT NULL DEFAULT 'parked' CHECK (state IN ('parked', 'dropped')),
    parked_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
