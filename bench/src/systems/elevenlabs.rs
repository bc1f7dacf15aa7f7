//! A stand-in of ElevenLabs that gives signed URLs at once, or takes requests and never answers.
//!
//! It is a task on the client's thread and reads no more than the head of a GET: what it takes of the machine is in the
//! client's share.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, spawn_local};

use crate::error::{Doing, Error, Result};
use crate::report::{Latency, histogram};

/// Bytes read at once; a request is about 200.
const READ_BYTES: usize = 4_096;
/// What is asked for.
const WANTED: &[u8] = b"GET /v1/convai/conversation/get-signed-url?agent_id=";
/// How long requests may take to arrive.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at how many have.
const LOOK: Duration = Duration::from_millis(10);

/// What becomes of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// They are answered at once.
    Answers,
    /// They are taken, and never answered.
    Hangs,
}

/// A running one.
pub struct ElevenLabs {
    address: SocketAddr,
    desk: Rc<Desk>,
    accepting: JoinHandle<()>,
}

/// What all its connections write down together.
struct Desk {
    address: SocketAddr,
    manner: Manner,
    /// Conversations that were given an id.
    given: Cell<u64>,
    /// Requests that wait for an answer.
    held: Cell<usize>,
    /// Requests whose caller went away without one.
    left: Cell<usize>,
    /// From a request read to its answer written.
    micros: RefCell<Histogram<u64>>,
}

impl ElevenLabs {
    /// Listens on a free port.
    ///
    /// # Errors
    /// When there is none.
    pub async fn start(manner: Manner) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.doing("listen as ElevenLabs")?;
        let address = listener.local_addr().doing("read ElevenLabs' port")?;
        let desk = Rc::new(Desk {
            address,
            manner,
            given: Cell::new(0),
            held: Cell::new(0),
            left: Cell::new(0),
            micros: RefCell::new(histogram()),
        });
        let accepting = spawn_local(accept(listener, Rc::clone(&desk)));
        Ok(Self { address, desk, accepting })
    }

    /// Where it is, as `ELEVENLABS_BASE_URL`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How long giving signed URLs took since this was asked last, and how many there were.
    pub fn take(&self) -> (Latency, u64) {
        let micros = self.desk.micros.replace(histogram());
        (Latency::of(&micros), micros.len())
    }

    /// Waits until it holds so many requests open.
    ///
    /// # Errors
    /// When they do not arrive.
    pub async fn holding(&self, requests: usize) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.desk.held.get() < requests {
            if Instant::now() > deadline {
                return Err(Error::Answer(self.account(requests)));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Fails unless it still holds all of them, and held them all the time.
    ///
    /// # Errors
    /// When it does not.
    pub fn still_holds(&self, requests: usize) -> Result<()> {
        if self.desk.held.get() == requests && self.desk.left.get() == 0 {
            return Ok(());
        }
        Err(Error::Answer(self.account(requests)))
    }

    fn account(&self, requests: usize) -> String {
        let (held, left) = (self.desk.held.get(), self.desk.left.get());
        format!("the vendor that hangs holds {held} of {requests} requests open, and {left} were given up")
    }
}

impl Drop for ElevenLabs {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, desk: Rc<Desk>) {
    while let Ok((stream, _)) = listener.accept().await {
        let desk = Rc::clone(&desk);
        // A caller that goes away ends its connection, whatever it waited for.
        spawn_local(async move { drop(serve(stream, &desk).await) });
    }
}

/// Answers what comes on one connection. A GET has no body, and callers wait for each answer.
async fn serve(mut stream: TcpStream, desk: &Desk) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut head = Vec::with_capacity(READ_BYTES);
    loop {
        head.clear();
        while !head.ends_with(b"\r\n\r\n") {
            if stream.read_buf(&mut head).await? == 0 {
                return Ok(());
            }
        }
        let read = Instant::now();
        let Some(query) = head.strip_prefix(WANTED) else {
            // Such as what a health check asks.
            stream.write_all(rendered("404 Not Found", "{}").as_bytes()).await?;
            continue;
        };
        if desk.manner == Manner::Hangs {
            return desk.hold(stream).await;
        }
        stream.write_all(desk.answer(query).as_bytes()).await?;
        desk.micros.borrow_mut().saturating_record(read.elapsed().as_micros() as u64);
    }
}

impl Desk {
    /// Until the caller gives up.
    async fn hold(&self, mut stream: TcpStream) -> io::Result<()> {
        self.held.set(self.held.get() + 1);
        let gone = stream.read_u8().await;
        self.held.set(self.held.get() - 1);
        self.left.set(self.left.get() + 1);
        gone.map(drop)
    }

    /// Leave to talk with the agent that `query` begins with.
    fn answer(&self, query: &[u8]) -> String {
        let end = memmem::find(query, b"&").unwrap_or_default();
        let agent = String::from_utf8_lossy(&query[..end]);
        let number = self.given.replace(self.given.get() + 1);
        let body = format!(
            r#"{{"signed_url": "ws://{}/v1/convai/conversation?agent_id={agent}&conversation_signature=sig_{number:012}&conversation_id=conv_{number:026}"}}"#,
            self.address
        );
        rendered("200 OK", &body)
    }
}

fn rendered(status: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
}

#[cfg(test)]
mod tests {
    use tokio::task::LocalSet;

    use super::*;
    use crate::client::connection::{Connection, once};

    const REQUEST: &[u8] =
        b"GET /v1/convai/conversation/get-signed-url?agent_id=a&include_conversation_id=true HTTP/1.1\r\n\r\n";

    #[tokio::test]
    async fn every_answer_names_another_conversation() {
        let answered = async {
            let vendor = ElevenLabs::start(Manner::Answers).await.unwrap();
            let mut connection = Connection::open(vendor.address).await.unwrap();
            for number in 0..2 {
                let answer = connection.exchange(REQUEST).await.unwrap();
                let json: serde_json::Value = serde_json::from_slice(answer.body).unwrap();
                let url = json["signed_url"].as_str().unwrap();
                let id = format!("&conversation_id=conv_{number:026}");
                assert!(url.starts_with("ws://127.0.0.1:") && url.contains("?agent_id=a&"), "{url}");
                assert!(url.ends_with(&id), "{url}");
            }
            assert_eq!(once(vendor.address, "GET", "/v1/user", "").await.unwrap().0, 404);
            assert_eq!((vendor.take().1, vendor.take().1), (2, 0), "the other request is not counted");
        };
        LocalSet::new().run_until(answered).await;
    }

    #[tokio::test]
    async fn one_that_hangs_knows_who_waits_and_who_gave_up() {
        let held = async {
            let vendor = ElevenLabs::start(Manner::Hangs).await.unwrap();
            assert_eq!(once(vendor.address, "GET", "/v1/user", "").await.unwrap().0, 404);
            let mut waiting = TcpStream::connect(vendor.address).await.unwrap();
            waiting.write_all(REQUEST).await.unwrap();
            vendor.holding(1).await.unwrap();
            vendor.still_holds(1).unwrap();
            assert!(vendor.still_holds(2).is_err());
            drop(waiting);
            while vendor.desk.left.get() == 0 {
                tokio::task::yield_now().await;
            }
            assert!(vendor.still_holds(0).is_err());
        };
        LocalSet::new().run_until(held).await;
    }
}
