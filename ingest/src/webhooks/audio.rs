//! The recording in a `post_call_audio`: base64 in a JSON string, of any length, decoded as it is read.

use std::io::{self, BufRead, BufReader, Read};
use std::ops::Range;
use std::time::Duration;

use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::read::DecoderReader;
use bytes::Bytes;
use futures::stream;
use sha2::{Digest, Sha256};
use shared::objects::{ObjectError, ObjectName, Objects, StoredObject};
use tokio::io::AsyncRead;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::io::StreamReader;

use super::outline::Outline;
use super::spool::{Content, Spooled};

/// What the vendor sends.
pub const MEDIA_TYPE: &str = "audio/mpeg";
/// Decoded bytes in one go.
const PART_BYTES: usize = 128 * 1024;
/// How long a recording is offered to the object store: longer than a restart of its server. The vendor never sends
/// audio again.
const STORE_PATIENCE: Duration = Duration::from_secs(20);
/// How long between two tries.
const PAUSE: Duration = Duration::from_millis(250);

/// The standard alphabet, with its padding or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why a body holds no recording. It may still be worth keeping as it came.
#[derive(Debug, thiserror::Error)]
pub enum NotAudio {
    /// No `data.full_audio`, or an empty one.
    #[error("data.full_audio is missing or empty")]
    Missing,
    /// Not base64 from its first byte to its last.
    #[error("data.full_audio is not base64: {0}")]
    NotBase64(io::Error),
    /// The body could not be read again.
    #[error("the spooled body cannot be read: {0}")]
    Unreadable(io::Error),
}

/// A recording that decodes to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audio {
    /// Bytes when decoded.
    pub bytes: u64,
    /// SHA-256 of the decoded bytes.
    pub sha256: [u8; 32],
    place: Range<u64>,
}

impl Audio {
    /// Its name in the object store.
    pub fn name(&self) -> ObjectName {
        ObjectName::of(self.sha256)
    }
}

/// Decodes the recording once, to its end, and keeps nothing but its size and hash.
///
/// # Errors
/// [`NotAudio`].
pub async fn measure(spooled: &Spooled, outline: &Outline) -> Result<Audio, NotAudio> {
    let place = outline.full_audio.clone().filter(|place| !place.is_empty()).ok_or(NotAudio::Missing)?;
    let reader = decoded(spooled, &place);
    match &spooled.content {
        Content::Memory(_) => hash(reader, place),
        Content::File(_) => {
            let hashing = tokio::task::spawn_blocking(move || hash(reader, place));
            hashing.await.map_err(|error| NotAudio::Unreadable(io::Error::other(error)))?
        }
    }
}

/// Decodes it again, into the object store. When this answers it is stored for good. Tries for as long as a restart of
/// the store's server takes; storing the same recording twice is storing it once.
///
/// # Errors
/// [`ObjectError`].
pub async fn store(spooled: &Spooled, audio: &Audio, objects: &Objects) -> Result<StoredObject, ObjectError> {
    let until = Instant::now() + STORE_PATIENCE;
    loop {
        let content = in_background(decoded(spooled, &audio.place));
        match objects.put(audio.name(), audio.bytes, MEDIA_TYPE, content).await {
            Err(ObjectError::Unavailable(why)) if Instant::now() < until => {
                tracing::debug!(why, "the object store does not take a recording yet");
            }
            outcome => return outcome,
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn decoded(spooled: &Spooled, place: &Range<u64>) -> impl Read + Send + 'static {
    let text = spooled.read_from(place.start).take(place.end - place.start);
    let text = Unescaped { text: BufReader::with_capacity(PART_BYTES, text) };
    DecoderReader::new(text, &BASE64)
}

fn hash(mut reader: impl Read, place: Range<u64>) -> Result<Audio, NotAudio> {
    let mut part = vec![0; PART_BYTES.min(usize::try_from(place.end - place.start).unwrap_or(PART_BYTES))];
    let (mut bytes, mut hash) = (0, Sha256::new());
    loop {
        match reader.read(&mut part) {
            Ok(0) if bytes == 0 => return Err(NotAudio::Missing),
            Ok(0) => return Ok(Audio { bytes, sha256: hash.finalize().into(), place }),
            Ok(read) => {
                hash.update(&part[..read]);
                bytes += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(NotAudio::NotBase64(error));
            }
            Err(error) => return Err(NotAudio::Unreadable(error)),
        }
    }
}

/// A blocking reader read on a thread of its own, at most two parts ahead. The thread ends when nobody reads any more.
pub(crate) fn in_background(mut reader: impl Read + Send + 'static) -> impl AsyncRead + Unpin {
    let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(1);
    tokio::task::spawn_blocking(move || {
        loop {
            let mut part = Vec::with_capacity(PART_BYTES);
            let read = (&mut reader).take(PART_BYTES as u64).read_to_end(&mut part);
            let last = read.is_err() || part.is_empty();
            let part = read.map(|_| Bytes::from(part));
            if matches!(&part, Ok(part) if part.is_empty()) || sender.blocking_send(part).is_err() || last {
                return;
            }
        }
    });
    let parts =
        stream::unfold(receiver, |mut receiver| async { receiver.recv().await.map(|part| (part, receiver)) });
    StreamReader::new(Box::pin(parts))
}

/// The text of a JSON string as far as base64 needs it: some encoders write every `/` as `\/`, a few write `\u002b`.
struct Unescaped<R> {
    text: R,
}

impl<R: BufRead> Read for Unescaped<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let ready = self.text.fill_buf()?;
        let wanted = ready.len().min(buffer.len());
        let plain = ready[..wanted].iter().position(|byte| *byte == b'\\').unwrap_or(wanted);
        buffer[..plain].copy_from_slice(&ready[..plain]);
        self.text.consume(plain);
        if plain > 0 || wanted == 0 {
            return Ok(plain);
        }
        buffer[0] = self.escaped()?;
        Ok(1)
    }
}

impl<R: BufRead> Unescaped<R> {
    /// An escape that is no character of base64 becomes a byte that is none either.
    fn escaped(&mut self) -> io::Result<u8> {
        let mut escape = [0; 2];
        self.text.read_exact(&mut escape)?;
        if escape[1] != b'u' {
            return Ok(if escape[1] == b'/' { b'/' } else { b'\\' });
        }
        let mut digits = [0; 4];
        self.text.read_exact(&mut digits)?;
        let code = std::str::from_utf8(&digits).ok().and_then(|digits| u16::from_str_radix(digits, 16).ok());
        Ok(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(b'\\'))
    }
}

#[cfg(test)]
mod tests;
