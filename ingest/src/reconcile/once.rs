//! One comparison by hand, in a process of its own beside whatever runs.

use std::sync::Arc;

use chrono::Utc;
use shared::config::Env;
use shared::http::AnyError;
use shared::log::Log;
use shared::objects::Objects;

use super::memory::Memory;
use super::round::{Round, Trouble};
use super::{Desk, ReconcileSettings, Reconciler, Step, Tally, Wanted, Window};
use crate::committer;
use crate::vendor::{Vendor, VendorSettings};
use crate::webhooks::WebhookSettings;

/// What a comparison by hand needs to be told.
#[derive(Debug, Clone)]
pub struct OnceSettings {
    /// The vendor's API; `None` where there is no key to it.
    pub vendor: Option<VendorSettings>,
    /// Where recordings wait, and how large they may be.
    pub webhooks: WebhookSettings,
    /// Whose conversations.
    pub reconcile: ReconcileSettings,
}

impl OnceSettings {
    /// Reads them.
    pub fn from_env(env: &mut Env<'_>) -> Self {
        Self {
            vendor: VendorSettings::from_env(env),
            webhooks: WebhookSettings::from_env(env),
            reconcile: ReconcileSettings::from_env(env),
        }
    }
}

/// How a comparison ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reconciled {
    /// What became of the conversations.
    pub tally: Tally,
    /// Webhooks that an older version did not understand and that are in their conversations now.
    pub reread: u64,
}

/// Compares the vendor's list with the log once, and fetches what is missing; before it, reads webhooks again that were
/// not understood. `each` is told what becomes of each conversation. Dropping it breaks it off cleanly. Safe beside a
/// running write edge, which it shares nothing with but the log.
///
/// # Errors
/// When there is no key, or it broke off: [`Trouble`]. What was done before stands.
pub async fn run_once(
    log: &Log,
    objects: &Objects,
    settings: OnceSettings,
    window: Window,
    wanted: Wanted,
    each: &mut (dyn FnMut(Step<'_>) + Send),
) -> Result<Reconciled, AnyError> {
    let vendor = settings.vendor.ok_or("ELEVENLABS_API_KEY is not set: it is the key to ElevenLabs' API")?;
    let vendor = Vendor::new(vendor)?;
    let (committer, committing) = committer::start(log).await?;
    let desk = Arc::new(Desk::new(log.clone(), committer, objects.clone(), &settings.webhooks));
    let reconciler = Reconciler { vendor, settings: settings.reconcile, desk };
    // It looks at every conversation of the window itself; nothing is to be remembered.
    let mut memory = Memory::new(Utc::now(), std::time::Duration::ZERO);
    let work = async {
        let reread = if wanted.dry_run { 0 } else { reconciler.desk.reread().await? };
        let tally = Round::new(&reconciler, wanted, &mut memory, each).run(window).await?;
        Ok::<_, Trouble>(Reconciled { tally, reread })
    };
    tokio::select! {
        () = committing => Err("the committer stopped".into()),
        outcome = work => Ok(outcome?),
    }
}
