//! `turnlog health`: whether a running service is ready; for containers, which have no curl.

use std::time::Duration;

use shared::config::HttpSettings;

use crate::environment::Environment;
use crate::failure::{Failure, OrFail};
use crate::instance::reachable;

/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Arguments of `health`.
#[derive(Debug, clap::Args)]
pub(crate) struct HealthArgs {
    /// Where the service is [default: LISTEN on this machine]
    #[arg(long)]
    url: Option<String>,
}

/// Runs the command.
pub(crate) async fn run(args: HealthArgs) -> Result<(), Failure> {
    let base = match args.url {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => reachable(Environment::default().read(HttpSettings::from_env)?.listen),
    };
    let client = shared::http::client::local().timeout(PATIENCE).build().or_fail("make an HTTP client")?;
    let answer = client.get(format!("{base}/health/ready")).send().await;
    let answer = answer.map_err(|error| Failure::new(format!("nothing answers at {base}: {error}")))?;
    let ready = answer.status().is_success();
    let body = answer.text().await.or_fail("read the answer")?;
    if !ready {
        return Err(Failure::new(format!("the service at {base} is not ready: {body}")));
    }
    println!("{body}");
    Ok(())
}
