//! Data sets over HTTP beside what else is done to data sets: erasure, and de-identification.

use serde_json::json;
use tempfile::TempDir;
use tests::{Parts, python};

use super::{EXPORTS, ask, download, path, researcher, until, with};
use crate::erasure::erase;
use crate::exports::deid::{ONE_KEY, export_with};
use crate::exports::files;
use crate::exports::filled::filled;

#[tokio::test(flavor = "multi_thread")]
async fn one_that_may_hold_somebody_who_was_erased_afterwards_is_deleted() {
    let (system, _) = filled(Parts::fresh().await).await;
    let caller = researcher(&system, "r1");
    let mut jobs = Vec::new();
    for body in [json!({}), json!({"participant": ["RID1"]}), json!({"participant": ["RID2"]})] {
        let job = ask(&caller, &body).await;
        jobs.push(until(&caller, &job, "done").await);
    }
    let [whole, theirs, others] = &jobs[..] else { panic!("three jobs") };
    let told = erase(&system.parts, "RID1").await;
    for job in [whole, theirs] {
        let expired = until(&caller, job, "expired").await;
        assert!(expired["reason"].as_str().unwrap().contains("was erased"), "{expired}");
        caller.get(&path(job, "/download")).await.assert_problem(409);
        assert!(told.contains(&path(job, "")), "it is called back: {told}");
    }
    assert!(!told.contains(&path(others, "")), "{told}");
    assert_eq!(caller.get(&path(others, "")).await.body["state"], "done");
    let job = ask(&caller, &json!({"include": ["messages"], "format": "jsonl"})).await;
    let fresh = until(&caller, &job, "done").await;
    assert!(!fresh["files"].as_array().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn pseudonyms_and_masks_are_those_of_the_command() {
    let system = with(|exports| exports.key = Some(exporter::ExportKey::parse(ONE_KEY).unwrap())).await;
    let caller = researcher(&system, "r1");
    let body = json!({"pseudonymize": true, "redact": true, "participant": ["RID1"]});
    let job = ask(&caller, &body).await;
    let done = until(&caller, &job, "done").await;
    let folder = TempDir::new().unwrap();
    let (zip, out, expected) =
        (folder.path().join("a.zip"), folder.path().join("out"), folder.path().join("expected"));
    std::fs::write(&zip, download(&caller, &path(&job, "/download"), &[], 200).await).unwrap();
    let mut unpack = tokio::process::Command::new(python());
    assert!(unpack.args(["-m", "zipfile", "-e"]).arg(&zip).arg(&out).status().await.unwrap().success());
    let as_of = done["arguments"]["as_of"].to_string();
    let arguments = ["--pseudonymize", "--redact", "--participant", "RID1", "--as-of", &as_of];
    export_with(&system.parts, ONE_KEY, &expected, &arguments).await;
    assert_eq!(files(&out), files(&expected));
    assert!(files(&out).values().all(|bytes| !bytes.windows(4).any(|part| part == b"RID1")));

    let safe = ask(&caller, &json!({"profile": "safe-harbor", "k": 2, "format": "csv"})).await;
    let safe = until(&caller, &safe, "done").await;
    let names: Vec<_> =
        safe["files"].as_array().unwrap().iter().map(|file| file["name"].as_str().unwrap()).collect();
    assert!(names.iter().any(|name| name.starts_with("participants")), "{names:?}");
    for (body, field) in [
        (json!({"profile": "gdpr"}), "profile"),
        (json!({"k": 3}), "k"),
        (json!({"pseudonymize": "yes"}), "pseudonymize"),
        (json!({"profile": "safe-harbor", "include": ["events"]}), "include"),
    ] {
        let refused = caller.post(EXPORTS, &body).await;
        refused.assert_problem(400);
        assert_eq!(refused.body["errors"][0]["field"], field, "{}", refused.text);
    }
}

#[tokio::test]
async fn without_a_key_there_are_no_pseudonyms() {
    let system = with(|exports| exports.key = None).await;
    let refused = researcher(&system, "r1").post(EXPORTS, &json!({"pseudonymize": true})).await;
    refused.assert_problem(400);
    assert_eq!(refused.body["errors"][0]["field"], "pseudonymize");
}
