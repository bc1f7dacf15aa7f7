//! A watcher by WebSocket, with a library of its own.

use futures::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::protocol::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::sse::PASSING;
use crate::{Client, Frame, PATIENCE, encode};

/// An open WebSocket of a conversation.
#[derive(Debug)]
pub struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// The last id that was seen.
    pub last_id: Option<String>,
    /// The code and the reason with which the server closed.
    pub closed: Option<(u16, String)>,
}

impl Socket {
    /// Opens one with the caller's credential, if it has one, these parameters and these headers.
    ///
    /// # Panics
    /// Where it is not opened.
    pub async fn open(
        caller: &Client,
        conversation: &str,
        query: &str,
        headers: &[(&'static str, &str)],
    ) -> Self {
        let base = caller.base().replacen("http", "ws", 1);
        let address = format!("{base}/api/conversation/{}/ws?{query}", encode(conversation));
        let mut request = address.into_client_request().unwrap();
        for (name, value) in headers {
            let (name, value) = (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
            request.headers_mut().insert(name, value);
        }
        if let Some(token) = caller.credential() {
            let value = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
            request.headers_mut().insert("authorization", value);
        }
        let (stream, _) = timeout(PATIENCE, connect_async(request)).await.unwrap().unwrap();
        Self { stream, last_id: None, closed: None }
    }

    /// The next event of any kind; `None` when the server closed.
    pub async fn any(&mut self) -> Option<Frame> {
        loop {
            match timeout(PATIENCE, self.stream.next()).await.expect("nothing came") {
                Some(Ok(Message::Text(text))) => return Some(self.read(&text)),
                Some(Ok(Message::Close(frame))) => {
                    self.closed = frame.map(|frame| (frame.code.into(), frame.reason.to_string()));
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(other)) => panic!("the server said {other:?}"),
                Some(Err(_)) | None => return None,
            }
        }
    }

    fn read(&mut self, text: &str) -> Frame {
        let mut said: Value = serde_json::from_str(text).unwrap();
        assert_eq!(said.as_object().unwrap().len(), 3, "{said}");
        let event = said["event"].as_str().unwrap().to_owned();
        let id = said["id"].as_str().map(str::to_owned);
        assert!(id.is_some() || said["id"].is_null(), "{said}");
        if id.is_some() {
            self.last_id.clone_from(&id);
        }
        Frame { event, id, data: said["data"].take() }
    }

    /// The next event that is no heartbeat, and does not say who watches; `None` when the server closed.
    pub async fn next(&mut self) -> Option<Frame> {
        let telling = async {
            loop {
                let frame = self.any().await;
                if frame.as_ref().is_none_or(|frame| !PASSING.contains(&&*frame.event)) {
                    return frame;
                }
            }
        };
        timeout(PATIENCE, telling).await.expect("nothing came")
    }

    /// The next event of this name; others before it are a failure.
    pub async fn expect(&mut self, event: &str) -> Frame {
        let frame = self.next().await.unwrap_or_else(|| panic!("closed before {event}: {:?}", self.closed));
        assert_eq!(frame.event, event, "{frame:?}");
        frame
    }

    /// Waits for the server to close, and answers its code.
    pub async fn is_closed(&mut self) -> u16 {
        assert_eq!(self.next().await, None);
        self.closed.as_ref().expect("it closes with a word").0
    }

    /// Says something.
    pub async fn say(&mut self, what: &Value) {
        self.send(Message::text(what.to_string())).await;
    }

    /// Says something that need not make sense.
    pub async fn say_text(&mut self, what: &str) {
        self.send(Message::text(what)).await;
    }

    /// Sends bytes.
    pub async fn say_bytes(&mut self, what: &[u8]) {
        self.send(Message::binary(what.to_vec())).await;
    }

    /// The server may be gone.
    async fn send(&mut self, message: Message) {
        let _gone = self.stream.send(message).await;
    }

    /// Leaves properly.
    pub async fn leave(mut self) {
        self.stream.close(None).await.unwrap();
    }
}
