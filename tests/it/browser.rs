//! The browser's own `EventSource`, which sets no headers: it comes with the cookie of a session.

use serde_json::json;
use tests::{Binary, Browser, Client, Parts, Reply, client_file};

use crate::calls::{admin, with_call};
use crate::{ids, message};

const CONVERSATION: &str = "conv_919325590143_20251003_115804";

/// Ids of the messages that a page was sent, in a list of its own.
const IDS: &str =
    "(event) => JSON.parse(event.data).messages.forEach((message) => shown.push(message.message_id))";

/// Opens a page of this origin and begins a session there.
async fn begin_session(browser: &mut Browser, base: &str, token: &str) {
    browser.open(&format!("{base}/health/live")).await;
    let begin = format!(
        "fetch('/api/session', {{ method: 'POST', headers: {{ Authorization: 'Bearer {token}' }} }})
            .then((answer) => answer.status)"
    );
    assert_eq!(browser.evaluate(&begin).await, 200);
    assert_eq!(browser.evaluate("document.cookie").await, "", "no script may see it");
}

fn ok(reply: Reply) -> Reply {
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply
}

#[tokio::test(flavor = "multi_thread")]
async fn the_seeds_javascript_follows_as_printed_in_a_browser_with_a_session() {
    let system = with_call().await;
    let mut browser = Browser::start().await;
    browser.open(&format!("{}/health/live", system.base)).await;
    let refused = format!(
        "new Promise((told) => {{
            const source = new EventSource('/api/conversation/{CONVERSATION}/stream');
            source.onerror = () => told(source.readyState === EventSource.CLOSED);
        }})"
    );
    assert_eq!(
        browser.evaluate(&refused).await,
        true,
        "without a session it gives up, and does not ask again"
    );
    begin_session(&mut browser, &system.base, admin(&system, "admin_1", "acme").token()).await;
    let printed = std::fs::read_to_string(client_file("seed/event_source.js")).unwrap();
    // What shows messages is not given; what is told on the console is kept.
    let page = format!(
        "globalThis.said = [];
        (() => {{
            const tell = (...words) => said.push(words.filter((word) => typeof word === 'string').join(' '));
            const console = {{ log: tell, error: tell }};
            const show = (name) => (messages) => messages.forEach((message) => tell(name, message.message_id));
            const displayMessages = show('displayed'), appendMessages = show('appended');
            {printed}
        }})()"
    );
    browser.evaluate(&page).await;
    let first = "msg_919325590143_20251003_115804_0001";
    browser.until(&format!("said.includes('displayed {first}')")).await;
    let turn = json!({"role": "assistant", "content": "Call for help now.", "timestamp": "2025-10-03T11:58:18+05:30"});
    ok(system.service().post(&format!("/api/conversation/{CONVERSATION}/messages"), &turn).await);
    browser.until("said.includes('appended msg_919325590143_20251003_115804_0002')").await;
    ok(system.service().post(&format!("/api/conversation/{CONVERSATION}/end"), &json!({})).await);
    browser.until("said.includes('Conversation ended: Conversation has ended')").await;
}

async fn say(caller: &Client, id: &str) {
    ok(caller.post("/api/v1/chat/message", &message("RID001", "Hello", ids("conv_1", id))).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browsers_event_source_goes_on_by_itself_when_its_streamer_was_killed() {
    let parts = Parts::fresh().await;
    let writer = parts.only(true, true, false).start().await;
    let mut streamer = Binary::serve("streamer", &parts).await;
    let caller = writer.client.login("RID001").await;
    say(&caller, "m1").await;
    let mut browser = Browser::start().await;
    // A cookie is of a host, whatever the port.
    begin_session(&mut browser, &writer.base, caller.token()).await;
    browser.open(&format!("{}/health/live", streamer.client.base())).await;
    let follow = format!(
        "globalThis.shown = [];
        globalThis.source = new EventSource('/api/conversation/conv_1/stream');
        for (const name of ['initial', 'new_messages', 'reset']) source.addEventListener(name, {IDS});
        source.onerror = () => shown.push('lost');"
    );
    browser.evaluate(&follow).await;
    browser.until("shown.join() === 'm1'").await;
    streamer.kill();
    browser.until("shown.includes('lost')").await;
    say(&caller, "m2").await;
    streamer.restart().await;
    say(&caller, "m3").await;
    browser.until("shown.includes('m3')").await;
    assert_eq!(browser.evaluate("shown.filter((id) => id !== 'lost')").await, json!(["m1", "m2", "m3"]));
}
