//! Tells the operator that the system is ready, and what to type first.

use std::io::{Write, stdout};
use std::path::Path;
use std::time::Duration;

use crate::failure::{Failure, OrFail};
use crate::instance::Instance;

/// How long a system whose servers run may take to become ready.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// Waits until the instance says that it is ready.
pub(crate) async fn ready(instance: &Instance) -> Result<(), Failure> {
    let url = format!("{}/health/ready", instance.base_url);
    let client = shared::http::client::local().timeout(Duration::from_secs(5)).build();
    let client = client.or_fail("make an HTTP client")?;
    let asking = async {
        while !client.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(READY_WITHIN, asking).await.map_err(|_| {
        Failure::new(format!("the services were not ready after {READY_WITHIN:?}; the lines above say why"))
    })
}

/// Prints addresses and lines to copy.
pub(crate) fn print(instance: &Instance, data_dir: &Path) -> Result<(), Failure> {
    let mut out = stdout().lock();
    // A reader that is gone does not end the system.
    match out.write_all(text(&instance.base_url, data_dir).as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).or_fail("print the addresses")
        }
        _ => Ok(()),
    }
}

/// The secrets are read where they are needed: what is printed may end up in somebody's log.
fn text(base: &str, data_dir: &Path) -> String {
    let file = quoted(&Instance::path(data_dir).to_string_lossy());
    format!(
        r#"
turnlog is ready.

  base URL   {base}
  console    {base}/console
  health     {base}/health
  metrics    {base}/metrics

Try it in another terminal:

  TOKEN=$(curl -s {base}/api/v1/auth/login -H 'Content-Type: application/json' \
    -d '{{"research_id": "RID001"}}' | sed 's/.*"access_token": *"\([^"]*\)".*/\1/')

  curl {base}/api/v1/chat/message -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' \
    -d '{{"research_id": "RID001", "role": "user", "content": "What is peripheral artery disease?",
         "timestamp": "2025-01-08T12:00:00Z", "provider": "elevenlabs",
         "elevenlabs_conversation_id": "conv_abc123", "elevenlabs_message_id": "msg_xyz789"}}'

  curl -N {base}/api/conversation/conv_abc123/stream -H "Authorization: Bearer $TOKEN"

A whole conversation, as a service sends it, and a webhook, as ElevenLabs signs it:

  secret() {{ sed -n 's/.*"'$1'": *"\([^"]*\)".*/\1/p' {file}; }}

  curl {base}/api/v1/webhook/conversation -H "Authorization: Bearer $(secret api_key)" \
    -H 'Content-Type: application/json' \
    -d '{{"emailId": "user@example.com", "accountId": "RID001", "conversationId": "conv_def456", "transcript":
         [{{"timestamp": "2025-01-08T12:00:00Z", "speaker": "user", "content": "Hello!", "messageId": "msg_1"}}],
         "metadata": {{"agentId": "agent_1", "duration": 9, "messageCount": 1, "platform": "web", "userAgent": "curl"}}}}'

  BODY='{{"type": "post_call_transcription", "data": {{"conversation_id": "conv_abc123", "agent_id": "agent_1",
    "status": "done", "transcript": [{{"role": "agent", "message": "It narrows arteries.", "time_in_call_secs": 4}}]}}}}'
  T=$(date +%s); V0=$(printf %s "$T.$BODY" | openssl dgst -sha256 -hmac "$(secret elevenlabs_webhook_secret)")
  curl {base}/api/v1/webhooks/elevenlabs -H 'Content-Type: application/json' \
    -H "ElevenLabs-Signature: t=$T,v0=${{V0##* }}" --data-binary "$BODY"

Ctrl-C stops all of it; the data stays.
"#
    )
}

/// As one word of a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_any_name_is_one_word() {
        let text = text("http://127.0.0.1:1", Path::new("/home/o'hara/my data"));
        assert!(text.contains(r"'/home/o'\''hara/my data/up.json'; }"), "{text}");
    }
}
