//! Contents too large for an event: stored as a whole or not at all, read from any place, gone when deleted.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_nats::jetstream;
use base64::Engine;
use futures::future::join_all;
use ingest::WebhookSettings;
use ingest::webhooks::spool::Spool;
use ingest::webhooks::{audio, outline};
use sha2::{Digest, Sha256};
use shared::limits::{MAX_OBJECT_BYTES, OBJECT_CHUNK_BYTES};
use shared::objects::{ObjectError, ObjectName, Objects};
use tests::{Nats, account, eventually};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};
use tokio::sync::Notify;

/// Bytes that differ everywhere, so that a chunk in a wrong place shows.
fn content(bytes: usize) -> Vec<u8> {
    (0..bytes as u64 / 8 + 1)
        .flat_map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15)).to_le_bytes())
        .take(bytes)
        .collect()
}

fn name(content: &[u8]) -> ObjectName {
    ObjectName::of(Sha256::digest(content).into())
}

async fn put(objects: &Objects, content: &[u8]) -> Result<shared::objects::StoredObject, ObjectError> {
    objects.put(name(content), content.len() as u64, "audio/mpeg", content).await
}

async fn read(objects: &Objects, name: ObjectName, offset: u64) -> io::Result<Vec<u8>> {
    let object = objects.get(name).await.unwrap().expect("the object is there");
    let mut found = Vec::new();
    object.read(offset).read_to_end(&mut found).await?;
    Ok(found)
}

/// What is stored in the bucket's stream: messages, and its raw state.
async fn stream(nats: &shared::config::NatsSettings) -> jetstream::stream::Stream {
    let mut options = async_nats::ConnectOptions::new();
    if let (Some(user), Some(password)) = (&nats.user, &nats.password) {
        options = options.user_and_password(user.clone(), password.expose().to_owned());
    }
    let context = jetstream::new(options.connect(nats.urls[0].expose()).await.unwrap());
    context.get_stream("OBJ_turnlog-objects").await.unwrap()
}

pub(crate) async fn messages(nats: &shared::config::NatsSettings) -> u64 {
    stream(nats).await.cached_info().state.messages
}

#[tokio::test]
async fn what_was_put_is_read_back_from_any_place() {
    let objects = Objects::open(&account().await, "test").await.unwrap();
    for bytes in [0, 1, OBJECT_CHUNK_BYTES - 1, OBJECT_CHUNK_BYTES, OBJECT_CHUNK_BYTES + 1, 6_000_000] {
        let content = content(bytes);
        let stored = put(&objects, &content).await.unwrap();
        assert_eq!((stored.bytes, stored.media_type.as_str()), (bytes as u64, "audio/mpeg"));
        assert_eq!(objects.get(stored.name).await.unwrap().unwrap().stored, stored);
        for offset in [0, 1, bytes / 2, bytes.saturating_sub(1), bytes, bytes + 7] {
            let found = read(&objects, stored.name, offset as u64).await.unwrap();
            assert!(found == content[offset.min(bytes)..], "{bytes} bytes from {offset}: {}", found.len());
        }
    }
    assert!(objects.get(name(b"another")).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_content_is_stored_once_however_often_and_by_whomever_it_is_put() {
    let nats = account().await;
    let (one, two) = (Objects::open(&nats, "one").await.unwrap(), Objects::open(&nats, "two").await.unwrap());
    let content = content(2_000_000);
    let puts = (0..12).map(|n| put(if n % 2 == 0 { &one } else { &two }, &content));
    for stored in join_all(puts).await {
        assert_eq!(stored.unwrap().name, name(&content));
    }
    assert_eq!(messages(&nats).await, 4 + 1);
    // A second put does not even read what it is given.
    one.put(name(&content), content.len() as u64, "audio/mpeg", &b""[..]).await.unwrap();
    assert_eq!(read(&two, name(&content), 0).await.unwrap(), content);
}

/// Hands out a content's first part. Then it fails, or says so and waits for ever.
struct Broken<'a>(&'a [u8], Option<Arc<Notify>>);

impl AsyncRead for Broken<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.0.is_empty() {
            let Some(waiting) = &self.1 else { return Poll::Ready(Err(io::Error::other("cut off"))) };
            waiting.notify_one();
            return Poll::Pending;
        }
        let (now, later) = self.0.split_at(self.0.len().min(buf.remaining()));
        buf.put_slice(now);
        self.0 = later;
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn what_is_not_what_its_name_says_leaves_nothing() {
    let nats = account().await;
    let objects = Objects::open(&nats, "test").await.unwrap();
    let content = content(3_000_000);
    let (right, bytes) = (name(&content), content.len() as u64);
    let mut other = content.clone();
    other[2_999_999] ^= 1;
    for (given, bytes) in [(&other[..], bytes), (&content[1..], bytes), (&content[..], bytes - 1)] {
        let outcome = objects.put(right, bytes, "audio/mpeg", given).await;
        assert!(matches!(outcome, Err(ObjectError::WrongDigest)), "{outcome:?}");
    }
    let cut = objects.put(right, bytes, "audio/mpeg", Broken(&content[..2_000_000], None)).await;
    assert!(matches!(cut, Err(ObjectError::Content(_))), "{cut:?}");
    let large = objects.put(right, MAX_OBJECT_BYTES as u64 + 1, "audio/mpeg", &b""[..]).await;
    assert!(matches!(large, Err(ObjectError::TooLarge)), "{large:?}");
    assert!(objects.get(right).await.unwrap().is_none());
    assert_eq!(messages(&nats).await, 0);
    put(&objects, &content).await.unwrap();
    assert_eq!(read(&objects, right, 0).await.unwrap(), content);
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_of_nats_in_the_middle_of_a_put_leaves_nothing_and_the_next_put_works() {
    let mut nats = Nats::start().await;
    let settings = nats.settings();
    let objects = Objects::open(&settings, "test").await.unwrap();
    let kept = content(700_000);
    put(&objects, &kept).await.unwrap();
    let content = content(5_000_000);
    let (client, bytes) = (objects.clone(), content.clone());
    // The put waits for the rest of its content, most of it under way, when the server dies.
    let (mut rest, source) = tokio::io::duplex(64 * 1024);
    let putting =
        tokio::spawn(async move { client.put(name(&bytes), bytes.len() as u64, "audio/mpeg", source).await });
    tokio::io::AsyncWriteExt::write_all(&mut rest, &content[..4_000_000]).await.unwrap();
    nats.kill();
    nats.restart().await;
    // The put may have given up already: then nobody reads this.
    let _gone = tokio::io::AsyncWriteExt::write_all(&mut rest, &content[4_000_000..]).await;
    drop(rest);
    let outcome = putting.await.unwrap();
    assert!(matches!(outcome, Err(ObjectError::Unavailable(_))), "{outcome:?}");
    let gone = || async { objects.get(name(&content)).await.ok() };
    assert!(eventually("the store answers again", gone).await.is_none());
    assert_eq!(messages(&settings).await, 2 + 1, "only the object from before is there");
    eventually("the object is stored", || async { put(&objects, &content).await.ok() }).await;
    assert_eq!(read(&objects, name(&content), 0).await.unwrap(), content);
    // Stored means on disk: it survives the next one.
    nats.kill();
    nats.restart().await;
    let again = || async { read_if_up(&objects, name(&content)).await };
    assert_eq!(eventually("the store answers again", again).await, content);
    assert_eq!(read(&objects, name(&kept), 0).await.unwrap(), kept);
}

async fn read_if_up(objects: &Objects, name: ObjectName) -> Option<Vec<u8>> {
    let object = objects.get(name).await.ok()?.expect("it was stored");
    let mut found = Vec::new();
    object.read(0).read_to_end(&mut found).await.ok()?;
    Some(found)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_that_is_dropped_leaves_nothing() {
    let nats = account().await;
    let objects = Objects::open(&nats, "test").await.unwrap();
    let content = content(3_000_000);
    let waiting = Arc::new(Notify::new());
    let source = Broken(&content[..2_000_000], Some(Arc::clone(&waiting)));
    tokio::select! {
        _ = objects.put(name(&content), 3_000_000, "audio/mpeg", source) => panic!("there is no rest"),
        () = waiting.notified() => {
            assert_eq!(messages(&nats).await, 0, "what is under way can be seen");
        }
    }
    assert!(objects.get(name(&content)).await.unwrap().is_none());
    put(&objects, &content).await.unwrap();
    assert_eq!(read(&objects, name(&content), 0).await.unwrap(), content);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_object_is_gone_from_the_disk_and_can_come_again() {
    let nats = Nats::start().await;
    let objects = Objects::open(&nats.settings(), "test").await.unwrap();
    let content = b"known only to this recording ".repeat(50_000);
    let kept = b"somebody else's recording ".repeat(50_000);
    put(&objects, &content).await.unwrap();
    put(&objects, &kept).await.unwrap();
    assert!(nats.stored(b"known only to this recording"));
    objects.delete(name(&content)).await.unwrap();
    assert!(objects.get(name(&content)).await.unwrap().is_none());
    eventually("the bytes are gone", || async {
        (!nats.stored(b"known only to this recording")).then_some(())
    })
    .await;
    assert_eq!(read(&objects, name(&kept), 0).await.unwrap(), kept);
    objects.delete(name(&content)).await.unwrap();
    put(&objects, &content).await.unwrap();
    assert_eq!(read(&objects, name(&content), 0).await.unwrap(), content);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_was_cut_off_is_finished_and_damage_is_noticed() {
    let nats = account().await;
    let objects = Objects::open(&nats, "test").await.unwrap();
    let content = content(4_000_000);
    put(&objects, &content).await.unwrap();
    assert!(stream(&nats).await.delete_message(3).await.unwrap());
    let damaged = read(&objects, name(&content), 0).await.unwrap_err();
    assert_eq!(damaged.kind(), io::ErrorKind::InvalidData);
    // A put heals it: what is left is deleted, then it is stored anew. Several at once do not delete each other's.
    let other = Objects::open(&nats, "other").await.unwrap();
    let puts = (0..6).map(|n| put(if n % 2 == 0 { &objects } else { &other }, &content));
    join_all(puts).await.into_iter().for_each(|stored| assert_eq!(stored.unwrap().name, name(&content)));
    assert_eq!(read(&objects, name(&content), 0).await.unwrap(), content);
    assert_eq!(messages(&nats).await, 8 + 1);
    assert!(stream(&nats).await.delete_message(12).await.unwrap());
    objects.delete(name(&content)).await.unwrap();
    assert_eq!(messages(&nats).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_goes_from_a_webhook_into_the_store_also_while_its_server_restarts() {
    let mut nats = Nats::start().await;
    let objects = Objects::open(&nats.settings(), "test").await.unwrap();
    let recording = content(3_000_000);
    let text = base64::engine::general_purpose::STANDARD.encode(&recording);
    let body = format!(r#"{{"type": "post_call_audio", "data": {{"full_audio": "{text}"}}}}"#);
    let spool = Spool::new(&WebhookSettings::default());
    let spooled = spool.take(None, body.into(), |_| {}).await.unwrap();
    let outline = outline::scan(&spooled).await.unwrap();
    let recorded = audio::measure(&spooled, &outline).await.unwrap();
    assert_eq!((recorded.bytes, recorded.name()), (3_000_000, name(&recording)));
    nats.kill();
    let (stored, ()) = tokio::join!(audio::store(&spooled, &recorded, &objects), nats.restart());
    assert_eq!(stored.unwrap().bytes, 3_000_000);
    assert_eq!(read(&objects, recorded.name(), 0).await.unwrap(), recording);
    assert_eq!(audio::store(&spooled, &recorded, &objects).await.unwrap().name, recorded.name());
    assert_eq!(messages(&nats.settings()).await, 6 + 1);
}
