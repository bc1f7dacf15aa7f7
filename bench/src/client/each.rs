//! A list of requests, each sent once: a connection sends the next of them when its last was answered.

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::Instant;

use futures::future::try_join_all;

use super::connection::Connection;
use crate::error::{Error, Result};

/// Bytes of a wrong answer that are shown.
const SHOWN_BYTES: usize = 300;

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its body.
    pub body: Vec<u8>,
    /// From before the request was written to after the answer was read.
    pub micros: u64,
}

impl Answer {
    /// As it is shown where it is wrong.
    pub fn shown(&self) -> String {
        let body = &self.body[..self.body.len().min(SHOWN_BYTES)];
        format!("{}: {}", self.status, String::from_utf8_lossy(body))
    }
}

/// Sends them over so many connections; the answers are in the order of the requests.
///
/// # Errors
/// When a connection cannot be opened, or breaks.
pub async fn each(address: SocketAddr, connections: usize, requests: &[Vec<u8>]) -> Result<Vec<Answer>> {
    let next = Cell::new(0);
    let lanes = (0..connections.min(requests.len())).map(|_| lane(address, requests, &next));
    let mut answers: Vec<(usize, Answer)> = try_join_all(lanes).await?.into_iter().flatten().collect();
    answers.sort_unstable_by_key(|(index, _)| *index);
    Ok(answers.into_iter().map(|(_, answer)| answer).collect())
}

/// The same for what must be answered 200.
///
/// # Errors
/// Also when one is not.
pub async fn all_200(address: SocketAddr, connections: usize, requests: &[Vec<u8>]) -> Result<Vec<Answer>> {
    let answers = each(address, connections, requests).await?;
    match answers.iter().find(|answer| answer.status != 200) {
        Some(wrong) => Err(Error::Answer(wrong.shown())),
        None => Ok(answers),
    }
}

async fn lane(address: SocketAddr, requests: &[Vec<u8>], next: &Cell<usize>) -> Result<Vec<(usize, Answer)>> {
    let mut connection = Connection::open(address).await?;
    let mut answers = Vec::new();
    loop {
        let index = next.replace(next.get() + 1);
        let Some(request) = requests.get(index) else { return Ok(answers) };
        let sent = Instant::now();
        let answer = connection.exchange(request).await?;
        let micros = sent.elapsed().as_micros() as u64;
        answers.push((index, Answer { status: answer.status, body: answer.body.to_vec(), micros }));
    }
}
