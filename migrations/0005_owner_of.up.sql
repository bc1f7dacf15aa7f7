-- Whose a conversation is, told to readers who may not see it: what tells "not yours" from "not there". It
-- gives away that and nothing else. Through the view, so that it follows a rebuild; with the rights of its
-- owner, who is not subject to row level security.
CREATE FUNCTION turnlog.owner_of(token text) RETURNS TABLE (participant_id text)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' ROWS 1
    AS $$ SELECT c.participant_id FROM turnlog.conversations c WHERE c.token = $1 $$;

REVOKE ALL ON FUNCTION turnlog.owner_of(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION turnlog.owner_of(text) TO turnlog_reader;
