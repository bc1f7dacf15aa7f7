//! `turnlog keys`: the keys that content is sealed with.

use clap::Subcommand;
use shared::config::NatsSettings;

use super::open_log;
use crate::failure::{Failure, OrFail};
use crate::progress::Progress;
use crate::target::Target;

const AFTER_HELP: &str = "\
To change the master key: put a new one before the old one in SEALING_KEYS (new=...,old=...) of every service and restart
them; run turnlog keys rotate; take the old one out. The log is not touched. A backup of KEYS from before still needs the
old one.";

/// Arguments of `keys`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct KeysArgs {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Wraps every data key with the first master key of SEALING_KEYS
    Rotate,
}

/// Runs the command.
pub(crate) async fn run(args: KeysArgs) -> Result<(), Failure> {
    let Action::Rotate = args.action;
    let environment = args.target.environment()?;
    let Some(masters) = environment.read(NatsSettings::from_env)?.sealing else {
        return Err(Failure::new(
            "SEALING_KEYS is not set: nothing is sealed, so there is nothing to rotate",
        ));
    };
    let log = open_log(&environment).await?;
    let store = log.keyring().store();
    let owners = store.owners().await.or_fail("list the keys")?;
    let (mut progress, of, mut wrapped) = (Progress::new(), owners.len() as u64, 0_u64);
    for (done, owner) in (1..).zip(&owners) {
        // Somebody may change it meanwhile: then it is asked again.
        while store.is_behind(owner, &masters).await.or_fail("read a key")? {
            wrapped += u64::from(store.rewrap(owner, &masters).await.or_fail("wrap a key")?);
        }
        progress.show("wrapping", "keys", done, of);
    }
    progress.clear();
    log.close().await;
    let master = masters.current();
    println!("{wrapped} of {of} keys were wrapped anew; none needs another master key than {master} now");
    Ok(())
}
