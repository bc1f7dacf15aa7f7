use axum::body::Body;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD as PADDED, STANDARD_NO_PAD, URL_SAFE};
use tokio::io::AsyncReadExt;

use super::*;
use crate::webhooks::WebhookSettings;
use crate::webhooks::outline::{NoOutline, scan};
use crate::webhooks::spool::Spool;

async fn spooled(document: String) -> Spooled {
    let settings = WebhookSettings { max_bytes: 64 * 1024 * 1024, ..WebhookSettings::default() };
    Spool::new(&settings).take(None, Body::from(document), |_| {}).await.unwrap()
}

fn document(full_audio: &str) -> String {
    format!(
        r#"{{"type": "post_call_audio", "data": {{"agent_id": "a", "full_audio": "{full_audio}", "x": 1}},
            "event_timestamp": 1739537297}}"#
    )
}

async fn measured(full_audio: &str) -> Result<Audio, NotAudio> {
    let spooled = spooled(document(full_audio)).await;
    measure(&spooled, &scan(&spooled).await.unwrap()).await
}

/// Bytes whose base64 holds every character of the alphabet.
fn recording(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

async fn decoded_again(full_audio: &str) -> Vec<u8> {
    let spooled = spooled(document(full_audio)).await;
    let audio = measure(&spooled, &scan(&spooled).await.unwrap()).await.unwrap();
    let mut found = Vec::new();
    in_background(decoded(&spooled, &audio.place)).read_to_end(&mut found).await.unwrap();
    assert_eq!((audio.bytes, audio.sha256), (found.len() as u64, Sha256::digest(&found).into()));
    found
}

#[tokio::test]
async fn a_recording_is_decoded_with_padding_or_without_from_memory_or_a_file() {
    for bytes in [1, 2, 3, 4, 1000, 300_000, 1_500_001, 1_500_002] {
        let recording = recording(bytes);
        for text in [PADDED.encode(&recording), STANDARD_NO_PAD.encode(&recording)] {
            assert!(decoded_again(&text).await == recording, "{bytes}");
            assert!(decoded_again(&text.replace('/', "\\/").replace('+', "\\u002b")).await == recording);
        }
    }
}

#[tokio::test]
async fn what_is_no_base64_is_no_audio_wherever_it_breaks() {
    for bytes in [3000, 1_200_000] {
        let good = PADDED.encode(recording(bytes));
        for place in [0, good.len() / 2, good.len() - 1] {
            for wrong in ["*", " ", "\\n", "\\u00ff", "\\ud800", "\u{e9}", "-", "\\\""] {
                let broken = format!("{}{wrong}{}", &good[..place], &good[place + 1..]);
                let outcome = measured(&broken).await;
                assert!(matches!(outcome, Err(NotAudio::NotBase64(_))), "{wrong} at {place}: {outcome:?}");
            }
        }
        let short = measured(&good[..good.len() - 3]).await;
        assert!(matches!(short, Err(NotAudio::NotBase64(_))), "one character is left over: {short:?}");
        let more = measured(&format!("{}=AAAA", STANDARD_NO_PAD.encode(recording(bytes + 1)))).await;
        assert!(matches!(more, Err(NotAudio::NotBase64(_))), "more after the padding: {more:?}");
        let other = measured(&URL_SAFE.encode(recording(bytes))).await;
        assert!(matches!(other, Err(NotAudio::NotBase64(_))), "another alphabet: {other:?}");
    }
}

#[tokio::test]
async fn a_body_without_a_recording_says_so() {
    assert!(matches!(measured("").await, Err(NotAudio::Missing)));
    assert!(matches!(measured("=").await, Err(NotAudio::NotBase64(_) | NotAudio::Missing)));
    for document in [r#"{"type": "post_call_audio"}"#, r#"{"data": {"full_audio": null}}"#] {
        let spooled = spooled(document.to_owned()).await;
        let outcome = measure(&spooled, &scan(&spooled).await.unwrap()).await;
        assert!(matches!(outcome, Err(NotAudio::Missing)), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_body_in_a_file_is_looked_through_to_its_last_byte() {
    let whole = document(&PADDED.encode(recording(1_500_000)));
    let file = spooled(whole.clone()).await;
    assert!(matches!(file.content, Content::File(_)));
    let outline = scan(&file).await.unwrap();
    let heading = outline.heading.unwrap();
    assert_eq!(heading.kind.as_deref(), Some("post_call_audio"));
    let at = heading.reported_at.map(|at| at.timestamp());
    assert_eq!((outline.agent_id.as_deref(), at), (Some("a"), Some(1_739_537_297)));
    for broken in
        [&whole[..whole.len() - 1], &whole[..1_000_000], &format!("{whole}}}"), &"\0".repeat(3_000_000)]
    {
        let outcome = scan(&spooled(broken.to_owned()).await).await;
        assert!(matches!(outcome, Err(NoOutline::NotJson(_))), "{outcome:?}");
    }
}
