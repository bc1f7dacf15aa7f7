//! Messages/s exported from a full log, and the memory that it takes.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::section;
use crate::cpu::Meter;
use crate::error::{Doing, Error, Result};
use crate::fill::{Filling, SEALING_KEYS, fill};
use crate::options::Options;
use crate::place::Place;
use crate::report::Section;
use crate::report::exports::{ExportRow, ExportRun};
use crate::systems::nats::{Nats, Sync};

/// Between two looks at the process: its peak is what the kernel kept, so the last look before its end has all but what
/// came after it.
const LOOK: Duration = Duration::from_millis(20);
/// What is exported: the format, and the tables.
const SETTINGS: [(&str, &str); 4] = [
    ("jsonl", "messages"),
    ("csv", "messages"),
    ("parquet", "messages"),
    ("parquet", "messages,conversations,events"),
];

/// Fills one log and exports it again and again.
///
/// # Errors
/// When a system cannot be started, or an export fails.
pub async fn measure(place: &Place, options: &Options) -> Result<Section<ExportRow>> {
    let Options { messages, log_conversations: conversations, content_bytes, .. } = *options;
    let nats = Nats::start(place, Sync::Default).await?;
    // Texts that all differ: what repeats itself would be compressed away.
    let filling = Filling { messages, conversations, content_bytes, varied: true };
    let filled = fill(place, &nats.url(), filling).await?;
    println!("log filled with {messages} messages in {:.1} s", filled.as_secs_f64());
    let mut rows = Vec::new();
    for (format, tables) in SETTINGS {
        let (format, tables) = (format.to_owned(), tables.to_owned());
        let mut row = ExportRow { format, tables, messages, conversations, runs: Vec::new() };
        for _ in 0..options.runs {
            let run = one(place, &nats, &row).await?;
            println!(
                "turnlog export --format {} --include {}: {:.0}/s, {:.1} s, peak {:.0} MB, {:.0} MB written, CPU {:?}",
                row.format,
                row.tables,
                run.per_second,
                run.seconds,
                run.peak_mb,
                run.written_mb,
                run.cpu_percent
            );
            row.runs.push(run);
        }
        rows.push(row);
    }
    let how = format!(
        "`turnlog export` from its start to its end over the same log; {content_bytes} bytes of content, each message \
         another text; {} runs.",
        options.runs
    );
    section(place, how, rows)
}

async fn one(place: &Place, nats: &Nats, row: &ExportRow) -> Result<ExportRun> {
    let dir = place.fresh_dir()?;
    let out = dir.path().join("set");
    let mut command = Command::new(&place.turnlog);
    command.current_dir(dir.path()).env("NATS_URL", nats.url()).env("LOG_LEVEL", &place.log_level);
    command.env("SEALING_KEYS", SEALING_KEYS).envs(place.settings.iter().cloned());
    command.args(["export", "--format", &row.format, "--include", &row.tables, "--out"]).arg(&out);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let started = Instant::now();
    let mut export = Running(command.spawn().doing("start turnlog export")?);
    let meter = Meter::start(&[("turnlog", export.0.id()), nats.process()]);
    let (mut peak_mb, mut cpu_percent) = (0.0, meter.percent());
    let status = loop {
        if let Some(status) = export.0.try_wait().doing("look after turnlog export")? {
            break status;
        }
        // Afterwards there is nothing to be read any more.
        (peak_mb, cpu_percent) = (peak(export.0.id()).max(peak_mb), meter.percent());
        tokio::time::sleep(LOOK).await;
    };
    let seconds = started.elapsed().as_secs_f64();
    if !status.success() {
        return Err(Error::Answer(format!("turnlog export ended with {status}")));
    }
    let (found, written) = told(&out)?;
    if found != row.messages {
        return Err(Error::Answer(format!("{found} messages exported of {}", row.messages)));
    }
    let per_second = row.messages as f64 / seconds;
    Ok(ExportRun { seconds, per_second, peak_mb, written_mb: written as f64 / 1e6, cpu_percent })
}

/// A program that is stopped when nobody waits for it any more.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended is what we want.
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

/// The most resident memory that a process had, in MB.
fn peak(id: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let kib =
        text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
    kib.unwrap_or(0.0) * 1024.0 / 1e6
}

/// Messages, and bytes of all files, as the manifest has them.
fn told(out: &std::path::Path) -> Result<(u64, u64)> {
    let text = std::fs::read_to_string(out.join("datapackage.json")).doing("read the manifest")?;
    let manifest: serde_json::Value = serde_json::from_str(&text)?;
    let files = manifest["turnlog"]["files"].as_array().cloned().unwrap_or_default();
    let messages =
        files.iter().find(|file| file["path"].as_str().is_some_and(|path| path.starts_with("messages-")));
    let rows = messages.and_then(|file| file["rows"].as_u64()).unwrap_or_default();
    Ok((rows, files.iter().filter_map(|file| file["bytes"].as_u64()).sum()))
}
