//! Callers that were turned away. Whoever showed who they are gets a record each time, up to a bound; of the others there
//! is one a minute for each address, with how often: whoever knocks at the door must not be able to fill the log.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use tokio::time::Instant;

use super::{Look, Looker, Recorder, Trail, What};
use crate::auth::Proven;
use crate::ids::ConversationId;
use crate::limiter::Network;
use crate::limits::{REFUSALS_RECORDED, REFUSED_CALLERS};
use crate::log::LogError;
use crate::problem::{Kind, Problem};

/// What a summary stands for.
const PERIOD: Duration = Duration::from_secs(60);

/// Counts and records refusals. Clones share everything.
#[derive(Debug, Clone)]
pub struct Refusals {
    recorder: Recorder,
    tallies: Arc<Mutex<Tallies>>,
}

/// Whose refusals are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Caller {
    /// Somebody who showed who they are, and from where.
    Known(Looker, Network),
    /// Somebody there.
    Unknown(Network),
    /// All for whom there is no room.
    Others,
}

#[derive(Debug, Default)]
struct Tallies(HashMap<Caller, Tally>);

/// Refusals of one caller within a minute.
#[derive(Debug, Default)]
struct Tally {
    recorded: u32,
    /// The newest one that has no record of its own, and how many there are.
    counted: Option<(Box<Look>, u64)>,
}

impl Tallies {
    /// Takes one refusal; answers it if it gets a record of its own.
    fn take(&mut self, look: Look, network: Option<Network>) -> Option<Look> {
        let known = look.who != Looker::nobody();
        let caller = match network {
            Some(network) if known => Caller::Known(look.who.clone(), network),
            Some(network) => Caller::Unknown(network),
            None => Caller::Others,
        };
        let full = self.0.len() >= REFUSED_CALLERS;
        let (tally, alone) = match self.0.entry(caller) {
            Entry::Occupied(tally) => (tally.into_mut(), known),
            Entry::Vacant(place) if !full => (place.insert(Tally::default()), known),
            Entry::Vacant(_) => (self.0.entry(Caller::Others).or_default(), false),
        };
        if alone && tally.recorded < REFUSALS_RECORDED {
            tally.recorded += 1;
            return Some(look);
        }
        let count = tally.counted.take().map_or(0, |(_, count)| count) + 1;
        tally.counted = Some((Box::new(look), count));
        None
    }

    /// One record for each caller of whom some have none.
    fn sum_up(&mut self) -> Vec<Look> {
        let tallies = std::mem::take(&mut self.0).into_iter();
        let counted = tallies.filter_map(|(caller, tally)| tally.counted.map(|counted| (caller, counted)));
        counted.map(|(caller, (look, count))| summary(&caller, *look, count)).collect()
    }
}

/// The newest one stands for all of them.
fn summary(caller: &Caller, look: Look, count: u64) -> Look {
    let look = if *caller == Caller::Others {
        Look { who: Looker::nobody(), address: None, conversation_id: None, ..look }
    } else {
        look
    };
    look.with("count", count)
}

impl Refusals {
    /// Recorded there.
    pub fn new(recorder: Recorder) -> Self {
        Self { recorder, tallies: Arc::default() }
    }

    fn take(&self, look: Look) {
        let network = look.address.map(Network::from);
        let alone = self.tallies.lock().unwrap_or_else(PoisonError::into_inner).take(look, network);
        if let Some(look) = alone {
            self.recorder.later(look);
        }
    }

    /// Records what was only counted so far: each minute, and at a stop.
    pub fn sum_up(&self) {
        let summaries = self.tallies.lock().unwrap_or_else(PoisonError::into_inner).sum_up();
        summaries.into_iter().for_each(|look| self.recorder.later(look));
    }

    /// Does so each minute, for ever.
    ///
    /// # Errors
    /// None; it is one of the loops that may not end.
    pub async fn follow(self) -> Result<(), LogError> {
        let mut minutes = tokio::time::interval_at(Instant::now() + PERIOD, PERIOD);
        loop {
            minutes.tick().await;
            self.sum_up();
        }
    }
}

/// A layer around endpoints: what they answer with 401 or 403 is recorded.
pub async fn refused(State(refusals): State<Refusals>, mut request: Request, next: Next) -> Response {
    let proven = Proven::default();
    request.extensions_mut().insert(proven.clone());
    let (mut parts, body) = request.into_parts();
    let trail = <Trail as axum::extract::FromRequestParts<()>>::from_request_parts(&mut parts, &()).await;
    let route = parts.extensions.get::<MatchedPath>().cloned();
    let (method, uri) = (parts.method.clone(), parts.uri.clone());
    let response = next.run(Request::from_parts(parts, body)).await;
    let problem = response.extensions().get::<Problem>();
    let refused = problem.filter(|problem| matches!(problem.kind, Kind::Unauthenticated | Kind::Forbidden));
    if let (Some(problem), Ok(trail)) = (refused, trail) {
        let who = proven.get().unwrap_or_else(Looker::nobody);
        let known = who != Looker::nobody();
        let asked = format!("{method} {}", route.as_ref().map_or("unknown", MatchedPath::as_str));
        let look = trail.of(who, What::Refused);
        let look = look.with("status", problem.kind.parts().0.as_u16()).with("asked", asked);
        // What a stranger asked for may be anything.
        let conversation = if known { conversation(uri.path()) } else { None };
        refusals.take(match &conversation {
            Some(conversation) => look.of(conversation, None),
            None => look,
        });
    }
    response
}

/// The conversation that a path names.
fn conversation(path: &str) -> Option<ConversationId> {
    let mut parts = path.split('/').skip_while(|part| !matches!(*part, "conversation" | "conversations"));
    let id = parts.nth(1).filter(|id| !id.is_empty())?;
    let id = percent_encoding::percent_decode_str(id).decode_utf8().ok()?;
    ConversationId::try_from(id.into_owned()).ok()
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn refusal(who: Looker, address: u32) -> (Look, Option<Network>) {
        let address = IpAddr::from(Ipv4Addr::from_bits(address));
        (Look::new(who, What::Refused, Some(address), "r1"), Some(address.into()))
    }

    fn admin() -> Looker {
        Looker { role: "admin".into(), id: Some("a1".into()), company: None }
    }

    fn take(tallies: &mut Tallies, (look, network): (Look, Option<Network>)) -> Option<Look> {
        tallies.take(look, network)
    }

    #[test]
    fn a_known_caller_is_recorded_each_time_up_to_a_bound_and_counted_from_there() {
        let mut tallies = Tallies::default();
        let alone = (0..100).filter(|_| take(&mut tallies, refusal(admin(), 1)).is_some()).count();
        assert_eq!(alone, REFUSALS_RECORDED as usize);
        let summed = tallies.sum_up();
        assert_eq!((summed.len(), &summed[0].more["count"]), (1, &(100 - REFUSALS_RECORDED).into()));
        assert_eq!(summed[0].who, admin());
        assert!(take(&mut tallies, refusal(admin(), 1)).is_some(), "a new minute");
        assert!(tallies.sum_up().is_empty(), "nothing is told twice");
    }

    #[test]
    fn a_flood_from_nobody_fills_nothing() {
        let mut tallies = Tallies::default();
        for round in 0..3 {
            for address in 0..20_000 {
                assert_eq!(take(&mut tallies, refusal(Looker::nobody(), address)), None, "{round}");
            }
        }
        let summed = tallies.sum_up();
        assert_eq!(summed.len(), REFUSED_CALLERS + 1);
        let counts = summed.iter().map(|look| look.more["count"].as_u64().unwrap());
        assert_eq!(counts.sum::<u64>(), 60_000);
        assert_eq!(summed.iter().filter(|look| look.address.is_none()).count(), 1);
    }

    #[test]
    fn a_path_names_its_conversation() {
        let of = |path| conversation(path).map(|id| id.as_str().to_owned());
        assert_eq!(of("/api/conversation/conv_1/stream").as_deref(), Some("conv_1"));
        assert_eq!(of("/api/v1/conversations/a%20b").as_deref(), Some("a b"));
        for path in ["/api/v1/conversations", "/api/v1/search", "/api/conversation/", "/api/conversation/%ff"]
        {
            assert_eq!(of(path), None, "{path}");
        }
    }
}
