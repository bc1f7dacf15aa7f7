-- Numbers for dashboards and studies: messages, answers, conversations, by UTC day, company and provider. They follow from
-- the rows of the other tables and change in the same transaction; what is read is a few rows a day, however much was said.
--
-- Messages and answers count on the day on which they were said, conversations on the day on which they began. An answer
-- is an assistant's message directly after a user's, in the order of the log. bucket says how long an answer was waited
-- for, or how long a conversation took; total adds up characters, milliseconds or seconds.

-- Company ids may be longer than an index row can hold, so what stands for one is of a fixed length.
CREATE FUNCTION turnlog.company_key(company text) RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN left(encode(sha256(convert_to(company, 'UTF8')), 'hex'), 32);

-- company is that of the call's worker as the directory has them now; empty where there is no call, or no company.
CREATE TABLE read_v1.day_counts (
    day date NOT NULL,
    company text COLLATE "C" NOT NULL,
    provider text COLLATE "C" NOT NULL,
    measure text COLLATE "C" NOT NULL,
    bucket integer NOT NULL,
    count bigint NOT NULL,
    total bigint NOT NULL,
    PRIMARY KEY (day, company, provider, measure, bucket)
);

INSERT INTO read_v1.day_counts
    SELECT (m.said_at AT TIME ZONE 'UTC')::date, coalesce(turnlog.company_key(k.company_id), ''), m.provider, c.measure,
           c.bucket, count(*), sum(c.total)::bigint
    FROM (SELECT conversation, said_at, provider, role, length(content) AS characters,
                 CASE WHEN role = 'assistant' AND lag(role) OVER log = 'user' AND said_at >= lag(said_at) OVER log
                      THEN (extract(epoch FROM said_at - lag(said_at) OVER log) * 1000000)::bigint / 1000 END AS waited
          FROM read_v1.messages WINDOW log AS (PARTITION BY conversation ORDER BY sequence)) AS m
    LEFT JOIN read_v1.calls AS k ON k.conversation = m.conversation
    CROSS JOIN LATERAL (
        SELECT 'messages.' || m.role, 0, m.characters::bigint
        UNION ALL SELECT 'answers', width_bucket(m.waited, ARRAY[
            250, 500, 750, 1000, 1500, 2000, 2500, 3000, 4000, 5000, 7000, 10000, 15000, 20000, 30000, 45000, 60000,
            120000, 300000, 600000, 1800000, 3600000, 21600000, 86400000]::bigint[]), m.waited
        WHERE m.waited IS NOT NULL) AS c (measure, bucket, total)
    GROUP BY 1, 2, 3, 4, 5;

INSERT INTO read_v1.day_counts
    SELECT (c.started_at AT TIME ZONE 'UTC')::date, coalesce(turnlog.company_key(k.company_id), ''), c.provider, n.measure,
           n.bucket, count(*), sum(n.total)::bigint
    FROM read_v1.conversations AS c LEFT JOIN read_v1.calls AS k ON k.conversation = c.token
    CROSS JOIN LATERAL (
        SELECT coalesce(c.duration_seconds, extract(epoch FROM c.ended_at - c.started_at)::bigint) AS seconds) AS d
    CROSS JOIN LATERAL (
        SELECT 'conversations', 0, 0::bigint
        UNION ALL SELECT lower(c.status), 0, 0::bigint WHERE c.status <> 'ACTIVE'
        UNION ALL SELECT 'durations', width_bucket(d.seconds, ARRAY[
            10, 30, 60, 120, 180, 300, 420, 600, 900, 1200, 1800, 2700, 3600, 7200, 14400, 86400]::bigint[]), d.seconds
        WHERE c.status <> 'ACTIVE' AND d.seconds >= 0) AS n (measure, bucket, total)
    GROUP BY 1, 2, 3, 4, 5;

ALTER TABLE read_v1.day_counts ENABLE ROW LEVEL SECURITY;

-- An admin sees the numbers of their company, whoever of it holds the calls: they tell of nobody. What is of no company is
-- for services and researchers.
CREATE POLICY everything ON read_v1.day_counts FOR SELECT TO turnlog_reader USING ((SELECT turnlog.sees_everything()));
CREATE POLICY company ON read_v1.day_counts FOR SELECT TO turnlog_reader
    USING (company = (SELECT turnlog.company_key(turnlog.own_company()))
           AND NOT EXISTS (SELECT FROM read_v1.admins a
                           WHERE a.admin_id = (SELECT turnlog.own_admin())
                                 AND a.company_id IS DISTINCT FROM (SELECT turnlog.own_company())));

GRANT SELECT ON read_v1.day_counts TO turnlog_reader;

CREATE VIEW turnlog.day_counts WITH (security_invoker = true) AS
    SELECT day, company, provider, measure, bucket, count, total FROM read_v1.day_counts;
GRANT SELECT ON turnlog.day_counts TO turnlog_reader;
