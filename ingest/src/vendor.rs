//! A client of ElevenLabs' API: lists conversations, fetches them and their recordings, and gets leave to talk.
//!
//! One request is one method, polite (evenly spaced), bounded (bytes and time) and told apart by [`VendorError`].
//! Asking again is [`Retry`]'s. What a person waits for is not spaced but guarded: `gate.rs` says how.

mod agents;
mod breaker;
mod error;
mod gate;
pub mod limits;
mod page;
mod reach;
mod retry;
mod settings;
mod signed;

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, RequestBuilder, Response, Url, redirect};
use serde::Deserialize;
use shared::http::{AnyError, client};

use gate::Gate;
use limits::{DOWNLOAD_DEADLINE, HEALTH_WAIT, IDLE_CONNECTIONS, MAX_ERROR_BYTES, MAX_PAGE_BYTES};
use reach::Reach;

pub use agents::{Agents, NotAgents};
pub use error::VendorError;
pub use page::{ListQuery, Page, Status, Summary};
pub use retry::Retry;
pub use settings::VendorSettings;
pub use signed::SignedUrl;

static API_KEY: HeaderName = HeaderName::from_static("xi-api-key");

/// The vendor. Clones share connections, pace and what is known of its health.
#[derive(Debug, Clone)]
pub struct Vendor(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    http: Client,
    settings: VendorSettings,
    pace: DefaultDirectRateLimiter,
    reach: Reach,
    gate: Gate,
}

/// A recording on its way.
pub struct Audio {
    /// Its type, as the vendor says.
    pub content_type: Option<String>,
    /// Its length in bytes, where the vendor says.
    pub length: Option<u64>,
    /// Its bytes, in order. An error ends them; what came before is not the whole recording then.
    pub bytes: BoxStream<'static, Result<Bytes, VendorError>>,
}

impl std::fmt::Debug for Audio {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Audio({:?}, {:?} bytes)", self.content_type, self.length)
    }
}

impl Vendor {
    /// Makes the client; nothing is asked yet.
    ///
    /// # Errors
    /// When the key cannot be a header, or https is wanted on a system without root certificates.
    pub fn new(settings: VendorSettings) -> Result<Self, AnyError> {
        let mut key = HeaderValue::from_str(settings.api_key.expose())
            .map_err(|_| "ELEVENLABS_API_KEY cannot be sent: it holds characters that a header cannot")?;
        key.set_sensitive(true);
        let builder = if settings.base_url.scheme() == "https" { client::public() } else { client::local() };
        let http = builder
            .user_agent(concat!("turnlog/", env!("CARGO_PKG_VERSION")))
            .default_headers(HeaderMap::from_iter([(API_KEY.clone(), key)]))
            // The key must not follow a redirect to somebody else.
            .redirect(redirect::Policy::none())
            .connect_timeout(settings.timeout)
            .read_timeout(settings.timeout)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .build()
            .map_err(|error| {
                format!("no client for ELEVENLABS_BASE_URL: {}", VendorError::broken(error, ""))
            })?;
        // A burst of one spaces requests evenly.
        let burst = Quota::per_second(settings.requests_per_second).allow_burst(std::num::NonZeroU32::MIN);
        let (pace, reach, gate) = (RateLimiter::direct(burst), Reach::default(), Gate::new());
        Ok(Self(Arc::new(Inner { http, settings, pace, reach, gate })))
    }

    /// One page of conversations, newest first.
    ///
    /// # Errors
    /// Any [`VendorError`].
    pub async fn list(&self, query: &ListQuery) -> Result<Page, VendorError> {
        let request = self.get(&["conversations"]).query(&query.parameters());
        self.paced("list", async {
            let response = self.send(request, self.0.settings.timeout).await?;
            let body = self.read(response, MAX_PAGE_BYTES).await?;
            Page::read(&body).ok_or_else(|| VendorError::Malformed("no page of conversations".into()))
        })
        .await
    }

    /// One conversation: its JSON, as it came.
    ///
    /// # Errors
    /// Any [`VendorError`].
    pub async fn conversation(&self, id: &str) -> Result<Bytes, VendorError> {
        let request = self.get(&["conversations", &segment(id)?]);
        self.paced("conversation", async {
            let response = self.send(request, DOWNLOAD_DEADLINE).await?;
            let body = self.read(response, self.0.settings.max_conversation_bytes).await?;
            check_conversation(&body, id)?;
            Ok(body)
        })
        .await
    }

    /// The recording of one conversation. Its bytes are not kept: the caller takes them as they come.
    ///
    /// # Errors
    /// Any [`VendorError`]; also later, in the bytes.
    pub async fn audio(&self, id: &str) -> Result<Audio, VendorError> {
        let request = self.get(&["conversations", &segment(id)?, "audio"]);
        self.paced("audio", async {
            let response = self.send(request, DOWNLOAD_DEADLINE).await?;
            self.recording(response)
        })
        .await
    }

    /// Whether the vendor can be used, for the health page: what was seen in the last half minute, else it is asked.
    /// Answers within a second; then with what was known before.
    pub async fn is_up(&self) -> bool {
        if let Some(seen) = self.0.reach.fresh() {
            return seen.up;
        }
        let mut seen = self.0.reach.follow();
        if self.0.reach.begin() {
            // A page of health may give up before the vendor answers; the answer is for the next one then.
            let vendor = self.clone();
            tokio::spawn(async move {
                let query = ListQuery { page_size: 1, ..ListQuery::default() };
                let _noted = vendor.list(&query).await;
                vendor.0.reach.done();
            });
        }
        let _late = tokio::time::timeout(HEALTH_WAIT, seen.changed()).await;
        self.0.reach.last().is_some_and(|seen| seen.up)
    }

    fn get(&self, path: &[&str]) -> RequestBuilder {
        let mut url: Url = self.0.settings.base_url.clone();
        let path = format!("{}/v1/convai/{}", url.path().trim_end_matches('/'), path.join("/"));
        url.set_path(&path);
        self.0.http.get(url)
    }

    /// One request in its turn.
    async fn paced<T>(
        &self,
        route: &'static str,
        asking: impl Future<Output = Result<T, VendorError>>,
    ) -> Result<T, VendorError> {
        self.0.pace.until_ready().await;
        self.noted(route, asking).await
    }

    /// Notes how one request went: for metrics and for the health page.
    async fn noted<T>(
        &self,
        route: &'static str,
        asking: impl Future<Output = Result<T, VendorError>>,
    ) -> Result<T, VendorError> {
        let answer = asking.await;
        let failure = answer.as_ref().err();
        self.0.reach.note(failure);
        let outcome = failure.map_or("ok", VendorError::word);
        metrics::counter!("turnlog_vendor_requests_total", "route" => route, "outcome" => outcome)
            .increment(1);
        answer
    }

    /// The head of a good answer.
    async fn send(&self, request: RequestBuilder, deadline: Duration) -> Result<Response, VendorError> {
        let response = request.timeout(deadline).send().await.map_err(|error| self.broken(error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        // An error whose body breaks is still that error.
        let body = self.read(response, MAX_ERROR_BYTES).await.unwrap_or_default();
        Err(VendorError::refused(status, &headers, &body, self.0.settings.api_key.expose()))
    }

    async fn read(&self, mut response: Response, limit: usize) -> Result<Bytes, VendorError> {
        let too_large = VendorError::TooLarge(limit as u64);
        let expected = response.content_length().unwrap_or_default();
        if expected > limit as u64 {
            return Err(too_large);
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.broken(error))? {
            if body.len() + chunk.len() > limit {
                return Err(too_large);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }

    fn recording(&self, response: Response) -> Result<Audio, VendorError> {
        let limit = self.0.settings.max_audio_bytes;
        let length = response.content_length();
        if length.is_some_and(|length| length > limit) {
            return Err(VendorError::TooLarge(limit));
        }
        let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let content_type = content_type.map(str::to_ascii_lowercase);
        let is_audio =
            |kind: &str| kind.starts_with("audio/") || kind.starts_with("application/octet-stream");
        if !content_type.as_deref().is_none_or(is_audio) {
            return Err(VendorError::Malformed("a recording that is no audio".into()));
        }
        // Ends with its first error: a caller that went on past it would get a recording with a hole.
        let start = (self.clone(), response, 0_u64);
        let bytes = stream::try_unfold(start, move |(vendor, mut response, taken)| async move {
            let chunk = response.chunk().await.map_err(|error| vendor.broken(error))?;
            let Some(chunk) = chunk else { return Ok(None) };
            let taken = taken + chunk.len() as u64;
            if taken > limit {
                return Err(VendorError::TooLarge(limit));
            }
            Ok(Some((chunk, (vendor, response, taken))))
        });
        Ok(Audio { content_type, length, bytes: bytes.boxed() })
    }

    fn broken(&self, error: reqwest::Error) -> VendorError {
        VendorError::broken(error, self.0.settings.api_key.expose())
    }
}

/// An id as one segment of a path. Ids come from outside: one must not become another path.
fn segment(id: &str) -> Result<String, VendorError> {
    if matches!(id, "" | "." | "..") {
        return Err(VendorError::NotFound("an id that cannot be".into()));
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    let encode = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    Ok(id.bytes().map(encode).collect())
}

/// Whether a body is the whole JSON of this conversation, and not an error page or another one's.
fn check_conversation(body: &[u8], id: &str) -> Result<(), VendorError> {
    #[derive(Deserialize)]
    struct Shape {
        conversation_id: String,
    }
    // The cause would quote the body.
    let shape: Shape = serde_json::from_slice(body)
        .map_err(|error| VendorError::Malformed(format!("no conversation ({:?} error)", error.classify())))?;
    if shape.conversation_id == id {
        Ok(())
    } else {
        Err(VendorError::Malformed("another conversation than the one asked for".into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_stays_one_segment_of_the_path() {
        let settings = |base: &str| {
            let base = Url::parse(base).unwrap();
            VendorSettings::new(shared::config::Secret::new("sk_1"), base, Duration::from_secs(1))
        };
        for base in ["http://host/gateway", "http://host/gateway/"] {
            let vendor = Vendor::new(settings(base)).unwrap();
            for (id, path) in [
                ("conv_1", "conv_1"),
                ("../agents", "..%2Fagents"),
                ("a?b#c", "a%3Fb%23c"),
                ("%2e%2e", "%252e%252e"),
                ("a\n\\é", "a%0A%5C%C3%A9"),
            ] {
                let request = vendor.get(&["conversations", &segment(id).unwrap()]).build().unwrap();
                let url = format!("http://host/gateway/v1/convai/conversations/{path}");
                assert_eq!(request.url().as_str(), url);
            }
        }
        for id in ["", ".", ".."] {
            assert!(matches!(segment(id), Err(VendorError::NotFound(_))));
        }
    }

    #[test]
    fn a_conversation_is_checked_without_being_limited_in_depth() {
        let deep = format!(r#"{{"conversation_id":"c","x":{}1{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(check_conversation(deep.as_bytes(), "c"), Ok(()));
        for body in ["", "<html>", "[]", "{}", r#"{"conversation_id":"c""#, r#"{"conversation_id":"d"}"#] {
            assert!(
                matches!(check_conversation(body.as_bytes(), "c"), Err(VendorError::Malformed(_))),
                "{body}"
            );
        }
    }
}
