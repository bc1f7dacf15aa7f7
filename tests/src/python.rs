//! The Python of the set-up, with the vendors' own libraries, and what it says.

use std::path::PathBuf;
use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// The interpreter of the test tools.
///
/// # Panics
/// When `make test`'s set-up did not run.
pub fn python() -> PathBuf {
    let interpreter = crate::tools().join("python/bin/python");
    assert!(
        interpreter.is_file(),
        "{} is missing: run `scripts/setup.sh tests`, as `make test` does",
        interpreter.display()
    );
    interpreter
}

/// Runs a program of `tests/python/` with `input`, and answers what it printed.
///
/// # Panics
/// When the program fails; what it said is told.
pub async fn run_python(program: &str, input: &serde_json::Value) -> serde_json::Value {
    let mut child = Command::new(python())
        .arg(crate::root().join("tests/python").join(program))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.to_string().as_bytes()).await.unwrap();
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}
