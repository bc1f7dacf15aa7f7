-- Full text of messages. Words are cut and folded by the program, the same way for texts and queries, so no text search
-- configuration of Postgres has a part in it.
--
-- Beside its words a document holds lexemes that no text can: = and what a search is narrowed to. Index scans then
-- meet within the index, and a search walks through messages newest first, block by block, instead of sorting
-- all that a frequent word is in.
--   =c:TOKEN  its conversation        =p:HASH  its participant: 16 hex digits of SHA-256
--   =0:N =1:N =2:N  its block: the sequence without its 12, 15, 18 lowest bits
--   =l        it is too long for all positions of its words, so phrases are looked for in the text itself

-- No policy, and no right of the readers: only turnlog.search below looks into it.
CREATE TABLE read_v1.message_search (
    sequence bigint PRIMARY KEY,
    document tsvector NOT NULL
);
ALTER TABLE read_v1.message_search ENABLE ROW LEVEL SECURITY;
-- Every scan reads the pending list from end to end, so it is kept short.
CREATE INDEX message_search_document ON read_v1.message_search USING gin (document)
    WITH (fastupdate = on, gin_pending_list_limit = 256);

-- When the messages of a block of 4096 sequences were said: what a search for a time passes over. Corrections only
-- widen it.
CREATE TABLE read_v1.search_blocks (
    block bigint PRIMARY KEY,
    earliest timestamptz NOT NULL,
    latest timestamptz NOT NULL
);
ALTER TABLE read_v1.search_blocks ENABLE ROW LEVEL SECURITY;

-- The index is written beside the tables, with a checkpoint of its own.
INSERT INTO read_v1.checkpoint (name, epoch, last_sequence) VALUES ('search', '', 0);

-- What changes documents of old messages: corrections, and participants that became known later.
CREATE INDEX messages_versions ON read_v1.messages (version_sequence) WHERE version_sequence > sequence;
ALTER TABLE read_v1.conversations ADD COLUMN claim_sequence bigint;
CREATE INDEX conversations_claimed ON read_v1.conversations (claim_sequence) WHERE claim_sequence IS NOT NULL;

CREATE VIEW turnlog.message_search WITH (security_invoker = true) AS
    SELECT sequence, document FROM read_v1.message_search;
CREATE VIEW turnlog.search_blocks WITH (security_invoker = true) AS
    SELECT block, earliest, latest FROM read_v1.search_blocks;

-- The conversations with a call that an admin reads, as the policy of calls has it; null for others. With the rights of
-- its owner, like turnlog.search, which alone may ask.
CREATE FUNCTION turnlog.own_calls() RETURNS text[]
    LANGUAGE sql STABLE SET search_path = ''
    AS $$
        SELECT CASE WHEN turnlog.own_admin() IS NOT NULL THEN ARRAY(
            SELECT k.conversation FROM turnlog.calls k
            WHERE (k.admin_id = turnlog.own_admin() OR k.admin_id IS NULL AND k.company_id = turnlog.own_company())
                  AND NOT EXISTS (SELECT FROM turnlog.admins a WHERE a.admin_id = turnlog.own_admin()
                                         AND a.company_id IS DISTINCT FROM turnlog.own_company())) END
    $$;
REVOKE ALL ON FUNCTION turnlog.own_calls() FROM PUBLIC;

-- What the caller may find, as a query of lexemes: the empty text is everything, NULL is nothing. Of many calls only the
-- rows say which may be found: those of them are many, too.
CREATE FUNCTION turnlog.search_scope(calls text[]) RETURNS text
    LANGUAGE sql STABLE SET search_path = ''
    AS $$
        SELECT CASE
            WHEN turnlog.sees_everything() OR cardinality(calls) > 256 THEN ''
            WHEN turnlog.own_participant() IS NOT NULL THEN format(
                '''=p:%s''', left(encode(sha256(convert_to(turnlog.own_participant(), 'UTF8')), 'hex'), 16))
            WHEN cardinality(calls) > 0 THEN format(
                '(%s)', (SELECT string_agg(format('''=c:%s''', token), ' | ') FROM unnest(calls) AS token))
        END
    $$;

-- The newest matches of a query before a sequence, at most so many, and how well each of them matches.
--
-- @@ is not leakproof, so row level security keeps it out of index conditions. Here the owner's rights read the index,
-- the caller's settings say what may be found, and the caller reads what was found through the views once more.
--
-- It walks from the newest block towards the oldest, in steps that grow while there is little to find. So a frequent
-- word costs a look at few messages, and a rare one few looks. Prefixes have the index gather every word that begins
-- so in the whole log, at each step. So the smallest steps, and all that are narrowed to somebody's messages or to one
-- conversation, look for them in the documents instead.
CREATE FUNCTION turnlog.search(
    words tsquery, prefixes boolean, conversation text, speaker text, said_from timestamptz, said_before timestamptz,
    before bigint, at_most integer
) RETURNS TABLE (sequence bigint, rank real)
    LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 500
    SET search_path = '' SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan
    AS $$
    #variable_conflict use_column
    DECLARE
        smallest CONSTANT bigint := 4096;
        small CONSTANT bigint := smallest * 8;
        largest CONSTANT bigint := smallest * 512;
        everything CONSTANT boolean := turnlog.sees_everything();
        own CONSTANT text := turnlog.own_participant();
        calls CONSTANT text[] := turnlog.own_calls();
        narrowed text := turnlog.search_scope(calls);
        size bigint := smallest;
        upper bigint := before;
        lower bigint;
        grain bigint;
        newest bigint;
        blocks text;
        looked_for tsquery;
        missing integer := at_most;
        added integer;
    BEGIN
        IF narrowed IS NULL THEN
            RETURN;
        END IF;
        IF conversation IS NOT NULL THEN
            narrowed := concat_ws(' & ', nullif(narrowed, ''), format('''=c:%s''', conversation));
        END IF;
        LOOP
            SELECT b.block INTO newest FROM turnlog.search_blocks b
            WHERE b.block < (upper + smallest - 1) / smallest AND b.latest >= said_from AND b.earliest < said_before
            ORDER BY b.block DESC LIMIT 1;
            EXIT WHEN NOT FOUND;
            upper := least(upper, (newest + 1) * smallest);
            -- A step is one block of the smallest size, or eight of a size below its own.
            grain := greatest(smallest, size / 8);
            lower := greatest(0, (upper - 1) / grain * grain - (size - grain));
            SELECT string_agg(format('''=%s:%s''', CASE grain WHEN smallest THEN 0 WHEN small THEN 1 ELSE 2 END, n), ' | ')
            INTO blocks FROM generate_series(lower / grain, (upper - 1) / grain) AS n;
            looked_for := concat_ws(' & ', format('(%s)', blocks), nullif(narrowed, ''))::tsquery;
            IF NOT prefixes OR (size > smallest AND narrowed = '') THEN
                looked_for := looked_for && words;
            END IF;
            RETURN QUERY
                SELECT hit.sequence, ts_rank_cd(hit.document, words, 1)
                FROM (SELECT s.sequence, s.document
                      FROM (SELECT i.sequence, i.document FROM turnlog.message_search i
                            WHERE i.document @@ looked_for OFFSET 0) AS s
                      JOIN turnlog.messages m ON m.sequence = s.sequence
                      WHERE s.sequence < upper AND ts_match_vq(s.document, words)
                            AND (everything OR m.research_id = own OR m.conversation = ANY (calls))
                            AND (speaker IS NULL OR m.role = speaker)
                            AND m.said_at >= said_from AND m.said_at < said_before
                      ORDER BY s.sequence DESC LIMIT missing OFFSET 0) AS hit;
            GET DIAGNOSTICS added = ROW_COUNT;
            missing := missing - added;
            EXIT WHEN missing <= 0 OR lower = 0;
            IF added < at_most / 8 THEN
                size := least(size * 8, largest);
            END IF;
            upper := lower;
        END LOOP;
    END
    $$;

REVOKE ALL ON FUNCTION turnlog.search(tsquery, boolean, text, text, timestamptz, timestamptz, bigint, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION turnlog.search(tsquery, boolean, text, text, timestamptz, timestamptz, bigint, integer)
    TO turnlog_reader;
