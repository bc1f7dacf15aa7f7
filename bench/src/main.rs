//! The command `turnlog-bench`.

use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;
use turnlog_bench::error::{Error, Result};
use turnlog_bench::options::{Cli, Options, Scenario};
use turnlog_bench::place::Place;
use turnlog_bench::report::store::Store;
use turnlog_bench::scenario;

/// One thread for everything: the client shares the machine with what it measures, and threads would wake one
/// another.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Cli { scenario, options } = Cli::parse();
    let local = LocalSet::new();
    let measuring = local.run_until(measure(scenario.unwrap_or(Scenario::All), options.settled()));
    let result = tokio::select! {
        result = measuring => result,
        () = stop() => Err(Error::Interrupted),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("turnlog-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Waits until somebody asks this to stop. What it started is stopped on the way out, not left behind.
async fn stop() {
    let terminate = async {
        match signal(SignalKind::terminate()) {
            Ok(mut asked) => asked.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => (),
        _ = terminate => (),
    }
}

async fn measure(scenario: Scenario, options: Options) -> Result<()> {
    let mut place = Place::find(options.turnlog.clone(), options.data.clone(), options.log_level.clone())?;
    place.settings.clone_from(&options.settings);
    let store = Store::open(&place.root, options.results())?;
    println!("{}", place.machine()?);
    let wanted = |one: Scenario| scenario == one || scenario == Scenario::All;
    // Each section is written as soon as it is there: a later one that fails does not cost the earlier ones.
    if wanted(Scenario::Ingest) {
        let section = scenario::ingest::measure(&place, &options).await?;
        store.update(|report| report.ingest = Some(section))?;
    }
    if wanted(Scenario::Project) {
        let section = scenario::project::measure(&place, &options).await?;
        store.update(|report| report.project = Some(section))?;
    }
    if wanted(Scenario::Rebuild) {
        let section = scenario::rebuild::measure(&place, &options).await?;
        store.update(|report| report.rebuild = Some(section))?;
    }
    if wanted(Scenario::Feed) {
        let section = scenario::feed::measure(&place, &options).await?;
        store.update(|report| report.feed = Some(section))?;
    }
    if wanted(Scenario::Feeds) {
        scenario::feeds::measure(&place, &options, &store).await?;
    }
    if wanted(Scenario::List) {
        let section = scenario::list::measure(&place, &options).await?;
        store.update(|report| report.list = Some(section))?;
    }
    if wanted(Scenario::Search) {
        let section = scenario::search::measure(&place, &options).await?;
        store.update(|report| report.search = Some(section))?;
    }
    if wanted(Scenario::Webhooks) {
        let section = scenario::webhooks::measure(&place, &options).await?;
        store.update(|report| report.webhooks = Some(section))?;
        let section = scenario::webhooks::memory(&place, &options).await?;
        store.update(|report| report.webhook_memory = Some(section))?;
    }
    if wanted(Scenario::Export) {
        let section = scenario::export::measure(&place, &options).await?;
        store.update(|report| report.export = Some(section))?;
    }
    if wanted(Scenario::Sessions) {
        scenario::sessions::measure(&place, &options, &store).await?;
    }
    if wanted(Scenario::Peers) {
        let section = scenario::peers::measure(&place, &options).await?;
        store.update(|report| report.peers = Some(section))?;
    }
    println!("written to bench/results/{}.md and .json", options.results());
    Ok(())
}
