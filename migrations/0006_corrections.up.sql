-- Corrected messages alone, so that a feed that resumes finds what was corrected since without reading all of
-- a long conversation. A message that was never corrected has no entry, so storing one costs nothing.
CREATE INDEX messages_corrected ON read_v1.messages (conversation, version_sequence)
    WHERE version_sequence > sequence;
