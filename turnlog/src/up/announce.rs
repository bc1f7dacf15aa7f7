//! Tells the operator that the system is ready, and what to type first.

use std::io::{Write, stdout};
use std::time::Duration;

use crate::failure::{Failure, OrFail};
use crate::instance::Instance;

/// How long a system whose servers run may take to become ready.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// Waits until the instance says that it is ready.
pub(crate) async fn ready(instance: &Instance) -> Result<(), Failure> {
    let url = format!("{}/health/ready", instance.base_url);
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build();
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
pub(crate) fn print(instance: &Instance) -> Result<(), Failure> {
    let mut out = stdout().lock();
    // A reader that is gone does not end the system.
    match out.write_all(text(&instance.base_url).as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).or_fail("print the addresses")
        }
        _ => Ok(()),
    }
}

fn text(base: &str) -> String {
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

Ctrl-C stops all of it; the data stays.
"#
    )
}
