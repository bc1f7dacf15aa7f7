//! The vendor's WebSocket: who may talk, how a conversation begins, and how it ends.

use std::collections::HashMap;

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Query, State};
use axum::response::Response;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::talk::{Out, Talk};
use super::{Held, mint};

/// As the vendor closes: all is well, and what the client did was wrong.
const NORMAL: u16 = 1000;
const POLICY: u16 = 1008;

/// Leave to talk.
#[derive(Debug)]
pub(super) struct Signed {
    pub(super) signature: String,
    pub(super) agent: String,
    /// With an id it is for one conversation; without, for any number of them.
    pub(super) conversation: Option<String>,
    pub(super) used: bool,
}

pub(super) async fn talk(
    State(held): State<Held>,
    Query(query): Query<HashMap<String, String>>,
    upgrade: WebSocketUpgrade,
) -> Response {
    // A client that asks for none, as the Python one, gets none.
    upgrade.protocols(["convai"]).on_upgrade(async move |mut socket| {
        let refusal = match admit(&held, &query) {
            Ok((agent, id)) => converse(&held, &mut socket, agent, id).await,
            Err(refusal) => Some(refusal),
        };
        if let Some(refusal) = refusal {
            close(&mut socket, POLICY, refusal).await;
        }
        // Until the client has read the end: a connection that is cut before looks like a fault.
        while let Some(Ok(_)) = socket.recv().await {}
    })
}

/// Uses the leave up, and answers who talks and the conversation's id.
fn admit(held: &Held, query: &HashMap<String, String>) -> Result<(String, String), &'static str> {
    let said = |name: &str| query.get(name);
    let minted = format!("conv_{}", mint(held));
    let mut inner = held.lock().unwrap();
    let signature = said("conversation_signature").ok_or("Missing conversation signature")?;
    let signed = inner.signed.iter_mut().find(|signed| signed.signature == *signature);
    let signed = signed.filter(|signed| {
        said("agent_id") == Some(&signed.agent) && said("conversation_id") == signed.conversation.as_ref()
    });
    let signed = signed.ok_or("Invalid conversation signature")?;
    if signed.used && signed.conversation.is_some() {
        return Err("The conversation signature has been used");
    }
    signed.used = true;
    Ok((signed.agent.clone(), signed.conversation.clone().unwrap_or(minted)))
}

/// From the client's first word to the end; or why it did not begin.
async fn converse(held: &Held, socket: &mut WebSocket, agent: String, id: String) -> Option<&'static str> {
    let told = next(socket).await?;
    if told["type"] != "conversation_initiation_client_data" {
        return Some("Expected conversation_initiation_client_data");
    }
    send(
        socket,
        &json!({
            "type": "conversation_initiation_metadata",
            "conversation_initiation_metadata_event": {
                "conversation_id": id, "agent_output_audio_format": "pcm_16000",
                "user_input_audio_format": "pcm_16000",
            },
        }),
    )
    .await;
    let (to_client, mut script) = mpsc::unbounded_channel();
    {
        let mut inner = held.lock().unwrap();
        let mut talk = Talk::begin(id.clone(), agent, told, to_client);
        talk.ping();
        inner.hold(talk.running());
        inner.talks.push(talk);
    }
    let reason = loop {
        tokio::select! {
            out = script.recv() => match out.expect("whoever lets it talk holds the other end") {
                Out::Frame(frame) => send(socket, &frame).await,
                Out::HangUp => {
                    close(socket, NORMAL, "").await;
                    break "Agent ended the conversation";
                }
            },
            said = next(socket) => match said {
                Some(frame) => held.lock().unwrap().talk(&id).hear(frame),
                None => break "Client disconnected: 1000",
            },
        }
    };
    let mut inner = held.lock().unwrap();
    let talk = inner.talk(&id);
    talk.over = true;
    let call = talk.finished(reason);
    inner.hold(call);
    None
}

/// What the client says next; `None` when it has left.
async fn next(socket: &mut WebSocket) -> Option<Value> {
    loop {
        match socket.recv().await?.ok()? {
            Message::Text(text) => return Some(serde_json::from_str(&text).expect("clients speak JSON")),
            Message::Close(_) => return None,
            Message::Binary(_) | Message::Ping(_) | Message::Pong(_) => {}
        }
    }
}

/// A client that has left hears nothing.
async fn send(socket: &mut WebSocket, frame: &Value) {
    let _left = socket.send(Message::text(frame.to_string())).await;
}

async fn close(socket: &mut WebSocket, code: u16, reason: &'static str) {
    let _left = socket.send(Message::Close(Some(CloseFrame { code, reason: reason.into() }))).await;
}
