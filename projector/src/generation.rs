//! Generations of the read tables: the one that is read, one that is made beside it, and the one before.
//!
//! Each is a schema. How its tables look is taken from the catalogue, so that a migration is written once; which one is
//! read is a matter of names, and of the views that people read through.

use sqlx::{AssertSqlSafe, PgConnection};

use crate::database::SCHEMA;

/// The one that is read and that the projector writes.
pub(crate) const LIVE: &str = SCHEMA;
/// One that is being made.
pub(crate) const BUILDING: &str = "read_v1_building";
/// The one that was read before the last change.
pub(crate) const BEFORE: &str = "read_v1_before";
/// What is searched is written beside the tables, so it stays with those that are read.
pub(crate) const SEARCH: [&str; 2] = ["message_search", "search_blocks"];
/// Tables whose indexes are made when they are full: the large ones, and those that every event writes.
const INDEXED_AFTERWARDS: [&str; 2] = ["messages", "conversations"];

/// Which tables of a generation are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// All that are folded from the log.
    Tables,
    /// What is searched.
    Search,
}

/// $1: the generation that is made, $2: [`SEARCH`], $3: whether it is that part, $4: whether it is to be kept.
const TABLES: &str = "
    SELECT format('CREATE %4$s TABLE %1$I.%2$I (LIKE read_v1.%2$I INCLUDING ALL EXCLUDING INDEXES)%3$s', $1, c.relname,
                  ' WITH (' || array_to_string(c.reloptions, ', ') || ')', CASE WHEN NOT $4 THEN 'UNLOGGED' END)
           || CASE WHEN c.relrowsecurity
                   THEN format('; ALTER TABLE %I.%I ENABLE ROW LEVEL SECURITY', $1, c.relname) ELSE '' END
           || coalesce('; ' || string_agg(
                  format('ALTER TABLE %I.%I ADD CONSTRAINT %I %s', $1, c.relname, k.conname, pg_get_constraintdef(k.oid)),
                  '; ' ORDER BY k.conname), '')
    FROM pg_class c LEFT JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype IN ('p', 'u')
    WHERE c.relnamespace = 'read_v1'::regnamespace AND c.relkind = 'r' AND (c.relname = ANY ($2)) = $3
    GROUP BY c.oid, c.relname, c.relrowsecurity, c.reloptions ORDER BY c.relname";

/// $1: the generation, $2: tables, $3: whether those of these tables are meant, $4 and $5: the part, as above.
const INDEXES: &str = "
    SELECT format('CREATE %s INDEX %I ON %I.%I %s', CASE WHEN i.indisunique THEN 'UNIQUE' ELSE '' END, n.relname, $1,
                  t.relname, substring(pg_get_indexdef(n.oid) FROM position(' USING ' IN pg_get_indexdef(n.oid))))
    FROM pg_index i JOIN pg_class n ON n.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid
    WHERE t.relnamespace = 'read_v1'::regnamespace AND (t.relname = ANY ($2)) = $3 AND (t.relname = ANY ($4)) = $5
          AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = n.oid AND k.conrelid = t.oid)
    ORDER BY n.relname";

/// Who may see what, said of the tables that are named `read_v1` once they are. $1 and $2: the part, as above.
const RIGHTS: &str = "
    SELECT format('CREATE POLICY %I ON %I.%I AS %s FOR %s TO %s%s%s', policyname, schemaname, tablename, permissive, cmd,
                  (SELECT string_agg(quote_ident(role), ', ') FROM unnest(roles) AS role),
                  ' USING (' || qual || ')', ' WITH CHECK (' || with_check || ')')
    FROM pg_policies WHERE schemaname = 'read_v1' AND (tablename = ANY ($1)) = $2
    UNION ALL
    SELECT format('GRANT %s ON read_v1.%I TO %s', a.privilege_type, c.relname,
                  CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END)
    FROM pg_class c, aclexplode(c.relacl) AS a
    WHERE c.relnamespace = 'read_v1'::regnamespace AND c.relkind = 'r' AND (c.relname = ANY ($1)) = $2 AND a.grantee <> c.relowner
    UNION ALL
    SELECT format('GRANT %s ON SCHEMA read_v1 TO %s', a.privilege_type,
                  CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END)
    FROM pg_namespace n, aclexplode(n.nspacl) AS a WHERE n.nspname = 'read_v1' AND a.grantee <> n.nspowner";

/// Every view of the live tables, as it was made.
const VIEWS: &str = "
    SELECT format('CREATE OR REPLACE VIEW %s%s AS %s', v.oid::regclass,
                  ' WITH (' || array_to_string(v.reloptions, ', ') || ')', rtrim(pg_get_viewdef(v.oid), ';'))
    FROM pg_class v
    WHERE v.relkind = 'v' AND EXISTS (
        SELECT FROM pg_rewrite r JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
        JOIN pg_class t ON d.refclassid = 'pg_class'::regclass AND t.oid = d.refobjid
        WHERE r.ev_class = v.oid AND t.relnamespace = 'read_v1'::regnamespace)
    ORDER BY 1";

/// $1: the generation.
const ALL_TABLES: &str = "
    SELECT format('%I.%I', $1, relname) FROM pg_class
    WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1) AND relkind = 'r' ORDER BY relname";

/// What tables need once they are full: what the planner knows, and autovacuum as those that are read have it. $1: the
/// generation.
const SETTLING: &str = "
    SELECT format('ANALYZE %1$I.%2$I; ALTER TABLE %1$I.%2$I RESET (autovacuum_enabled)', $1, m.relname)
           || coalesce(format('; ALTER TABLE %I.%I SET (', $1, m.relname) || array_to_string(l.reloptions, ', ') || ')', '')
    FROM pg_class m
    JOIN pg_class l ON l.relname = m.relname AND l.relnamespace = 'read_v1'::regnamespace AND l.relkind = 'r'
    WHERE m.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1) AND m.relkind = 'r' ORDER BY m.relname";

/// Makes empty tables, without the indexes that are made when they are full. What a run that died has left goes.
///
/// Those that are to be kept are logged from the beginning: to be set so when they are full they would be written twice.
pub(crate) async fn make(connection: &mut PgConnection, part: Part, kept: bool) -> Result<(), sqlx::Error> {
    let search = part == Part::Search;
    let mut all = vec![format!("DROP SCHEMA IF EXISTS {BUILDING} CASCADE; CREATE SCHEMA {BUILDING}")];
    let made = sqlx::query_scalar(TABLES).bind(BUILDING).bind(&SEARCH[..]).bind(search).bind(kept);
    all.extend(made.fetch_all(&mut *connection).await?);
    if !search {
        all.extend(indexes(connection, part, false).await?);
        all.push(format!(
            "INSERT INTO {BUILDING}.conversation_counts SELECT status, 0 FROM {LIVE}.conversation_counts;
             INSERT INTO {BUILDING}.checkpoint (name, epoch, last_sequence) SELECT name, '', 0 FROM {LIVE}.checkpoint"
        ));
    }
    run(connection, &all).await?;
    // Autovacuum would come when many rows are there, and indexes wait for it.
    let quiet = |table| format!("ALTER TABLE {table} SET (autovacuum_enabled = off)");
    let all: Vec<_> = tables(connection, BUILDING).await?.into_iter().map(quiet).collect();
    run(connection, &all).await
}

/// What a part that is full needs to be read and written, statement by statement: its indexes first.
pub(crate) async fn completion(
    connection: &mut PgConnection,
    part: Part,
) -> Result<Vec<String>, sqlx::Error> {
    let mut statements = indexes(connection, part, true).await?;
    let settling = sqlx::query_scalar(SETTLING).bind(BUILDING).fetch_all(connection);
    statements.extend(settling.await?);
    Ok(statements)
}

/// The statements that make the indexes that are made afterwards, or the others.
async fn indexes(
    connection: &mut PgConnection,
    part: Part,
    afterwards: bool,
) -> Result<Vec<String>, sqlx::Error> {
    let (late, search) = (INDEXED_AFTERWARDS.as_slice(), part == Part::Search);
    let late = if search { SEARCH.as_slice() } else { late };
    let found = sqlx::query_scalar(INDEXES).bind(BUILDING).bind(late).bind(afterwards).bind(&SEARCH[..]);
    found.bind(search).fetch_all(connection).await
}

/// Every table of a generation, in full.
pub(crate) async fn tables(
    connection: &mut PgConnection,
    generation: &str,
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(ALL_TABLES).bind(generation).fetch_all(connection).await
}

/// Whether there is such a generation, and of which migration it says to be.
pub(crate) async fn find(
    connection: &mut PgConnection,
    generation: &str,
) -> Result<Option<Option<String>>, sqlx::Error> {
    sqlx::query_scalar("SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = $1")
        .bind(generation)
        .fetch_optional(connection)
        .await
}

/// The newest migration that was applied, as a generation is marked with it.
pub(crate) async fn migration(connection: &mut PgConnection) -> Result<String, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT 'migration ' || coalesce(max(version), 0) FROM public._sqlx_migrations WHERE success",
    )
    .fetch_one(connection)
    .await
}

/// The statements that put a generation in the place of the live one, which becomes the one before. Views and rights are
/// taken as they are now. The names of the connection's search path must not hide any schema.
pub(crate) async fn swap(
    connection: &mut PgConnection,
    candidate: &str,
    migration: &str,
) -> Result<Vec<String>, sqlx::Error> {
    let mut all: Vec<String> =
        SEARCH.map(|table| format!("ALTER TABLE {LIVE}.{table} SET SCHEMA {candidate}")).into();
    all.push(format!(
        "ALTER SCHEMA {LIVE} RENAME TO read_v1_leaving; ALTER SCHEMA {candidate} RENAME TO {LIVE};
         ALTER SCHEMA read_v1_leaving RENAME TO {BEFORE};
         COMMENT ON SCHEMA {BEFORE} IS '{migration}'; COMMENT ON SCHEMA {LIVE} IS NULL"
    ));
    if candidate == BUILDING {
        all.extend(rights(connection, false).await?);
    }
    all.extend(views(connection).await?);
    Ok(all)
}

/// The statements that put the search tables that were made in the place of the live ones, which go.
pub(crate) async fn swap_search(connection: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    let mut all = vec![format!("CREATE SCHEMA {BUILDING}_old")];
    for table in SEARCH {
        all.push(format!(
            "ALTER TABLE {LIVE}.{table} SET SCHEMA {BUILDING}_old; ALTER TABLE {BUILDING}.{table} SET SCHEMA {LIVE}"
        ));
    }
    all.extend(rights(connection, true).await?);
    all.extend(views(connection).await?);
    all.push(format!("DROP SCHEMA {BUILDING}_old CASCADE; DROP SCHEMA {BUILDING}"));
    Ok(all)
}

async fn rights(connection: &mut PgConnection, of_search: bool) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(RIGHTS).bind(&SEARCH[..]).bind(of_search).fetch_all(connection).await
}

async fn views(connection: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(VIEWS).fetch_all(connection).await
}

/// Runs statements that were made here, one after the other, on one trip.
pub(crate) async fn run(connection: &mut PgConnection, statements: &[String]) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(statements.join(";\n"))).execute(connection).await?;
    Ok(())
}
