-- Who reads. Services read as turnlog_reader, which is subject to row level security; the owner of the tables
-- (the projector, an operator's psql) is not.

-- A role belongs to the whole cluster: another database, or another migration at this very moment, may have
-- made it.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'turnlog_reader') THEN
        CREATE ROLE turnlog_reader NOLOGIN;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;
END
$$;

-- Whoever migrates also serves, so it must be able to SET ROLE.
DO $$
BEGIN
    IF NOT pg_has_role(current_user, 'turnlog_reader', 'USAGE') THEN
        EXECUTE format('GRANT turnlog_reader TO %I', current_user);
    END IF;
EXCEPTION WHEN unique_violation THEN
    NULL;
END
$$;

-- The stable face of the read tables: views that stay when a rebuild puts other tables behind them.
CREATE SCHEMA turnlog;

-- What a session says about who it reads for: turnlog.role (service, researcher, admin, participant) and
-- turnlog.participant. A session that says nothing sees nothing. Policies call these in a sub-select, so that
-- they are asked once for each statement, not once for each row.
CREATE FUNCTION turnlog.sees_everything() RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN coalesce(current_setting('turnlog.role', true), '') IN ('service', 'researcher');

CREATE FUNCTION turnlog.own_participant() RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN CASE WHEN coalesce(current_setting('turnlog.role', true), '') IN ('', 'participant')
                THEN nullif(current_setting('turnlog.participant', true), '') END;

GRANT USAGE ON SCHEMA turnlog TO turnlog_reader;
