//! A stand-in for ElevenLabs' API on port 0: holds conversations, fails as it is told, remembers who asked what.
//!
//! Faithful as far as the official SDKs look: routes, parameters, shapes of answers and errors, order and paging; and the
//! WebSocket, where a test lets people and agents say what it wants. A conversation that was had there is then told of
//! by the API, and by a webhook's body.

mod call;
mod fault;
mod pages;
mod socket;
mod talk;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use ingest::vendor::VendorSettings;
use serde_json::{Value, json};
use shared::config::Secret;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use call::Call;
pub use fault::Fault;
use fault::{bad_field, refuse, said};
use pages::Wanted;
use socket::Signed;
pub use talk::Line;
use talk::{Talk, seconds};

use crate::eventually;

/// The key that the vendor takes.
pub const VENDOR_KEY: &str = "sk_test_key_of_the_vendor";

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Route {
    List,
    Conversation,
    Audio,
    SignedUrl,
    Token,
    /// The WebSocket; its URL is the credential.
    Talk,
}

/// A request that came.
#[derive(Debug, Clone)]
pub struct Asked {
    pub route: Route,
    /// Path and query, as they came.
    pub uri: String,
    pub headers: HeaderMap,
    pub at: Instant,
}

/// A running stand-in; gone when dropped.
#[derive(Debug)]
pub struct Vendor {
    pub base: String,
    held: Held,
    serving: JoinHandle<()>,
}

type Held = Arc<Mutex<Inner>>;

#[derive(Debug, Default)]
struct Inner {
    calls: Vec<Call>,
    faults: HashMap<Route, Vec<Fault>>,
    asked: Vec<Asked>,
    minted: u32,
    signed: Vec<Signed>,
    talks: Vec<Talk>,
}

impl Inner {
    fn hold(&mut self, call: Call) {
        self.calls.retain(|other| other.id != call.id);
        self.calls.push(call);
    }

    fn talk(&mut self, id: &str) -> &mut Talk {
        self.talks.iter_mut().find(|talk| talk.id == id).expect("the conversation has begun")
    }
}

impl Vendor {
    /// Starts it with no conversations.
    pub async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let held = Held::default();
        let routes = routes(Arc::clone(&held));
        let serving = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { base, held, serving }
    }

    /// Settings of a client of it.
    pub fn settings(&self) -> VendorSettings {
        let base = self.base.parse().unwrap();
        VendorSettings::new(Secret::new(VENDOR_KEY), base, Duration::from_secs(5))
    }

    /// Adds a conversation, or puts it in the place of the one of the same id.
    pub fn hold(&self, call: Call) {
        self.held.lock().unwrap().hold(call);
    }

    /// Lets the next `times` requests to a route fail; after those that were scripted before.
    pub fn fail(&self, route: Route, times: usize, fault: Fault) {
        let mut inner = self.held.lock().unwrap();
        inner.faults.entry(route).or_default().extend(std::iter::repeat_n(fault, times));
    }

    /// Every request so far, in order.
    pub fn asked(&self) -> Vec<Asked> {
        self.held.lock().unwrap().asked.clone()
    }

    /// How often a route was asked.
    pub fn count(&self, route: Route) -> usize {
        self.asked().iter().filter(|asked| asked.route == route).count()
    }

    /// The conversations that have begun on the WebSocket, in order.
    pub fn begun(&self) -> Vec<String> {
        self.held.lock().unwrap().talks.iter().map(|talk| talk.id.clone()).collect()
    }

    /// Waits until so many have begun, and answers their ids.
    pub async fn until_begun(&self, count: usize) -> Vec<String> {
        eventually("conversations begin", || async { Some(self.begun()).filter(|ids| ids.len() >= count) })
            .await
    }

    /// Lets a line be said, once the conversation has begun; answers the number of its event.
    pub async fn say(&self, conversation: &str, line: Line<'_>) -> u64 {
        self.talk(conversation, |_| Some(())).await;
        self.held.lock().unwrap().talk(conversation).say(line)
    }

    /// Ends a conversation as the agent does, and waits until it is over.
    pub async fn hang_up(&self, conversation: &str) {
        self.talk(conversation, |_| Some(())).await;
        self.held.lock().unwrap().talk(conversation).hang_up();
        self.until_over(conversation).await;
    }

    /// Waits until a conversation has ended, whoever ended it.
    pub async fn until_over(&self, conversation: &str) {
        self.talk(conversation, |talk| talk.over.then_some(())).await;
    }

    /// What the client of a conversation said after its beginning, but sound.
    pub async fn heard(&self, conversation: &str) -> Vec<Value> {
        self.talk(conversation, |talk| Some(talk.heard.clone())).await
    }

    /// The texts that the client of a conversation sent, in order.
    pub async fn typed(&self, conversation: &str) -> Vec<String> {
        let heard = self.heard(conversation).await;
        let typed = heard.iter().filter(|frame| frame["type"] == "user_message");
        typed.map(|frame| frame["text"].as_str().unwrap().to_owned()).collect()
    }

    /// What the client of a conversation said at its beginning.
    pub async fn told(&self, conversation: &str) -> Value {
        self.talk(conversation, |talk| Some(talk.told.clone())).await
    }

    /// The body of the webhook for a conversation that is over.
    pub fn webhook(&self, conversation: &str) -> Value {
        let inner = self.held.lock().unwrap();
        let call = inner.calls.iter().find(|call| call.id == conversation).expect("it is held");
        let now = seconds(SystemTime::now().duration_since(UNIX_EPOCH).unwrap());
        json!({"type": "post_call_transcription", "event_timestamp": now, "data": call.body})
    }

    /// Waits until a conversation has begun and `look` finds something in it.
    async fn talk<T>(&self, conversation: &str, look: impl Fn(&Talk) -> Option<T>) -> T {
        let find = || async {
            let inner = self.held.lock().unwrap();
            inner.talks.iter().find(|talk| talk.id == conversation).and_then(&look)
        };
        eventually(&format!("{conversation} comes so far"), find).await
    }
}

impl Drop for Vendor {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn routes(held: Held) -> Router {
    let on = |route: Route| {
        middleware::from_fn_with_state((Arc::clone(&held), route), |state, request, next| {
            gate(state, request, next)
        })
    };
    Router::new()
        .route("/v1/convai/conversations", get(list).layer(on(Route::List)))
        .route("/v1/convai/conversations/{id}", get(conversation).layer(on(Route::Conversation)))
        .route("/v1/convai/conversations/{id}/audio", get(audio).layer(on(Route::Audio)))
        .route("/v1/convai/conversation/get-signed-url", get(signed_url).layer(on(Route::SignedUrl)))
        .route("/v1/convai/conversation/token", get(token).layer(on(Route::Token)))
        .route("/v1/convai/conversation", get(socket::talk).layer(on(Route::Talk)))
        .with_state(held)
}

/// Remembers the request, checks the key, and fails if that was scripted.
async fn gate(State((held, route)): State<(Held, Route)>, request: Request, next: Next) -> Response {
    let (uri, headers) = (request.uri().to_string(), request.headers().clone());
    let key = headers.get("xi-api-key").cloned();
    let fault = {
        let mut inner = held.lock().unwrap();
        inner.asked.push(Asked { route, uri, headers, at: Instant::now() });
        let queue = inner.faults.entry(route).or_default();
        (!queue.is_empty()).then(|| queue.remove(0))
    };
    if let Some(fault) = fault {
        return fault.answer(next.run(request)).await;
    }
    match key {
        _ if route == Route::Talk => next.run(request).await,
        None => refuse(
            StatusCode::UNAUTHORIZED,
            "needs_authorization",
            "Neither authorization header nor xi-api-key received, please provide one.",
        ),
        Some(key) if key != VENDOR_KEY => {
            refuse(StatusCode::UNAUTHORIZED, "invalid_api_key", "Invalid API key")
        }
        Some(_) => next.run(request).await,
    }
}

type Parameters = Query<HashMap<String, String>>;

async fn list(State(held): State<Held>, Query(query): Parameters) -> Response {
    match Wanted::read(&query) {
        Ok(wanted) => axum::Json(wanted.page(&held.lock().unwrap().calls)).into_response(),
        Err(refusal) => *refusal,
    }
}

async fn conversation(State(held): State<Held>, Path(id): Path<String>) -> Response {
    let inner = held.lock().unwrap();
    match inner.calls.iter().find(|call| call.id == id) {
        Some(call) => axum::Json(&call.body).into_response(),
        None => unknown(&id),
    }
}

async fn audio(State(held): State<Held>, Path(id): Path<String>) -> Response {
    let inner = held.lock().unwrap();
    match inner.calls.iter().find(|call| call.id == id).map(|call| &call.audio) {
        // Streamed without a length, as the vendor does.
        Some(Some(audio)) => {
            let chunks: Vec<_> =
                audio.chunks(8192).map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec())).collect();
            let body = axum::body::Body::from_stream(futures::stream::iter(chunks));
            ([(header::CONTENT_TYPE, "audio/mpeg")], body).into_response()
        }
        Some(None) => refuse(StatusCode::NOT_FOUND, "audio_not_found", "This conversation has no audio."),
        None => unknown(&id),
    }
}

async fn signed_url(State(held): State<Held>, headers: HeaderMap, Query(query): Parameters) -> Response {
    let Some(agent) = query.get("agent_id") else {
        return bad_field("agent_id", "Field required", "missing");
    };
    let host = headers[header::HOST].to_str().unwrap();
    let signature = format!("cvtkn_{}", mint(&held));
    let mut url =
        format!("ws://{host}/v1/convai/conversation?agent_id={agent}&conversation_signature={signature}");
    let included = query.get("include_conversation_id").is_some_and(|included| included == "true");
    let conversation = included.then(|| format!("conv_{}", mint(&held)));
    if let Some(id) = &conversation {
        url.push_str(&format!("&conversation_id={id}"));
    }
    let signed = Signed { signature, agent: agent.clone(), conversation, used: false };
    held.lock().unwrap().signed.push(signed);
    axum::Json(json!({"signed_url": url})).into_response()
}

async fn token(State(held): State<Held>, Query(query): Parameters) -> Response {
    if !query.contains_key("agent_id") {
        return bad_field("agent_id", "Field required", "missing");
    }
    let (token, id) = (mint(&held), mint(&held));
    axum::Json(json!({"token": format!("livekit.{token}.jwt"), "conversation_id": format!("conv_{id}")}))
        .into_response()
}

fn mint(held: &Held) -> String {
    let mut inner = held.lock().unwrap();
    inner.minted += 1;
    format!("minted{:06}", inner.minted)
}

fn unknown(id: &str) -> Response {
    let detail = json!({
        "type": "not_found", "code": "conversation_not_found", "status": "conversation_not_found",
        "message": format!("Conversation {id} not found."), "param": "conversation_id",
    });
    said(StatusCode::NOT_FOUND, &detail)
}
