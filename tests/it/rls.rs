//! Row level security as the last defence: whatever a statement of a reader's says, it sees the rows of whom it reads for.
//! What is looked at comes from the catalogue, so that a new table, view or function fails here until it is guarded.

use std::collections::BTreeSet;

use chrono::Utc;
use serde_json::Value;
use shared::envelope::{Envelope, EventId, Origin};
use shared::events::{Admin, Call, Enrolment, Event, Refusal, Sighting, Source, Viewer, Worker};
use shared::ids::Timestamp;
use shared::log::Log;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tests::{Parts, System};

use crate::continuity::Talk;
use crate::publish;

/// Tables of which everybody may read everything, and all that they hold: nothing of anybody.
const IMPERSONAL: [(&str, &str); 4] = [
    // How far the log is folded in.
    ("checkpoint", "name epoch last_sequence updated_at"),
    // How many conversations there are.
    ("conversation_counts", "status conversations"),
    // A subject is a hash, and the reason names a kind of error, never a value.
    ("parked", "sequence subject event_type event_id reason attempts state parked_at updated_at"),
    // How many webhooks came in, by the way that they came.
    ("sources", "source received refused failures last_received last_refused"),
];

/// Functions with the rights of the tables' owner, and what they answer.
const TRUSTED: [(&str, &str); 4] = [
    // What the rule at the API has to know of a conversation whose hash is known: what tells "not yours" from "not there".
    (
        "access_of",
        "TABLE(token text, participant_id text, has_call boolean, worker_id text, holder text, company_id text, \
         ended boolean, admin_known boolean, admin_company text)",
    ),
    // Whether the directory says otherwise than an admin's token.
    ("company_of", "TABLE(company_id text)"),
    // Whether a conversation is the session's own.
    ("owns", "boolean"),
    // Where matches are that the session may read, and how good they are.
    ("search", "TABLE(sequence bigint, rank real)"),
];

/// Whose rows there are. Each row of somebody's has one of these in it somewhere.
const PEOPLE: [&str; 2] = ["person-one", "person-two"];
const FIRMS: [&str; 2] = ["firm-one", "firm-two"];

/// What a reader's session says.
type Settings = Vec<(&'static str, String)>;

fn participant(person: &str) -> Settings {
    vec![("role", "participant".into()), ("participant", person.to_owned())]
}

fn admin(firm: &str) -> Settings {
    vec![("role", "admin".into()), ("admin", format!("admin-of-{firm}")), ("company", firm.to_owned())]
}

fn service() -> Settings {
    vec![("role", "service".into())]
}

fn id<T: TryFrom<String>>(text: impl Into<String>) -> T {
    T::try_from(text.into()).ok().unwrap()
}

/// What is known of somebody who dreams, and of their conversation.
fn of_person(person: &str) -> Vec<Event> {
    let (conversation, dream, vendor) =
        (format!("talk-of-{person}"), format!("dream-of-{person}"), format!("vendor-of-{person}-"));
    let talk = Talk { owner: person, id: &conversation, dream: &dream, vendor: &vendor };
    vec![
        Event::ParticipantEnrolled(Enrolment {
            participant_id: id(person),
            access_code_hash: None,
            name: Some("Asha".into()),
            age: Some(71),
            location: Some("Pune".into()),
        }),
        talk.dream("I fell"),
        talk.interpretation("a fall"),
        talk.opened(1),
        talk.said(1, 1, &format!("falling, says {person}")),
        talk.reported(1, Some("done"), Some(30)),
        talk.sound(1, person),
        seen(&conversation, Viewer::Participant(id(person))),
    ]
}

/// What is known of a company, of those who work there, and of a call.
fn of_firm(firm: &str) -> Vec<Event> {
    let conversation = format!("call-of-{firm}");
    let talk = Talk { owner: firm, id: &conversation, dream: "", vendor: "" };
    let (worker_id, admin_id) = (format!("worker-of-{firm}"), format!("admin-of-{firm}"));
    let mobile_no = "+919325590143".to_owned();
    vec![
        Event::WorkerRegistered(Worker {
            worker_id: id(worker_id.as_str()),
            company_id: id(firm),
            mobile_no: mobile_no.clone(),
            name: None,
        }),
        Event::AdminRegistered(Admin { admin_id: id(admin_id.as_str()), company_id: id(firm), name: None }),
        Event::CallOpened(Call {
            conversation_id: id(conversation.as_str()),
            call_id: id("call"),
            worker_id: id(worker_id),
            mobile_no,
            urgency: "CRITICAL".into(),
            medium: "Voice".into(),
            opened_at: Timestamp::from_parts(Utc::now(), 0),
            admin_id: None,
        }),
        of_nobody(talk.said(0, 1, &format!("falling, says {firm}"))),
        of_nobody(talk.reported(0, Some("done"), Some(30))),
        of_nobody(talk.sound(0, firm)),
        seen(&conversation, Viewer::Admin(id(admin_id))),
    ]
}

fn seen(conversation: &str, by: Viewer) -> Event {
    Event::ConversationSeen(Sighting { conversation_id: id(conversation), by, sequence: 1 })
}

/// The same without a participant, as calls are.
pub(crate) fn of_nobody(mut event: Event) -> Event {
    if let Event::MessageRecorded(message) = &mut event {
        message.participant_id = None;
    } else if let Event::ConversationReported(report) = &mut event {
        report.participant_id = None;
    } else if let Event::AudioStored(recording) = &mut event {
        recording.participant_id = None;
    }
    event
}

/// A system whose tables all hold something, most of them something of everybody.
pub(crate) async fn filled() -> System {
    let system = System::start().await;
    let log = Log::open(&system.parts.nats, "test").await.unwrap();
    let people = PEOPLE.iter().flat_map(|person| of_person(person));
    for event in people.chain(FIRMS.iter().flat_map(|firm| of_firm(firm))) {
        publish(&log, &event).await;
    }
    let (source, reason) = (Source::ElevenlabsWebhook, "bad_signature".to_owned());
    let (sha256, address) = (String::new(), "192.0.2.7".to_owned());
    let refusal = Event::WebhookRefused(Refusal { source, reason, bytes: 2, sha256, address });
    publish(&log, &refusal).await;
    // What cannot be read is parked.
    let sealed =
        Envelope::wrap(refusal.subject(), EventId::random(), &refusal, &Origin::default(), Utc::now());
    let sealed = sealed.unwrap();
    let subject = sealed.subject.as_str().to_owned();
    let ack = log.client().request_with_headers(subject, sealed.headers, "{".into()).await.unwrap();
    let ack: Value = serde_json::from_slice(&ack.payload).unwrap();
    let last = ack["seq"].as_u64().unwrap();
    system.projected(last).await;
    let found = system.service().get(&format!("/api/v1/search?q=falling&after={last}")).await;
    assert_eq!(found.body["hits"].as_array().map(Vec::len), Some(4), "{}", found.text);
    system
}

/// A table or view, as the catalogue has it.
#[derive(Debug, sqlx::FromRow)]
struct Relation {
    schema: String,
    name: String,
    /// `v` of a view, `r` of a table.
    kind: String,
    columns: String,
    /// Row level security is on.
    secured: bool,
    policies: i64,
    /// Row level security asks who reads the view, not who made it.
    invoker: bool,
    /// The reader may read some of it, or write some.
    readable: bool,
    writable: bool,
}

impl Relation {
    fn full(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    fn is_view(&self) -> bool {
        self.kind == "v"
    }

    fn is_impersonal(&self) -> bool {
        IMPERSONAL.iter().any(|(name, _)| *name == self.name)
    }

    /// What is wrong with how it is guarded, if anything is.
    fn fault(&self) -> Option<String> {
        let impersonal = IMPERSONAL.iter().find(|(name, _)| *name == self.name && self.kind == "r");
        let fault = match self.kind.as_str() {
            _ if self.writable => "the reader may write it",
            "v" if self.readable && !self.invoker => "it shows what its owner sees",
            "v" => return None,
            "r" | "p" => match impersonal {
                Some((_, columns)) if self.columns == *columns => return None,
                Some(_) => "it has other columns than those that were found to be impersonal",
                None if !self.schema.starts_with("read_") && !self.readable => return None,
                None if !self.secured => "it has no row level security",
                None if self.readable && self.policies == 0 => "it has no policy",
                None => return None,
            },
            _ if self.readable => "row level security does not know its kind",
            _ => return None,
        };
        Some(format!("{}: {fault}", self.full()))
    }
}

async fn relations(owner: &mut PgConnection) -> Vec<Relation> {
    let statement = "
        SELECT n.nspname::text AS schema, c.relname::text AS name, c.relkind::text AS kind,
               (SELECT string_agg(a.attname, ' ' ORDER BY a.attnum) FROM pg_attribute a
                WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns,
               c.relrowsecurity AS secured, (SELECT count(*) FROM pg_policy p WHERE p.polrelid = c.oid) AS policies,
               coalesce('security_invoker=true' = ANY (c.reloptions), false) AS invoker,
               has_any_column_privilege('turnlog_reader', c.oid, 'SELECT') AS readable,
               has_table_privilege('turnlog_reader', c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE, TRIGGER')
                   OR has_any_column_privilege('turnlog_reader', c.oid, 'INSERT, UPDATE') AS writable
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relpersistence <> 't'
              AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
        ORDER BY 1, 2";
    sqlx::query_as(statement).fetch_all(owner).await.unwrap()
}

/// What the catalogue says that should not be so.
pub(crate) async fn faults(owner: &mut PgConnection) -> Vec<String> {
    let mut faults: Vec<_> = relations(owner).await.iter().filter_map(Relation::fault).collect();
    let functions: Vec<(String, String)> = sqlx::query_as(
        "SELECT p.proname::text, pg_get_function_result(p.oid) FROM pg_proc p
         JOIN pg_namespace n ON n.oid = p.pronamespace
         WHERE p.prosecdef AND n.nspname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1",
    )
    .fetch_all(&mut *owner)
    .await
    .unwrap();
    let trusted = |(name, result): &(String, String)| TRUSTED.contains(&(name.as_str(), result.as_str()));
    let unknown = functions.iter().filter(|function| !trusted(function));
    faults.extend(unknown.map(|(name, _)| format!("{name}: it has its owner's rights")));
    let schemas: Vec<String> = sqlx::query_scalar(
        "SELECT nspname::text FROM pg_namespace WHERE has_schema_privilege('turnlog_reader', oid, 'CREATE')
                                                      AND nspname NOT LIKE 'pg\\_temp%'",
    )
    .fetch_all(owner)
    .await
    .unwrap();
    faults.extend(schemas.iter().map(|schema| format!("{schema}: the reader may make tables there")));
    faults
}

/// The address of the database for a login that is a reader and nothing else.
async fn login(system: &System) -> String {
    let mut owner = system.tables().await;
    let url = &system.parts.database_url;
    let name = format!("probe_{}", url.rsplit_once('/').unwrap().1);
    for statement in [format!("CREATE ROLE {name} LOGIN"), format!("GRANT turnlog_reader TO {name}")] {
        owner.execute(AssertSqlSafe(statement)).await.unwrap();
    }
    let (scheme, rest) = url.split_once("://").unwrap();
    let (_, server) = rest.split_once('@').unwrap();
    format!("{scheme}://{name}@{server}")
}

/// Such a login's session, in the role of the readers.
pub(crate) async fn reader(system: &System) -> PgConnection {
    let mut reader = PgConnection::connect(&login(system).await).await.unwrap();
    reader.execute("SET ROLE turnlog_reader").await.unwrap();
    reader
}

/// Every row that a statement shows to a session that says this, as JSON.
async fn rows(reader: &mut PgConnection, settings: &Settings, from: &str) -> Vec<String> {
    let mut transaction = reader.begin().await.unwrap();
    for (name, value) in settings {
        let set = sqlx::query("SELECT set_config('turnlog.' || $1, $2, true)").bind(name).bind(value);
        set.execute(&mut *transaction).await.unwrap();
    }
    let statement = format!("SELECT to_jsonb(t)::text FROM {from} AS t ORDER BY 1");
    sqlx::query_scalar(AssertSqlSafe(statement)).fetch_all(&mut *transaction).await.unwrap()
}

/// Tables that hold nothing, of which the other checks say nothing either.
async fn empty(owner: &mut PgConnection) -> Vec<String> {
    let mut empty = Vec::new();
    for relation in relations(owner).await {
        let statement = format!("SELECT EXISTS (SELECT FROM {})", relation.full());
        let held: bool = sqlx::query_scalar(AssertSqlSafe(statement)).fetch_one(&mut *owner).await.unwrap();
        if !held {
            empty.push(relation.full());
        }
    }
    empty
}

/// What readers see of others, or do not see of their own.
pub(crate) async fn leaks(owner: &mut PgConnection, reader: &mut PgConnection) -> Vec<String> {
    let mut leaks = Vec::new();
    let personal = |relation: &Relation| relation.readable && !relation.is_impersonal();
    // What stands for a company where an id would be too long.
    let mut keys = Vec::new();
    for firm in FIRMS {
        let key = sqlx::query_scalar::<_, String>("SELECT turnlog.company_key($1)").bind(firm);
        keys.push((firm, key.fetch_one(&mut *owner).await.unwrap()));
    }
    for relation in relations(owner).await.into_iter().filter(personal) {
        let name = relation.full();
        let all = rows(reader, &service(), &name).await;
        let whose = |row: &&String| PEOPLE.iter().chain(&FIRMS).filter(|mark| row.contains(**mark)).count();
        // Addresses of callers are for services alone, whoever they are of; numbers tell of nobody.
        if !["refused", "day_counts"].contains(&relation.name.as_str())
            && !all.iter().all(|row| whose(&row) == 1)
        {
            leaks.push(format!("{name}: it is not known whose its rows are"));
        }
        let stands =
            |row: &str, mark: &str| keys.iter().any(|(firm, key)| *firm == mark && row.contains(key));
        let has = |row: &str, mark: &str| row.contains(mark) || stands(row, mark);
        let of = |mark: &str| all.iter().filter(|row| has(row, mark)).cloned().collect::<Vec<_>>();
        let people = PEOPLE.map(|person| (participant(person), of(person)));
        let firms = FIRMS.map(|firm| (admin(firm), of(firm)));
        let without_role = (vec![("participant", PEOPLE[0].to_owned())], of(PEOPLE[0]));
        let mut readers = vec![
            without_role,
            (vec![], vec![]),
            (participant("somebody-else"), vec![]),
            (participant(""), vec![]),
            (admin("another-firm"), vec![]),
            (vec![("role", "admin".into()), ("participant", PEOPLE[0].to_owned())], vec![]),
            (vec![("role", "nonsense".into()), ("participant", PEOPLE[0].to_owned())], vec![]),
            (vec![("role", "researcher".into())], all.clone()),
        ];
        readers.extend(people.into_iter().chain(firms));
        for (settings, wanted) in readers {
            let shown = rows(reader, &settings, &name).await;
            if shown != wanted {
                leaks.push(format!("{name}: {settings:?} sees {} rows, not {}", shown.len(), wanted.len()));
            }
        }
    }
    leaks
}

#[tokio::test]
async fn a_reader_sees_the_rows_of_whom_it_reads_for_in_every_table_and_view() {
    let system = filled().await;
    let mut owner = system.tables().await;
    assert_eq!(faults(&mut owner).await, [""; 0]);
    assert_eq!(empty(&mut owner).await, [""; 0]);
    let mut reader = reader(&system).await;
    assert_eq!(leaks(&mut owner, &mut reader).await, [""; 0]);

    // Each table has rows of both of those who may have any, so that the above says something.
    for (settings, tables) in [
        (
            participant(PEOPLE[0]),
            "conversations dreams interpretations messages participants receipts recordings reports sessions turns",
        ),
        (
            admin(FIRMS[0]),
            "admins calls conversations day_counts messages receipts recordings reports turns workers",
        ),
    ] {
        let mut seen = BTreeSet::new();
        for relation in relations(&mut owner).await {
            let counts = relation.schema == "read_v1" && relation.readable && !relation.is_impersonal();
            if counts && !rows(&mut reader, &settings, &relation.full()).await.is_empty() {
                seen.insert(relation.name);
            }
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>().join(" "), tables, "{settings:?}");
    }

    // Functions with more rights than the reader has show no more than tables do.
    let found =
        "(SELECT m.* FROM turnlog.search('falling'::tsquery, false, NULL, NULL, '-infinity', 'infinity',
                                                 1000000, 500) AS s
                  JOIN turnlog.messages AS m ON m.sequence = s.sequence)";
    let only = "(SELECT * FROM turnlog.search('falling'::tsquery, false, NULL, NULL, '-infinity', 'infinity', 1000000,
                                              500))";
    for (settings, hits) in
        [(vec![], 0), (participant(PEOPLE[0]), 1), (admin(FIRMS[1]), 1), (admin("x"), 0), (service(), 4)]
    {
        assert_eq!(rows(&mut reader, &settings, only).await.len(), hits, "{settings:?}");
        assert_eq!(rows(&mut reader, &settings, found).await.len(), hits, "{settings:?}");
    }
}

/// The code of the error that a statement ends with.
async fn refusal(reader: &mut PgConnection, statement: &str) -> String {
    let error = reader.execute(AssertSqlSafe(statement.to_owned())).await.err();
    let error = error.unwrap_or_else(|| panic!("was done: {statement}"));
    error.as_database_error().and_then(|error| error.code()).unwrap_or_default().into_owned()
}

#[tokio::test]
async fn a_reader_writes_nothing_and_gets_at_nobody_elses_rights() {
    const NO_RIGHT: &str = "42501";
    const NO_SUCH_WRITE: &str = "55000";
    let system = filled().await;
    let (mut owner, mut reader) = (system.tables().await, reader(&system).await);
    reader.execute("SET turnlog.role = 'service'").await.unwrap();
    for relation in relations(&mut owner).await {
        let (name, column) = (relation.full(), relation.columns.split(' ').next().unwrap().to_owned());
        for statement in [
            format!("INSERT INTO {name} DEFAULT VALUES"),
            format!("UPDATE {name} SET {column} = {column}"),
            format!("DELETE FROM {name}"),
        ] {
            let code = refusal(&mut reader, &statement).await;
            let view = relation.is_view() && code == NO_SUCH_WRITE;
            assert!(code == NO_RIGHT || view, "{statement}: {code}");
        }
        if !relation.readable {
            assert_eq!(refusal(&mut reader, &format!("SELECT FROM {name}")).await, NO_RIGHT, "{name}");
        }
    }
    let made_by: String =
        sqlx::query_scalar("SELECT current_user::text").fetch_one(&mut owner).await.unwrap();
    for statement in [
        format!("SET ROLE {made_by}"),
        format!("SET SESSION AUTHORIZATION {made_by}"),
        format!("GRANT {made_by} TO turnlog_reader"),
        "ALTER ROLE turnlog_reader BYPASSRLS".to_owned(),
        "ALTER TABLE read_v1.dreams DISABLE ROW LEVEL SECURITY".to_owned(),
        "DROP POLICY own_or_all ON read_v1.dreams".to_owned(),
        "CREATE TABLE read_v1.mine ()".to_owned(),
        "CREATE TABLE turnlog.mine ()".to_owned(),
        "CREATE TABLE public.mine ()".to_owned(),
        "SELECT turnlog.own_calls()".to_owned(),
        "COPY (SELECT 1) TO PROGRAM 'true'".to_owned(),
        "SELECT pg_read_file('PG_VERSION')".to_owned(),
    ] {
        assert_eq!(refusal(&mut reader, &statement).await, NO_RIGHT, "{statement}");
    }
    // Row level security that is switched off shows nothing, rather than all.
    let off = "SET row_security = off";
    reader.execute(off).await.unwrap();
    assert_eq!(refusal(&mut reader, "SELECT FROM read_v1.dreams").await, NO_RIGHT);
    reader.execute("RESET row_security; RESET turnlog.role").await.unwrap();
    // What the planner knows of values is not told either.
    owner.execute("ANALYZE").await.unwrap();
    let secured = "(SELECT s.tablename FROM pg_stats s JOIN pg_class c ON c.relname = s.tablename
                    WHERE s.schemaname LIKE 'read\\_%' AND c.relrowsecurity)";
    assert_eq!(rows(&mut reader, &vec![], secured).await, [""; 0]);
}

#[tokio::test]
async fn a_streamer_needs_no_more_than_the_role_of_the_readers() {
    let system = filled().await;
    let parts = Parts { database_url: login(&system).await, ..system.parts.only(false, false, true) };
    let streamer = parts.start().await;
    let service = streamer.service();
    for path in [
        "/api/conversation/talk-of-person-one",
        "/api/conversation/vendor-of-person-two-1",
        "/api/v1/conversations",
        "/api/v1/search?q=falling",
        "/api/conversations",
    ] {
        let reply = service.get(path).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text);
    }
    service.feed("call-of-firm-one", None).await.expect("initial").await;
}

#[tokio::test]
async fn what_is_not_guarded_is_named() {
    let system = filled().await;
    let (mut owner, mut reader) = (system.tables().await, reader(&system).await);
    let guard = "ALTER TABLE read_v1.diary ENABLE ROW LEVEL SECURITY";
    let mine = "CREATE POLICY mine ON read_v1.diary FOR SELECT TO turnlog_reader
                USING (participant_id = turnlog.own_participant())";
    for (statement, fault) in [
        (
            "CREATE TABLE read_v1.diary (participant_id text)",
            Some("read_v1.diary: it has no row level security"),
        ),
        (
            "GRANT SELECT ON read_v1.diary TO turnlog_reader",
            Some("read_v1.diary: it has no row level security"),
        ),
        (guard, Some("read_v1.diary: it has no policy")),
        (mine, None),
        ("CREATE VIEW turnlog.diary AS SELECT * FROM read_v1.diary", None),
        (
            "GRANT SELECT ON turnlog.diary TO turnlog_reader",
            Some("turnlog.diary: it shows what its owner sees"),
        ),
        ("ALTER VIEW turnlog.diary SET (security_invoker = true)", None),
        ("GRANT DELETE ON read_v1.diary TO turnlog_reader", Some("read_v1.diary: the reader may write it")),
        ("REVOKE DELETE ON read_v1.diary FROM turnlog_reader", None),
        (
            "CREATE MATERIALIZED VIEW public.digest AS SELECT * FROM read_v1.dreams; GRANT SELECT ON public.digest TO PUBLIC",
            Some("public.digest: row level security does not know its kind"),
        ),
        ("DROP MATERIALIZED VIEW public.digest", None),
        (
            "ALTER TABLE read_v1.sources ADD COLUMN address text",
            Some("read_v1.sources: it has other columns than those that were found to be impersonal"),
        ),
        ("ALTER TABLE read_v1.sources DROP COLUMN address", None),
        (
            "CREATE FUNCTION turnlog.peek() RETURNS bigint LANGUAGE sql SECURITY DEFINER
             AS 'SELECT count(*) FROM read_v1.dreams'",
            Some("peek: it has its owner's rights"),
        ),
        ("DROP FUNCTION turnlog.peek()", None),
    ] {
        owner.execute(statement).await.unwrap();
        assert_eq!(faults(&mut owner).await, fault.into_iter().collect::<Vec<_>>(), "{statement}");
    }
    // Nobody's rows were tried yet in what holds none.
    assert_eq!(empty(&mut owner).await, ["read_v1.diary", "turnlog.diary"]);
    // A policy that shows too much is in the catalogue like any other: the rows tell.
    owner.execute("CREATE POLICY all_of_them ON read_v1.dreams FOR SELECT USING (true)").await.unwrap();
    let leaks = leaks(&mut owner, &mut reader).await;
    let named: BTreeSet<_> = leaks.iter().map(|leak| leak.split(':').next().unwrap()).collect();
    assert_eq!(named, BTreeSet::from(["read_v1.dreams", "turnlog.dreams"]), "{leaks:?}");
}
