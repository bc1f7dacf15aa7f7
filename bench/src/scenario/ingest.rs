//! Acknowledged messages/s of turnlog, durable and with the server's default.

use super::{announce, load_words, section};
use crate::client::load::{self, Load};
use crate::client::request::{Sender, posts};
use crate::error::Result;
use crate::options::{Options, Role};
use crate::place::Place;
use crate::report::{LoadRow, LoadRun, Section};
use crate::systems::nats::{Nats, Sync};
use crate::systems::postgres::Postgres;
use crate::systems::turnlog::{Stores, Turnlog, senders};

/// Measures every combination of roles, sync and connections.
///
/// # Errors
/// When a system cannot be started, or ends while it is measured.
pub async fn measure(place: &Place, options: &Options) -> Result<Section<LoadRow>> {
    let mut postgres = Postgres::start(place).await?;
    let most = options.connections.iter().copied().max().unwrap_or(1);
    let senders = participants(place, &mut postgres, most).await?;
    let mut rows = Vec::new();
    for (role, sync) in
        options.roles.iter().flat_map(|role| options.sync.iter().map(move |sync| (*role, *sync)))
    {
        for &connections in &options.connections {
            let system = format!("turnlog serve {}", role.argument());
            let mut row =
                LoadRow { system, durability: sync.words().to_owned(), connections, runs: Vec::new() };
            for _ in 0..options.runs {
                let run = one(place, options, &mut postgres, &senders, (role, sync, connections)).await?;
                announce(&row, &run);
                row.runs.push(run);
            }
            rows.push(row);
        }
    }
    section(place, load_words(options) + &format!(" LOG_LEVEL={}.", place.log_level), rows)
}

async fn participants(place: &Place, postgres: &mut Postgres, count: usize) -> Result<Vec<Sender>> {
    let nats = Nats::start(place, Sync::Default).await?;
    let stores = Stores { nats: nats.url(), database: postgres.fresh_database().await? };
    senders(place, &stores, count)
}

async fn one(
    place: &Place,
    options: &Options,
    postgres: &mut Postgres,
    senders: &[Sender],
    (role, sync, connections): (Role, Sync, usize),
) -> Result<LoadRun> {
    let nats = Nats::start(place, sync).await?;
    let stores = Stores { nats: nats.url(), database: postgres.fresh_database().await? };
    Turnlog::migrate(place, &stores)?;
    let mut turnlog = Turnlog::start(place, role.argument(), &stores).await?;
    let load = Load {
        address: turnlog.address(),
        connections,
        conversations: options.conversations,
        warm_up: options.warming_up(),
        measured: options.measured(),
    };
    let programs = [turnlog.process(), nats.process(), postgres.process()];
    let run = load::run(&load, posts(senders, connections, options.content_bytes), &programs).await?;
    turnlog.still_runs()?;
    Ok(run)
}
