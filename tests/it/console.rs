//! The console in a real browser.

use serde_json::json;
use tests::{Binary, Browser, Client, Nginx, Parts, eventually};

use crate::{ids, message};

/// What the page shows of its messages, in its order.
const SHOWN: &str =
    "[...document.querySelectorAll('#messages li')].map((item) => item.querySelector('p').textContent)";

async fn say(caller: &Client, id: &str, content: &str) {
    let body = message("RID001", content, ids("conv_1", id));
    let reply = caller.post("/api/v1/chat/message", &body).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
}

async fn shows(browser: &mut Browser, wanted: &[&str]) {
    let wanted = json!(wanted).to_string();
    browser.until(&format!("JSON.stringify({SHOWN}) === JSON.stringify({wanted})")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_messages_in_order_corrects_them_and_survives_a_restart() {
    let parts = Parts::fresh().await;
    let writer = parts.only(true, true, false).start().await;
    let mut streamer = Binary::serve("streamer", &parts).await;
    let caller = writer.client.login("RID001").await;
    say(&caller, "m1", "one").await;
    // One address for both, as users have it: what is asked goes to the streamer, the session is begun at the writer.
    let writes = format!(
        "proxy_set_header Host $http_host; proxy_http_version 1.1; proxy_set_header Connection '';
         if ($request_method !~ ^(GET|HEAD)$) {{ proxy_pass {}; }}",
        writer.base
    );
    let nginx = Nginx::before(streamer.client.base(), &writes).await;
    let mut browser = Browser::start().await;
    browser.open(&format!("{}/console?conversation=conv_1", nginx.client.base())).await;
    browser.fill("#token", caller.token()).await;
    browser.click("#watch button").await;
    shows(&mut browser, &["one"]).await;
    say(&caller, "m2", "<b>two</b> 🦀").await;
    say(&caller, "m3", "three").await;
    shows(&mut browser, &["one", "<b>two</b> 🦀", "three"]).await;
    say(&caller, "m2", "two").await;
    shows(&mut browser, &["one", "two", "three"]).await;
    // Nothing is drawn anew: the items stay, and the page goes on after the last one.
    browser.evaluate("document.querySelector('#messages li').dataset.old = 'yes'").await;
    streamer.kill();
    browser.until("document.querySelector('#state').dataset.kind === 'error'").await;
    say(&caller, "m4", "four").await;
    say(&caller, "m1", "one, corrected").await;
    streamer.restart().await;
    shows(&mut browser, &["one, corrected", "two", "three", "four"]).await;
    assert_eq!(browser.evaluate("document.querySelector('#messages li').dataset.old").await, "yes");
    assert_eq!(browser.until("document.querySelector('#state').textContent").await, "Live: 4 messages.");
    // Who may not read is told why.
    let stranger = streamer.client.with(writer.client.login("RID002").await.token());
    let refused = stranger.try_feed("conv_1", None).await.unwrap_err();
    browser.fill("#token", stranger.token()).await;
    browser.click("#watch button").await;
    browser
        .until(&format!("document.querySelector('#state').textContent === {}", refused.body["detail"]))
        .await;
    // A page that is left leaves no feed behind.
    drop(browser);
    eventually("no feed is open", || async {
        (streamer.client.metric("turnlog_feeds_open").await == Some(0.0)).then_some(())
    })
    .await;
}
