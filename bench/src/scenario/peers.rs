//! The seeds' own design under the same load, from the same client.

use super::{announce, load_words, section};
use crate::client::load::{self, Load};
use crate::client::request::posts;
use crate::error::Result;
use crate::options::Options;
use crate::place::Place;
use crate::report::{LoadRow, LoadRun, Section};
use crate::systems::fastapi::{FastApi, VARIANTS, virtual_environment};
use crate::systems::postgres::Postgres;

/// What a 200 of the peer promises.
const DURABILITY: &str = "on disk (Postgres' default)";

/// Measures every variant at every number of connections.
///
/// # Errors
/// When the virtual environment cannot be made, or a variant does not start.
pub async fn measure(place: &Place, options: &Options) -> Result<Section<LoadRow>> {
    let venv = virtual_environment(place)?;
    let mut postgres = Postgres::start(place).await?;
    let mut rows = Vec::new();
    for variant in &VARIANTS {
        for &connections in &options.connections {
            let system = variant.words.to_owned();
            let mut row =
                LoadRow { system, durability: DURABILITY.to_owned(), connections, runs: Vec::new() };
            for _ in 0..options.runs {
                let database = postgres.fresh_database().await?;
                let peer = FastApi::start(place, &venv, variant, &database).await?;
                let run = one(options, &peer, &postgres, connections).await?;
                announce(&row, &run);
                row.runs.push(run);
            }
            rows.push(row);
        }
    }
    section(place, load_words(options), rows)
}

async fn one(options: &Options, peer: &FastApi, postgres: &Postgres, connections: usize) -> Result<LoadRun> {
    let senders = peer.senders(connections).await?;
    let load = Load {
        address: peer.address(),
        connections,
        conversations: options.conversations,
        warm_up: options.warming_up(),
        measured: options.measured(),
    };
    let posts = posts(&senders, connections, options.content_bytes);
    load::run(&load, posts, &[peer.process(), postgres.process()]).await
}
