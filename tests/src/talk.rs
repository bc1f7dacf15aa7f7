//! A web page that talks with an agent by the vendor's own client, in a browser.

use axum::Router;
use axum::http::header;
use axum::response::Html;
use axum::routing::get;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::program::client_file;
use crate::{Browser, tools};

/// The vendor's client in one file, and the page's own script.
const SCRIPTS: &str = r#"<!doctype html><meta charset="utf-8"><title>Talk</title>
<link rel="icon" href="data:,"><script src="/client.js"></script><script src="/talk.js"></script>"#;

/// A frontend: its own little server, of an origin that no other test has; gone when dropped.
#[derive(Debug)]
pub struct Page {
    /// Its origin, as `CORS_ORIGINS` takes it.
    pub origin: String,
    serving: JoinHandle<()>,
}

impl Page {
    /// Serves it.
    pub async fn serve() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let client = tools().join("node/node_modules/@elevenlabs/client/dist/lib.iife.js");
        let client =
            std::fs::read_to_string(client).expect("run `scripts/setup.sh tests`, as `make test` does");
        let own = std::fs::read_to_string(client_file("talk.js")).unwrap();
        let script = |text: String| get(async move || ([(header::CONTENT_TYPE, "text/javascript")], text));
        let routes = Router::new()
            .route("/", get(async || Html(SCRIPTS)))
            .route("/client.js", script(client))
            .route("/talk.js", script(own));
        let serving = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { origin, serving }
    }

    /// Opens it in a browser.
    pub async fn open<'a>(&self, browser: &'a mut Browser) -> Talk<'a> {
        browser.open(&self.origin).await;
        Talk { browser }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// The page, open in a browser: one conversation after another.
#[derive(Debug)]
pub struct Talk<'a> {
    /// For whatever else the page is to do. Its script, `tests/clients/talk.js`, says what there is.
    pub browser: &'a mut Browser,
}

impl Talk<'_> {
    /// Begins a conversation; `options` go to the client as they are. Answers the id that the client was told.
    pub async fn begin(&mut self, signed_url: &str, options: &Value) -> String {
        let id = self.browser.evaluate(&format!("begin({}, {options})", json!(signed_url))).await;
        id.as_str().unwrap().to_owned()
    }

    /// The same where it is to fail; answers what the client says of it.
    pub async fn cannot_begin(&mut self, signed_url: &str) -> String {
        let begin = format!("begin({}, {{}}).then(() => null, (error) => error.message)", json!(signed_url));
        let why = self.browser.evaluate(&begin).await;
        why.as_str().expect("it began").to_owned()
    }

    /// Sends what a person typed.
    pub async fn type_text(&mut self, text: &str) {
        self.browser.evaluate(&format!("talk.sendUserMessage({})", json!(text))).await;
    }

    /// Leaves, as a person does.
    pub async fn leave(&mut self) {
        self.browser.evaluate("talk.endSession()").await;
    }

    /// Waits until the page was told so many things in all, and answers them.
    pub async fn heard(&mut self, count: usize) -> Vec<Value> {
        let heard = self.browser.until(&format!("heard.length >= {count} && heard")).await;
        heard.as_array().unwrap().clone()
    }
}
