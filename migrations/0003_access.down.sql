REVOKE SELECT ON ALL TABLES IN SCHEMA read_v1 FROM turnlog_reader;
REVOKE USAGE ON SCHEMA read_v1 FROM turnlog_reader;

DROP POLICY own_or_all ON read_v1.participants;
DROP POLICY own_or_all ON read_v1.messages;
DROP POLICY own_or_all ON read_v1.conversations;

ALTER TABLE read_v1.participants DISABLE ROW LEVEL SECURITY;
ALTER TABLE read_v1.messages DISABLE ROW LEVEL SECURITY;
ALTER TABLE read_v1.conversations DISABLE ROW LEVEL SECURITY;
