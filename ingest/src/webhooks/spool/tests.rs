use std::sync::atomic::{AtomicUsize, Ordering};

use futures::stream;

use super::*;

const LIMIT: u64 = 8 * 1024 * 1024;

fn spool(files: usize) -> Spool {
    Spool {
        directory: std::env::temp_dir(),
        limit: LIMIT,
        files: Arc::new(Semaphore::new(files)),
        idle: Duration::from_secs(30),
        patience: Duration::from_secs(30),
    }
}

fn content(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|n| (n * 31 % 251) as u8).collect()
}

/// A body in parts of so many bytes.
fn body(content: &[u8], part: usize) -> Body {
    let parts: Vec<_> =
        content.chunks(part).map(|part| io::Result::Ok(Bytes::copy_from_slice(part))).collect();
    Body::from_stream(stream::iter(parts))
}

/// A body that hands out the parts and then waits for ever.
fn stalling(parts: usize, bytes: usize) -> Body {
    let given = stream::repeat_with(move || io::Result::Ok(Bytes::from(vec![b'x'; bytes]))).take(parts);
    Body::from_stream(given.chain(stream::pending()))
}

fn read(spooled: &Spooled, place: u64) -> Vec<u8> {
    let mut found = Vec::new();
    spooled.read_from(place).read_to_end(&mut found).unwrap();
    found
}

#[tokio::test]
async fn a_body_comes_back_as_it_came_from_memory_or_from_a_file() {
    let spool = spool(1);
    for bytes in [0, 1, 20_000, SPOOL_MEMORY_BYTES, SPOOL_MEMORY_BYTES + 1, 3_000_000, LIMIT as usize] {
        let content = content(bytes);
        for part in [1 + bytes / 3, 60_000, 1_000_003] {
            let mut seen = Vec::new();
            let taken = spool.take(None, body(&content, part), |part| seen.extend_from_slice(part)).await;
            let spooled = taken.unwrap();
            assert!(seen == content);
            assert_eq!(spooled.bytes, bytes as u64);
            assert_eq!(spooled.sha256, <[u8; 32]>::from(Sha256::digest(&content)));
            let in_memory = matches!(spooled.content, Content::Memory(_));
            assert_eq!(in_memory, bytes <= SPOOL_MEMORY_BYTES, "{bytes} in parts of {part}");
            for place in [0, 0, bytes / 2, bytes, bytes + 1] {
                assert!(read(&spooled, place as u64) == content[place.min(bytes)..]);
            }
        }
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_not_read_to_its_end() {
    let spool = spool(1);
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let endless = stream::repeat_with(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        io::Result::Ok(Bytes::from(vec![0; 64 * 1024]))
    });
    let refused = spool.take(None, Body::from_stream(endless), |_| {}).await;
    assert!(matches!(refused, Err(SpoolError::TooLarge(LIMIT))), "{refused:?}");
    assert_eq!(count.load(Ordering::Relaxed), LIMIT as usize / (64 * 1024) + 1);
    let announced = spool.take(Some(LIMIT + 1), stalling(0, 0), |_| panic!("nothing is read")).await;
    assert!(matches!(announced, Err(SpoolError::TooLarge(LIMIT))), "{announced:?}");
    // Its place is free again.
    spool.take(Some(LIMIT), body(&content(1_000_000), 60_000), |_| {}).await.unwrap();
}

#[tokio::test]
async fn a_body_that_stops_or_crawls_or_breaks_is_given_up() {
    let spool = Spool { idle: Duration::from_millis(50), ..spool(1) };
    for parts in [0, 1, 20] {
        let stalled = spool.take(None, stalling(parts, 60_000), |_| {}).await;
        assert!(matches!(stalled, Err(SpoolError::Stalled)), "{stalled:?}");
    }
    // Never idle, and never done: a byte each time the clock has moved.
    let crawling = stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        Some((io::Result::Ok(Bytes::from_static(b"x")), ()))
    });
    let crawled = spool.take(None, Body::from_stream(crawling), |_| {}).await;
    assert!(matches!(crawled, Err(SpoolError::Stalled)), "{crawled:?}");
    let parts = [Ok(Bytes::from_static(b"{")), Err(io::Error::other("reset"))];
    let cut = spool.take(None, Body::from_stream(stream::iter(parts)), |_| {}).await;
    assert!(matches!(cut, Err(SpoolError::CutOff(_))), "{cut:?}");
    spool.take(None, body(&content(1_000_000), 60_000), |_| {}).await.unwrap();
}

#[tokio::test]
async fn files_are_bounded_in_number_and_a_short_body_needs_none() {
    let spool = Spool { patience: Duration::from_millis(50), ..spool(1) };
    let long = content(1_000_000);
    let first = spool.take(None, body(&long, 60_000), |_| {}).await.unwrap();
    let busy = spool.take(None, body(&long, 60_000), |_| {}).await;
    assert!(matches!(busy, Err(SpoolError::Busy)), "{busy:?}");
    spool.take(None, body(&long[..1000], 60_000), |_| {}).await.unwrap();
    let spool = Spool { patience: Duration::from_secs(30), ..spool };
    let waiting = spool.take(None, body(&long, 60_000), |_| {});
    let (second, ()) = tokio::join!(waiting, async { drop(first) });
    assert!(read(&second.unwrap(), 0) == long);
}

#[tokio::test]
async fn a_full_or_missing_disk_is_told_and_problems_say_what_to_do() {
    let spool = Spool { directory: "/nonexistent/turnlog".into(), ..spool(1) };
    let disk = spool.take(None, body(&content(1_000_000), 60_000), |_| {}).await.unwrap_err();
    assert!(matches!(disk, SpoolError::Disk(_)), "{disk:?}");
    let labels =
        [&disk, &SpoolError::Busy, &SpoolError::Stalled, &SpoolError::TooLarge(1)].map(SpoolError::label);
    assert_eq!(labels, ["disk", "busy", "stalled", "too_large"]);
    let problem = Problem::from(disk);
    assert_eq!(problem.kind, Kind::Unavailable);
    assert!(problem.retry_after.is_some() && !problem.detail.contains("nonexistent"));
    assert_eq!(Problem::from(SpoolError::Stalled).kind, Kind::Timeout);
    assert_eq!(Problem::from(SpoolError::TooLarge(1)).kind, Kind::TooLarge);
}
