//! What can be typed.

use clap::{Parser, Subcommand};

use crate::commands::{
    audit, demo, erase, export, health, keys, migrate, parked, rebuild, reconcile, serve, status, tail,
    token, verify,
};
use crate::failure::Failure;
use crate::up;

/// Conversations into an event log, read tables out of it, live feeds beside it
///
/// Exit codes: 0 done; 1 failed, and one line on stderr says what and what to do; 2 wrong usage.
#[derive(Debug, Parser)]
#[command(name = "turnlog", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the whole system on this machine, with a log and a database of its own
    Up(up::UpArgs),
    /// Runs one role, or all, against NATS_URL and DATABASE_URL: what a container runs
    #[command(after_help = crate::environment::listing())]
    Serve(serve::ServeArgs),
    /// Brings the database's tables up to date, or takes migrations back
    Migrate(migrate::MigrateArgs),
    /// Prints a token alone on stdout
    Token(token::TokenArgs),
    /// Tells how far the log, the projector and the feeds are
    Status(status::StatusArgs),
    /// Follows the log as readable lines or JSON
    Tail(tail::TailArgs),
    /// Prints who did what, when and from where; verifies that nothing of it was changed
    Audit(audit::AuditArgs),
    /// Makes a research data set from the log, or compares one with it
    Export(Box<export::ExportArgs>),
    /// Erases a participant: from the log, the tables, the search index and the object store, for good
    Erase(erase::EraseArgs),
    /// Changes the master key of the keys that content is sealed with
    Keys(keys::KeysArgs),
    /// Lists, shows, retries and drops events that could not be folded
    Parked(parked::ParkedArgs),
    /// Folds the whole log into fresh read tables beside those that are read, and puts them in their place
    Rebuild(rebuild::RebuildArgs),
    /// Folds the whole log again and compares with the read tables, row for row
    Verify(verify::VerifyArgs),
    /// Fetches conversations from ElevenLabs that the log does not have
    Reconcile(reconcile::ReconcileArgs),
    /// Sends a conversation to a running turnlog up and shows its way to log, table and feed
    Demo(demo::DemoArgs),
    /// Asks a running service whether it is ready: the health check of a container
    Health(health::HealthArgs),
}

impl Cli {
    /// Runs the command.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::Up(args) => Box::pin(up::run(args)).await,
            Command::Serve(args) => Box::pin(serve::run(args)).await,
            Command::Migrate(args) => Box::pin(migrate::run(args)).await,
            Command::Token(args) => Box::pin(token::run(args)).await,
            Command::Status(args) => Box::pin(status::run(args)).await,
            Command::Tail(args) => Box::pin(tail::run(args)).await,
            Command::Audit(args) => Box::pin(audit::run(args)).await,
            Command::Export(args) => Box::pin(export::run(*args)).await,
            Command::Erase(args) => Box::pin(erase::run(args)).await,
            Command::Keys(args) => Box::pin(keys::run(args)).await,
            Command::Parked(args) => Box::pin(parked::run(args)).await,
            Command::Rebuild(args) => Box::pin(rebuild::run(args)).await,
            Command::Verify(args) => Box::pin(verify::run(args)).await,
            Command::Reconcile(args) => Box::pin(reconcile::run(args)).await,
            Command::Demo(args) => Box::pin(demo::run(args)).await,
            Command::Health(args) => Box::pin(health::run(args)).await,
        }
    }
}
