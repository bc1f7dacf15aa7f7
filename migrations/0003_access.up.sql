-- Who sees which rows. Services and researchers see all, a participant sees its own. There is no policy for
-- other roles, so they see no row.

ALTER TABLE read_v1.conversations ENABLE ROW LEVEL SECURITY;
ALTER TABLE read_v1.messages ENABLE ROW LEVEL SECURITY;
ALTER TABLE read_v1.participants ENABLE ROW LEVEL SECURITY;

CREATE POLICY own_or_all ON read_v1.conversations FOR SELECT TO turnlog_reader
    USING ((SELECT turnlog.sees_everything()) OR participant_id = (SELECT turnlog.own_participant()));
CREATE POLICY own_or_all ON read_v1.messages FOR SELECT TO turnlog_reader
    USING ((SELECT turnlog.sees_everything()) OR participant_id = (SELECT turnlog.own_participant()));
CREATE POLICY own_or_all ON read_v1.participants FOR SELECT TO turnlog_reader
    USING ((SELECT turnlog.sees_everything()) OR participant_id = (SELECT turnlog.own_participant()));

-- The views read with their caller's rights, so the caller needs them on the tables too.
GRANT USAGE ON SCHEMA read_v1 TO turnlog_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA read_v1 TO turnlog_reader;
