//! An HTTP client that speaks the product's words.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use shared::http::client;

use crate::Feed;

/// A caller with a base URL and, perhaps, a credential.
#[derive(Debug, Clone)]
pub struct Client {
    base: String,
    credential: Option<String>,
    http: reqwest::Client,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
    pub text: String,
}

impl Client {
    pub fn new(base: &str) -> Self {
        Self { base: base.to_owned(), credential: None, http: client::local().build().unwrap() }
    }

    /// The same caller with another credential.
    pub fn with(&self, credential: &str) -> Self {
        Self { credential: Some(credential.to_owned()), ..self.clone() }
    }

    /// Logs in (`LOGIN_MODE=open`) and answers a caller with that token.
    pub async fn login(&self, research_id: &str) -> Self {
        let reply = self.post("/api/v1/auth/login", &json!({"research_id": research_id})).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        self.with(reply.body["access_token"].as_str().unwrap())
    }

    /// Where the server is.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// What the server's metrics say of a name without labels.
    pub async fn metric(&self, name: &str) -> Option<f64> {
        let page = self.get("/metrics").await.text;
        page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }

    /// The credential, if any.
    pub fn credential(&self) -> Option<&str> {
        self.credential.as_deref()
    }

    /// The credential.
    pub fn token(&self) -> &str {
        self.credential.as_deref().unwrap()
    }

    pub async fn post(&self, path: &str, body: &Value) -> Reply {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Reply {
        self.send(self.request(Method::PUT, path).json(body)).await
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send(self.request(Method::GET, path)).await
    }

    /// A request to be finished by hand.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.credential {
            Some(credential) => request.bearer_auth(credential),
            None => request,
        }
    }

    pub async fn send(&self, request: reqwest::RequestBuilder) -> Reply {
        self.try_send(request).await.unwrap()
    }

    /// The same, where the server may be gone.
    pub async fn try_send(&self, request: reqwest::RequestBuilder) -> Result<Reply, reqwest::Error> {
        Reply::of(request.send().await?).await
    }

    /// Opens the feed of a conversation.
    pub async fn feed(&self, conversation: &str, last_event_id: Option<&str>) -> Feed {
        self.try_feed(conversation, last_event_id).await.unwrap_or_else(|reply| panic!("no feed: {reply:?}"))
    }

    /// Opens the feed of a conversation, or answers why not.
    pub async fn try_feed(&self, conversation: &str, last_event_id: Option<&str>) -> Result<Feed, Reply> {
        self.reach_feed(conversation, last_event_id).await.unwrap()
    }

    /// The same, where the server may be gone.
    pub async fn reach_feed(
        &self,
        conversation: &str,
        last_event_id: Option<&str>,
    ) -> Result<Result<Feed, Reply>, reqwest::Error> {
        let path = format!("/api/conversation/{}/stream", encode(conversation));
        let mut request = self.request(Method::GET, &path).header("Accept", "text/event-stream");
        if let Some(id) = last_event_id {
            request = request.header("Last-Event-ID", id);
        }
        let response = request.send().await?;
        if response.status() == StatusCode::OK {
            return Ok(Ok(Feed::new(response)));
        }
        Reply::of(response).await.map(Err)
    }
}

/// Percent-encodes one segment of a path.
pub fn encode(segment: &str) -> String {
    segment
        .bytes()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

impl Reply {
    async fn of(response: reqwest::Response) -> Result<Self, reqwest::Error> {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await?;
        Ok(Self { status, headers, body: serde_json::from_str(&text).unwrap_or(Value::Null), text })
    }

    /// The reply's sequence, as its header says.
    pub fn sequence(&self) -> u64 {
        self.headers["turnlog-sequence"].to_str().unwrap().parse().unwrap()
    }

    /// Names of the bad fields of a problem.
    pub fn bad_fields(&self) -> Vec<&str> {
        self.body["errors"].as_array().unwrap().iter().map(|error| error["field"].as_str().unwrap()).collect()
    }

    /// Checks that this is a problem document of this status.
    pub fn assert_problem(&self, status: u16) {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(self.body["status"], status);
        assert_eq!(self.body["success"], false);
        for name in ["type", "title", "detail", "request_id"] {
            assert!(
                self.body[name].as_str().is_some_and(|text| !text.is_empty()),
                "{name} is missing: {}",
                self.text
            );
        }
        assert_eq!(self.body["request_id"], self.headers["x-request-id"].to_str().unwrap());
    }
}
