//! The open loop: messages are written when they are due by the clock, however long the answers take.
//!
//! Each conversation belongs to one writer, which waits for an answer before it writes the next message: so the places
//! of messages within their conversation are the order of the log, and a feed that shows another has lost it.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use memchr::memmem;
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use super::connection::Connection;
use super::load::message_id;
use super::request::digits;
use super::watch::mark::{MARK_BYTES, Mark};
use crate::error::{Error, Result};

/// Connections at most.
const WRITERS: usize = 64;
/// Where a message's own id stands in a request, and its digits.
const MESSAGE_ID: &[u8] = b"msg_000000000000";
const MESSAGE_DIGITS: usize = 12;
/// Bytes of a wrong answer that are shown.
const SHOWN_BYTES: usize = 300;

/// The request for the messages of one conversation: rendered once, patched in place.
pub struct Template {
    bytes: Vec<u8>,
    conversation: u32,
    mark_at: usize,
    message_id_at: Option<usize>,
}

impl Template {
    /// Of a request whose content begins with the conversation's first mark.
    pub fn new(conversation: u32, request: &str) -> Self {
        let bytes = request.as_bytes().to_vec();
        let first = Mark { conversation, place: 0, number: 0 }.text();
        let mark_at =
            memmem::find(&bytes, first.as_bytes()).expect("the request was rendered with this mark");
        let message_id_at = memmem::find(&bytes, MESSAGE_ID).map(|at| at + MESSAGE_ID.len() - MESSAGE_DIGITS);
        Self { bytes, conversation, mark_at, message_id_at }
    }

    fn request(&mut self, place: u32, number: u32) -> &[u8] {
        let mark = Mark { conversation: self.conversation, place, number };
        mark.write(&mut self.bytes[self.mark_at..][..MARK_BYTES]);
        if let Some(at) = self.message_id_at {
            digits(&mut self.bytes[at..][..MESSAGE_DIGITS], place.into());
        }
        &self.bytes
    }
}

/// The content of a message: a mark, then what people say.
pub fn marked_content(conversation: u32, bytes: usize) -> String {
    let mark = Mark { conversation, place: 0, number: 0 }.text();
    let talk = super::request::content(bytes.saturating_sub(mark.len() + 1));
    format!("{mark} {talk}")
}

/// What became of every message of a run, by its number. Times are microseconds since the run began.
#[derive(Default)]
pub struct Ledger {
    /// Just before it was written; 0 where it was not.
    pub sent: Vec<u32>,
    /// When its answer was read; 0 where there was none.
    pub answered: Vec<u32>,
    /// How much later than due it was written.
    pub late: Vec<u32>,
    /// Its sequence, as the answer says it; 0 where it says none.
    pub told: Vec<u64>,
    /// Messages written in each conversation.
    pub written: Vec<u32>,
}

/// Messages that are due.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The conversations that are written to.
    pub conversations: Vec<u32>,
    /// Messages a second, to all of them together, in turn.
    pub rate: f64,
    /// Messages in all.
    pub count: usize,
}

/// Everything that is needed to write.
pub struct Writers {
    address: SocketAddr,
    templates: Vec<Rc<RefCell<Template>>>,
    ledger: Rc<RefCell<Ledger>>,
    base: Instant,
}

struct Due {
    number: u32,
    place: u32,
    at: Instant,
    template: Rc<RefCell<Template>>,
}

impl Writers {
    /// With a template for each conversation. Times are counted from `base`.
    pub fn new(address: SocketAddr, templates: Vec<Template>, base: Instant) -> Self {
        let ledger = Ledger { written: vec![0; templates.len()], ..Ledger::default() };
        let templates = templates.into_iter().map(|template| Rc::new(RefCell::new(template))).collect();
        Self { address, templates, ledger: Rc::new(RefCell::new(ledger)), base }
    }

    /// Numbers given so far: the next plan begins with this one.
    pub fn numbers(&self) -> usize {
        self.ledger.borrow().sent.len()
    }

    /// Messages written so far in each conversation.
    pub fn written(&self) -> Vec<u32> {
        self.ledger.borrow().written.clone()
    }

    /// What became of everything so far.
    pub fn ledger(&self) -> Rc<RefCell<Ledger>> {
        Rc::clone(&self.ledger)
    }

    /// Carries out several plans beside each other; all messages are answered when this returns.
    ///
    /// # Errors
    /// When a message is answered other than 2xx, or a connection breaks: what came of it is not known then.
    pub async fn write(&self, plans: &[Plan]) -> Result<()> {
        let started = Instant::now() + Duration::from_millis(50);
        let mut writers = JoinSet::new();
        for plan in plans {
            for due in self.spread(plan, started) {
                let connection = Connection::open(self.address).await?;
                writers.spawn_local(write_on_time(connection, due, Rc::clone(&self.ledger), self.base));
            }
        }
        while let Some(wrote) = writers.join_next().await {
            wrote.map_err(|error| Error::Answer(format!("a writer ended: {error}")))??;
        }
        Ok(())
    }

    /// What each writer of a plan has to write, and when.
    fn spread(&self, plan: &Plan, started: Instant) -> Vec<Vec<Due>> {
        let mut ledger = self.ledger.borrow_mut();
        let first = ledger.sent.len();
        let all = first + plan.count;
        ledger.sent.resize(all, 0);
        ledger.answered.resize(all, 0);
        ledger.late.resize(all, 0);
        ledger.told.resize(all, 0);
        let mut writers: Vec<Vec<Due>> = Vec::new();
        writers.resize_with(plan.conversations.len().min(WRITERS), Vec::new);
        for index in 0..plan.count {
            let turn = index % plan.conversations.len();
            let conversation = plan.conversations[turn] as usize;
            let place = ledger.written[conversation];
            ledger.written[conversation] += 1;
            let at = started + Duration::from_secs_f64(index as f64 / plan.rate);
            let template = Rc::clone(&self.templates[conversation]);
            let (of, number) = (turn % writers.len(), (first + index) as u32);
            writers[of].push(Due { number, place, at, template });
        }
        writers
    }
}

async fn write_on_time(
    mut connection: Connection,
    due: Vec<Due>,
    ledger: Rc<RefCell<Ledger>>,
    base: Instant,
) -> Result<()> {
    let micros = |at: Instant| at.saturating_duration_since(base).as_micros() as u32;
    for Due { number, place, at, template } in due {
        sleep_until(at.into()).await;
        // The template is this writer's alone: nobody else borrows it while the request is on its way.
        let request = template.borrow_mut().request(place, number).to_vec();
        let sent = Instant::now();
        let answer = connection.exchange(&request).await?;
        let answered = Instant::now();
        if !(200..300).contains(&answer.status) {
            let shown = String::from_utf8_lossy(&answer.body[..answer.body.len().min(SHOWN_BYTES)]);
            return Err(Error::Answer(format!("a message: {} {shown}", answer.status)));
        }
        let mut ledger = ledger.borrow_mut();
        let number = number as usize;
        ledger.sent[number] = micros(sent);
        ledger.answered[number] = micros(answered);
        ledger.late[number] = sent.saturating_duration_since(at).as_micros() as u32;
        ledger.told[number] = message_id(answer.body).unwrap_or_default();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writers(conversations: u32) -> Writers {
        let template = |conversation| Template::new(conversation, &marked_content(conversation, 60));
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        Writers::new(address, (0..conversations).map(template).collect(), Instant::now())
    }

    #[test]
    fn a_request_names_its_message() {
        let text = format!("{{\"id\":\"msg_000000000000\",\"content\":\"{}\"}}", marked_content(7, 60));
        let mut template = Template::new(7, &text);
        let request = String::from_utf8(template.request(12, 345).to_vec()).unwrap();
        let mark = Mark { conversation: 7, place: 12, number: 345 }.text();
        assert!(request.starts_with(&format!("{{\"id\":\"msg_000000000012\",\"content\":\"{mark} ")));
        assert_eq!((request.len(), marked_content(7, 60).len()), (text.len(), 60));
    }

    #[test]
    fn a_conversation_is_one_writers_and_its_places_have_no_gap() {
        let writers = writers(150);
        let plan = Plan { conversations: (0..150).collect(), rate: 100.0, count: 1_000 };
        let _first = writers.spread(&plan, Instant::now());
        let lanes = writers.spread(&plan, Instant::now());
        let mut places = vec![Vec::new(); 150];
        for due in lanes.iter().flatten() {
            places[due.template.borrow().conversation as usize].push(due.place);
        }
        for (conversation, places) in places.iter().enumerate() {
            let before = 6 + u32::from(conversation < 100);
            assert_eq!(*places, (before..before + places.len() as u32).collect::<Vec<_>>());
        }
        assert_eq!((writers.numbers(), writers.written().iter().sum::<u32>()), (2_000, 2_000));
    }
}
