//! A headless Chromium with one page, driven by `tests/clients/browser.cjs`.

use serde_json::{Value, json};

use crate::find_tool;
use crate::program::{Program, client_file, node};

/// A running browser; gone when dropped.
#[derive(Debug)]
pub struct Browser {
    bridge: Program,
}

impl Browser {
    /// Starts one with a profile of its own.
    pub async fn start() -> Self {
        let names = ["chromium", "chromium-browser", "google-chrome"];
        let found = names.iter().find_map(|name| find_tool(name));
        let found = found.expect("Chromium is not installed: run `scripts/setup.sh tests`");
        let mut command = node();
        command.arg(client_file("browser.cjs")).arg(found);
        let mut bridge = Program::start(command);
        bridge.until("ready").await;
        Self { bridge }
    }

    /// Opens a page.
    pub async fn open(&mut self, url: &str) {
        self.ask(json!({"open": url})).await;
    }

    /// What an expression is worth in the page; of a promise, what it comes to.
    pub async fn evaluate(&mut self, expression: &str) -> Value {
        self.ask(json!({"evaluate": expression})).await
    }

    /// Waits until an expression is true in the page, and answers what it is worth then.
    pub async fn until(&mut self, expression: &str) -> Value {
        self.ask(json!({"until": expression})).await
    }

    /// Types into a field.
    pub async fn fill(&mut self, selector: &str, text: &str) {
        self.ask(json!({"fill": selector, "text": text})).await;
    }

    /// Presses a button.
    pub async fn click(&mut self, selector: &str) {
        self.ask(json!({"click": selector})).await;
    }

    async fn ask(&mut self, command: Value) -> Value {
        self.bridge.say(&command.to_string()).await;
        let answer = self.bridge.until("answer ").await;
        let answer: Value = serde_json::from_str(answer.split_once("answer ").unwrap().1).unwrap();
        assert!(answer["error"].is_null(), "{command}: {}", answer["error"].as_str().unwrap());
        answer["value"].clone()
    }
}
