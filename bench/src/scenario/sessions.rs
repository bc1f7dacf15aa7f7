//! Voice sessions beside a vendor that answers at once, and beside one that hangs.

mod hang;
mod init;

use crate::client::dreamer::{Dreamer, INTERPRETER};
use crate::client::each::all_200;
use crate::client::request::Sender;
use crate::error::Result;
use crate::options::Options;
use crate::place::Place;
use crate::report::store::Store;
use crate::systems::elevenlabs::{ElevenLabs, Manner};
use crate::systems::nats::{Nats, Sync};
use crate::systems::postgres::Postgres;
use crate::systems::turnlog::{Setting, Stores, Turnlog, token, tokens};

/// The role that is measured.
const SYSTEM: &str = "turnlog serve ingest";
/// Connections that tell what has to be known before anything is measured.
const TELLING: usize = 64;
/// Seconds that the vendor may be silent: longer than a run, so that nobody gives up while it hangs.
const TIMEOUT_SECONDS: u64 = 120;

/// Measures inits, then message sync while inits wait; each section is written as soon as it is there.
///
/// # Errors
/// When a system cannot be started, ends while it is measured, or refuses what it is told beforehand.
pub async fn measure(place: &Place, options: &Options, store: &Store) -> Result<()> {
    let mut postgres = Postgres::start(place).await?;
    let section = init::measure(place, options, &mut postgres).await?;
    store.update(|report| report.sessions.init = Some(section))?;
    let section = hang::measure(place, options, &mut postgres).await?;
    store.update(|report| report.sessions.hang = Some(section))
}

/// The write edge with a log and a vendor of its own.
struct Stage {
    turnlog: Turnlog,
    nats: Nats,
    vendor: ElevenLabs,
}

impl Stage {
    async fn start(place: &Place, postgres: &mut Postgres, manner: Manner) -> Result<Self> {
        let vendor = ElevenLabs::start(manner).await?;
        let nats = Nats::start(place, Sync::Always).await?;
        let stores = Stores { nats: nats.url(), database: postgres.fresh_database().await? };
        let settings: Vec<Setting> = vec![
            ("ELEVENLABS_API_KEY", "bench-key".to_owned()),
            ("ELEVENLABS_BASE_URL", vendor.url()),
            ("ELEVENLABS_AGENTS", format!("{INTERPRETER}=agent_{INTERPRETER}")),
            ("ELEVENLABS_TIMEOUT_SECONDS", TIMEOUT_SECONDS.to_string()),
            ("RECONCILE_SECONDS", "off".to_owned()),
        ];
        let turnlog = Turnlog::start_with(place, "ingest", &stores, settings).await?;
        Ok(Self { turnlog, nats, vendor })
    }

    /// Participants whose profile, dream and interpretation are stored.
    async fn dreamers(&self, count: usize) -> Result<Vec<Dreamer>> {
        let dreamers: Vec<Dreamer> = senders(0, count)?.into_iter().map(Dreamer::new).collect();
        for tells in [Dreamer::profile, Dreamer::dream, Dreamer::interpretation] {
            let told: Vec<Vec<u8>> = dreamers.iter().map(tells).collect();
            all_200(self.turnlog.address(), TELLING, &told).await?;
        }
        Ok(dreamers)
    }

    fn programs(&self) -> [(&'static str, u32); 2] {
        [self.turnlog.process(), self.nats.process()]
    }
}

/// Participants with the numbers from `first` on.
fn senders(first: usize, count: usize) -> Result<Vec<Sender>> {
    let tokens = tokens();
    let sender = |number| {
        let research_id = format!("RID{number:05}");
        Ok(Sender { token: token(&tokens, &research_id)?, research_id })
    };
    (first..first + count).map(sender).collect()
}
