-- What readers name. security_invoker: row level security asks who calls the view, not who made it.

CREATE VIEW turnlog.checkpoint WITH (security_invoker = true) AS
    SELECT name, epoch, last_sequence, updated_at FROM read_v1.checkpoint;

CREATE VIEW turnlog.conversations WITH (security_invoker = true) AS
    SELECT token, conversation_id, participant_id, provider, status, message_count, first_sequence,
           last_sequence, started_at, last_message_at, ended_at
    FROM read_v1.conversations;

-- Left joins on a key cost nothing where none of the joined columns is asked for.
CREATE VIEW turnlog.messages WITH (security_invoker = true) AS
    SELECT m.sequence, m.version_sequence, m.conversation, c.conversation_id, m.ordinal,
           m.participant_id AS research_id, m.message_id, m.role, m.content, m.said_at, m.said_offset,
           m.provider, m.recorded_at
    FROM read_v1.messages m LEFT JOIN read_v1.conversations c ON c.token = m.conversation;

CREATE VIEW turnlog.participants WITH (security_invoker = true) AS
    SELECT token, participant_id, name, age, location, enrolled_at, updated_at FROM read_v1.participants;

CREATE VIEW turnlog.parked WITH (security_invoker = true) AS
    SELECT sequence, subject, event_type, event_id, reason, attempts, state, parked_at, updated_at
    FROM read_v1.parked;

-- The table of the systems before turnlog, under both of its names, for the SQL that people have. A
-- conversation id that turnlog gave itself (standing.*) was never the vendor's.
CREATE VIEW public.conversation_messages WITH (security_invoker = true) AS
    SELECT m.sequence AS id,
           m.participant_id AS research_id,
           m.role,
           m.content,
           m.said_at AS "timestamp",
           m.provider,
           CASE WHEN starts_with(c.conversation_id, 'standing.') THEN NULL ELSE c.conversation_id END
               AS elevenlabs_conversation_id,
           m.message_id AS elevenlabs_message_id,
           m.recorded_at AS created_at
    FROM read_v1.messages m LEFT JOIN read_v1.conversations c ON c.token = m.conversation;

CREATE VIEW public.paco_conversations WITH (security_invoker = true) AS
    SELECT id, research_id, role, content, "timestamp", provider, elevenlabs_conversation_id,
           elevenlabs_message_id, created_at
    FROM public.conversation_messages;

GRANT SELECT ON ALL TABLES IN SCHEMA turnlog TO turnlog_reader;
GRANT SELECT ON public.conversation_messages, public.paco_conversations TO turnlog_reader;
