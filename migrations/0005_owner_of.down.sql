DROP FUNCTION turnlog.owner_of(text);
