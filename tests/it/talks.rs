//! The stand-in of ElevenLabs' WebSocket, by what the vendor's own clients make of it.

use ingest::vendor::{ListQuery, Status};
use ingest::webhooks::signature::sign;
use reqwest::Method;
use serde_json::{Value, json};
use shared::http::AllowedOrigins;
use tests::vendor::{Line, Route, VENDOR_KEY, Vendor};
use tests::{Browser, Client, Page, Parts, System, WEBHOOK_SECRET, eventually, run_python};

const AGENT: &str = "agent_jung";
const LATER: &str = "We go on later.";

fn client(vendor: &Vendor) -> ingest::vendor::Vendor {
    ingest::vendor::Vendor::new(vendor.settings()).unwrap()
}

/// A signed URL with a conversation's id, and the id.
async fn signed(vendor: &Vendor) -> (String, String) {
    let signed = client(vendor).signed_url(AGENT).await.unwrap();
    (signed.url.expose().to_owned(), signed.conversation_id)
}

/// Of the turns of a transcript what a test looks at.
fn turns(body: &Value) -> Vec<Value> {
    let turns = body["transcript"].as_array().unwrap().iter();
    turns.map(|turn| json!([turn["role"], turn["message"], turn["source_event_id"]])).collect()
}

/// The body of the webhook, which the vendor's SDK must take, and know every field of.
async fn webhook(vendor: &Vendor, id: &str) -> Value {
    let (webhook, secret) = (vendor.webhook(id), "wsec_of_the_test");
    let body = webhook.to_string();
    let header = sign(secret, webhook["event_timestamp"].as_i64().unwrap(), body.as_bytes());
    let cases = json!([{"body": body, "header": header, "secret": secret}]);
    let answers = run_python("elevenlabs_sdk.py", &cases).await;
    assert_eq!((&answers[0]["event"], &answers[0]["unknown"]), (&webhook, &json!([])));
    webhook
}

#[tokio::test(flavor = "multi_thread")]
async fn the_vendors_browser_client_talks_with_the_stand_in() {
    let (vendor, page, mut browser) = (Vendor::start().await, Page::serve().await, Browser::start().await);
    let (url, id) = signed(&vendor).await;
    let mut talk = page.open(&mut browser).await;
    let options = json!({"userId": "usr_1", "dynamicVariables": {"user_name": "Ana", "dreams": 3}});
    assert_eq!(talk.begin(&url, &options).await, id);
    let whole = "Good evening. What did you dream, and how did it end?";
    let greeting = vendor.say(&id, Line::Agent(whole)).await;
    let cut = "Good evening. What did you dream,";
    assert_eq!(vendor.say(&id, Line::Correct { original: whole, corrected: cut }).await, greeting);
    let dream = vendor.say(&id, Line::User("Of the sea, 海 🌊")).await;
    talk.heard(4).await;
    talk.type_text("And of \"ships\".").await;
    eventually("the text comes", || async { (vendor.typed(&id).await.len() == 1).then_some(()) }).await;
    let answer = vendor.say(&id, Line::Agent(LATER)).await;
    assert!(greeting < dream && dream < answer);
    vendor.hang_up(&id).await;

    let said = |role: &str, text: &str, event: u64| {
        let source = if role == "agent" { "ai" } else { "user" };
        json!({"kind": "message", "source": source, "role": role, "message": text, "event_id": event})
    };
    let heard = talk.heard(6).await;
    let expected = [
        json!({"kind": "connect", "conversationId": id}),
        said("agent", whole, greeting),
        json!({"kind": "correction", "original_agent_response": whole, "corrected_agent_response": cut,
               "event_id": greeting}),
        said("user", "Of the sea, 海 🌊", dream),
        said("agent", LATER, answer),
    ];
    assert_eq!(heard[..5], expected);
    assert_eq!(
        (&heard[5]["kind"], &heard[5]["reason"], &heard[5]["closeCode"]),
        (&json!("disconnect"), &json!("agent"), &json!(1000))
    );

    assert_eq!(vendor.typed(&id).await, ["And of \"ships\"."]);
    assert!(vendor.heard(&id).await.contains(&json!({"type": "pong", "event_id": 1})));
    assert_eq!(vendor.told(&id).await["dynamic_variables"], options["dynamicVariables"]);
    let body = webhook(&vendor, &id).await;
    let data = &body["data"];
    let expected = [
        json!(["agent", cut, greeting]),
        json!(["user", "Of the sea, 海 🌊", dream]),
        json!(["user", "And of \"ships\".", answer - 1]),
        json!(["agent", LATER, answer]),
    ];
    assert_eq!(turns(data), expected);
    let first = &data["transcript"][0];
    assert_eq!((&first["interrupted"], &first["original_message"]), (&json!(true), &json!(whole)));
    assert_eq!(
        (&data["conversation_id"], &data["agent_id"], &data["user_id"]),
        (&json!(id), &json!(AGENT), &json!("usr_1"))
    );
    assert_eq!(data["metadata"]["text_only"], true);
    let variables = &data["conversation_initiation_client_data"]["dynamic_variables"];
    assert_eq!((&variables["user_name"], &variables["system__conversation_id"]), (&json!("Ana"), &json!(id)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_url_with_an_id_lets_one_conversation_begin_and_a_wrong_one_none() {
    let (vendor, page, mut browser) = (Vendor::start().await, Page::serve().await, Browser::start().await);
    let (url, id) = signed(&vendor).await;
    let (other, other_id) = signed(&vendor).await;
    let mut talk = page.open(&mut browser).await;
    talk.begin(&url, &json!({})).await;
    vendor.say(&id, Line::User("Hello")).await;
    talk.heard(2).await;
    talk.leave().await;
    vendor.until_over(&id).await;
    assert_eq!(talk.heard(3).await[2]["reason"], "user");
    assert_eq!(vendor.webhook(&id)["data"]["metadata"]["termination_reason"], "Client disconnected: 1000");

    assert_eq!(talk.cannot_begin(&url).await, "The conversation signature has been used");
    let wrong = other.replace("cvtkn_", "cvtkn_x");
    assert_eq!(talk.cannot_begin(&wrong).await, "Invalid conversation signature");
    let another = other.replace(&other_id, &id);
    assert_eq!(talk.cannot_begin(&another).await, "Invalid conversation signature");
    assert_eq!(talk.begin(&other, &json!({})).await, other_id, "refusals have not used it up");
    assert_eq!((vendor.begun(), vendor.count(Route::Talk)), (vec![id, other_id], 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_vendors_python_sdk_talks_with_the_stand_in() {
    let vendor = Vendor::start().await;
    let asked = json!({
        "base": vendor.base, "key": VENDOR_KEY, "agent": AGENT, "user": "usr_1", "variables": {"user_name": "Ana"},
        "typed": "Of the sea.",
    });
    let script = async {
        let id = vendor.until_begun(1).await.remove(0);
        vendor.say(&id, Line::Agent("What did you dream?")).await;
        let page = client(&vendor).list(&ListQuery::default()).await.unwrap();
        assert_eq!(page.conversations[0].status, Status::InProgress);
        eventually("the text comes", || async { (vendor.typed(&id).await.len() == 1).then_some(()) }).await;
        vendor.say(&id, Line::User("Mostly.")).await;
        vendor.say(&id, Line::Agent("Tell me of the sea.")).await;
        vendor.say(&id, Line::Correct { original: "Tell me of the sea.", corrected: "Tell me" }).await;
        vendor.hang_up(&id).await;
        id
    };
    let (answer, id) = tokio::join!(run_python("elevenlabs_talk.py", &asked), script);
    let said_by_api = client(&vendor).conversation(&id).await.unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&said_by_api).unwrap(), vendor.webhook(&id)["data"]);
    let heard = json!([
        {"agent": "What did you dream?"}, {"user": "Mostly."}, {"agent": "Tell me of the sea."},
        {"original": "Tell me of the sea.", "corrected": "Tell me"},
    ]);
    assert_eq!((&answer["id"], &answer["heard"]), (&json!(id), &heard));
    let told = vendor.told(&id).await;
    assert_eq!((&told["user_id"], &told["dynamic_variables"]["user_name"]), (&json!("usr_1"), &json!("Ana")));
    let body = webhook(&vendor, &id).await;
    assert_eq!(turns(&body["data"]).len(), 4);
    assert_eq!(
        (&body["data"]["metadata"]["text_only"], vendor.typed(&id).await),
        (&json!(true), vec!["Of the sea.".to_owned()])
    );
}

/// What a page does as the README says: begins by our `init`, and saves what it is told.
const FRONTEND: &str = "
globalThis.saved = [];
globalThis.post = (path, body) => fetch(base + path, { method: 'POST', body: JSON.stringify(body),
  headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' } })
  .then(async (reply) => { if (!reply.ok) throw new Error(await reply.text()); return reply.json(); });
globalThis.saving = Promise.resolve();
globalThis.save = (role, content, eventId) => saving = saving.then(() =>
  post('/api/v1/conversations/messages', { conversationId: data.conversationId, role, content, eventId }))
    .then((reply) => saved.push(reply.data.messageId), (error) => saved.push(error.message));
globalThis.onHeard = (said) => {
  if (said.kind === 'message') save(said.role, said.message, said.event_id);
  if (said.kind === 'correction') save('agent', said.corrected_agent_response, said.event_id);
};
globalThis.init = async (request) => {
  globalThis.data = (await post('/api/v1/conversations/elevenlabs/init', request)).data;
  const { dream_emotions, ...variables } = data.dynamicVariables;
  globalThis.variables = { ...variables, dream_emotions: dream_emotions.join(', ') };
  return data;
};";

/// A page that is logged in.
async fn frontend(talk: &mut tests::Talk<'_>, caller: &Client) {
    let said = json!({"base": caller.base(), "token": caller.token()});
    talk.browser.evaluate(&format!("Object.assign(globalThis, {said}); {FRONTEND} null")).await;
}

/// `init` in the page, and a talk with the vendor that it lets begin; the conversation's id and the vendor's.
async fn begin(talk: &mut tests::Talk<'_>, dream: &str) -> (Value, String) {
    let request = json!({"dreamId": dream, "interpreterId": "jung"});
    let data = talk.browser.evaluate(&format!("init({request})")).await;
    let variables = talk.browser.evaluate("variables").await;
    let id = talk.begin(data["signedUrl"].as_str().unwrap(), &json!({"dynamicVariables": variables})).await;
    (data, id)
}

async fn post_call(system: &System, webhook: &Value) -> u64 {
    let body = webhook.to_string();
    let signature = sign(WEBHOOK_SECRET, chrono::Utc::now().timestamp(), body.as_bytes());
    let request = system.client.request(Method::POST, "/api/v1/webhooks/elevenlabs");
    let reply = system.client.send(request.header("ElevenLabs-Signature", signature).body(body)).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply.sequence()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_in_a_browser_stands_once_in_tables_and_feed_also_over_sessions() {
    let (vendor, page, mut browser) = (Vendor::start().await, Page::serve().await, Browser::start().await);
    let mut parts = Parts { vendor: Some(vendor.settings()), ..Parts::fresh().await };
    parts.edge.origins = AllowedOrigins::These(vec![page.origin.parse().unwrap()]);
    let system = parts.start().await;
    let caller = system.client.login("RID001").await;
    let dream =
        json!({"dreamId": "d1", "rawTranscript": "I was at sea.", "recordedAt": "2025-01-08T07:30:00+05:30"});
    assert_eq!(caller.post("/api/v1/dreams", &dream).await.status, 200);

    let mut talk = page.open(&mut browser).await;
    frontend(&mut talk, &caller).await;
    let (data, first) = begin(&mut talk, "d1").await;
    let id = data["conversationId"].as_str().unwrap();
    let mut feed = caller.feed(id, None).await;
    feed.expect("initial").await;
    assert_eq!(vendor.told(&first).await["dynamic_variables"]["dream_content"], "I was at sea.");

    let whole = "Good evening. What did you dream, and how did it end?";
    let cut = "Good evening. What did you dream,";
    vendor.say(&first, Line::Agent(whole)).await;
    vendor.say(&first, Line::Correct { original: whole, corrected: cut }).await;
    vendor.say(&first, Line::User("Of the sea, 海 🌊")).await;
    talk.browser.until("saved.length === 3").await;
    talk.type_text("And of ships.").await;
    talk.browser.evaluate("save('user', 'And of ships.').then(() => null)").await;
    vendor.say(&first, Line::Agent(LATER)).await;
    talk.browser.until("saved.length === 5").await;
    let ids = talk.browser.evaluate("new Set(saved).size").await;
    assert_eq!(ids, 4, "{}", talk.browser.evaluate("saved").await);
    vendor.hang_up(&first).await;
    post_call(&system, &vendor.webhook(&first)).await;
    let told = post_call(&system, &vendor.webhook(&first)).await;

    let (again, second) = begin(&mut talk, "d1").await;
    assert_eq!(
        (&again["conversationId"], &again["isResumed"], &again["messageCount"]),
        (&data["conversationId"], &json!(true), &json!(4))
    );
    let context = vendor.told(&second).await["dynamic_variables"]["conversation_context"].clone();
    assert!(
        context.as_str().unwrap().ends_with("User: And of ships.\nInterpreter: We go on later."),
        "{context}"
    );
    // The page is closed before it can save anything: the webhook alone tells of it.
    talk.browser.evaluate("globalThis.onHeard = null").await;
    vendor.say(&second, Line::Agent("Welcome back.")).await;
    vendor.say(&second, Line::User("Of the sea, 海 🌊")).await;
    vendor.hang_up(&second).await;
    let last = post_call(&system, &vendor.webhook(&second)).await;
    assert!(last > told);

    let said = [
        ("assistant", cut),
        ("user", "Of the sea, 海 🌊"),
        ("user", "And of ships."),
        ("assistant", LATER),
        ("assistant", "Welcome back."),
        ("user", "Of the sea, 海 🌊"),
    ];
    let said: Vec<_> = said.iter().map(|(role, text)| json!({"role": role, "content": text})).collect();
    let shown = caller.get(&format!("/api/conversation/{id}?after={last}")).await;
    let lines = |messages: &Value| -> Vec<Value> {
        let messages = messages.as_array().unwrap().iter();
        messages.map(|one| json!({"role": one["role"], "content": one["content"]})).collect()
    };
    assert_eq!(lines(&shown.body["conversation"]["messages"]), said);
    let rows = "SELECT role, content FROM turnlog.messages ORDER BY place, sequence";
    assert_eq!(system.rows(rows).await, said, "and nowhere else");
    assert_eq!(system.rows("SELECT count(*)::int AS n FROM conversation_messages").await, [json!({"n": 6})]);
    assert_eq!(system.rows("SELECT count(*)::int AS n FROM turnlog.conversations").await, [json!({"n": 1})]);
    let (mut new, mut corrected) = (Vec::new(), 0);
    while new.len() < said.len() || corrected == 0 {
        let frame = feed.next().await.unwrap();
        match frame.event.as_str() {
            "new_messages" => new.extend(lines(&frame.data["messages"])),
            "message_corrected" => corrected += 1,
            "heartbeat" | "presence" | "conversation" => {}
            other => panic!("{other}: {}", frame.data),
        }
    }
    assert_eq!(new[0], json!({"role": "assistant", "content": whole}));
    assert_eq!((&new[1..], new.len(), corrected), (&said[1..], 6, 1), "each over the feed, once");
}
