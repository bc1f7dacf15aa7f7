//! The invariants of docs/ARCHITECTURE.md, checked against the source.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tests::root;

fn sources(crate_name: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut directories = vec![root().join(crate_name).join("src")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(root()).unwrap().to_owned(), text));
            }
        }
    }
    found
}

/// Files whose code (not comments) holds one of the words.
fn holding(crates: &[&str], words: &[&str]) -> BTreeSet<PathBuf> {
    let code = |text: &str| {
        text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
    };
    let files = crates.iter().flat_map(|name| sources(name));
    files
        .filter(|(_, text)| words.iter().any(|word| code(text).contains(word)))
        .map(|(path, _)| path)
        .collect()
}

fn paths(names: &[&str]) -> BTreeSet<PathBuf> {
    names.iter().map(PathBuf::from).collect()
}

/// Libraries beside `shared`: none depends on another.
const SERVICES: [&str; 4] = ["exporter", "ingest", "projector", "streamer"];
const ALL: [&str; 6] = ["shared", "exporter", "ingest", "projector", "streamer", "turnlog"];

#[test]
fn crates_depend_in_one_direction() {
    for name in SERVICES.iter().chain(&["shared"]) {
        let manifest = std::fs::read_to_string(root().join(name).join("Cargo.toml")).unwrap();
        for other in ALL.iter().filter(|other| *other != name && **other != "shared") {
            assert!(!manifest.contains(&format!("\n{other}")), "{name} depends on {other}");
        }
    }
}

#[test]
fn subjects_are_built_in_one_file() {
    let built = [
        "\"evt.",
        "evt.{",
        "\"$O.",
        "$O.{",
        "\"audit.",
        "audit.{",
        "\"ticket.",
        "ticket.{",
        "\"live.",
        "live.{",
        "\"ask.",
        "ask.{",
        "\"export.",
        "export.{",
    ];
    assert_eq!(holding(&ALL, &built), paths(&["shared/src/subjects.rs"]));
}

#[test]
fn ingest_and_exports_never_open_postgres() {
    for name in ["ingest", "exporter"] {
        let manifest = std::fs::read_to_string(root().join(name).join("Cargo.toml")).unwrap();
        assert!(!manifest.contains("sqlx"), "{name}");
    }
}

/// The same arguments give the same bytes next year. What refuses a time that has not come writes nothing, and jobs write
/// no data.
#[test]
fn exports_look_at_no_clock() {
    let mut looking = holding(&["exporter"], &["Utc::now", "SystemTime", "Instant::now"]);
    looking.retain(|path| !path.starts_with("exporter/src/jobs"));
    assert_eq!(looking, paths(&["exporter/src/run.rs"]));
}

#[test]
fn only_ingest_publishes_facts() {
    let publishing = holding(&SERVICES, &["publish_with", "send_publish", "request_with_headers"]);
    assert_eq!(publishing, paths(&["ingest/src/committer/publish.rs"]));
}

#[test]
fn the_streamer_writes_no_table() {
    assert_eq!(
        holding(&["streamer"], &["INSERT INTO", "DELETE FROM", "UPDATE turnlog", "UPDATE read_"]),
        paths(&[])
    );
}

#[test]
fn status_codes_appear_where_errors_become_problems() {
    let allowed = ["ingest/src/endpoints/messages.rs"];
    let found = holding(&SERVICES, &["StatusCode::"]);
    assert!(found.is_subset(&paths(&allowed)), "{found:?}");
}

/// Whatever else is served has gone through `routes!`, which wants a document.
#[test]
fn only_pages_are_served_undocumented() {
    assert_eq!(
        holding(&ALL, &[".route(", ".route_service(", ".nest_service("]),
        // The one of CORS is of its tests.
        paths(&["shared/src/http/cors.rs", "shared/src/http/openapi/pages.rs", "turnlog/src/console.rs"])
    );
}

/// Two of one name would stand in the document as one.
#[test]
fn every_schema_has_a_name_of_its_own() {
    let mut names = BTreeSet::new();
    for (path, text) in ALL.iter().flat_map(|name| sources(name)) {
        for schema in text
            .split("#[derive(")
            .skip(1)
            .filter(|rest| rest.split_once(')').is_some_and(|(derived, _)| derived.contains("ToSchema")))
        {
            let named = ["as = ", "struct ", "enum "].iter().find_map(|before| {
                let (head, rest) = schema.split_once(before)?;
                let name = rest.split(|c: char| !c.is_alphanumeric()).next()?;
                (!head.contains('{')).then(|| name.to_owned())
            });
            let name = named.unwrap();
            assert!(names.insert(name.clone()), "{} has another schema called {name}", path.display());
        }
    }
    assert!(names.contains("Problem") && names.contains("NewMessage"), "{names:?}");
}

#[test]
fn files_stay_readable() {
    for name in ALL.iter().chain(&["tests", "bench"]) {
        for (path, text) in sources(name) {
            assert!(text.lines().count() <= 600, "{} is too long", path.display());
        }
    }
}

#[test]
fn the_map_names_every_room() {
    let map = std::fs::read_to_string(root().join("docs/ARCHITECTURE.md")).unwrap();
    for name in ALL.iter().chain(&["migrations", "tests", "bench", "docs"]) {
        assert!(map.contains(&format!("`{name}/`")), "docs/ARCHITECTURE.md does not name {name}/");
    }
    assert!(map.lines().count() <= 90, "one page");
    assert!(Path::new(&root()).join("docs/EVENTS.md").is_file());
}
