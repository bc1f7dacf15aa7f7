//! Uploads: taken in whatever their length, told what they are, and kept in the object store; and the references that
//! turns make to them.

mod types;

use axum::body::Body;
use axum::http::HeaderValue;
use shared::events::{Attachment, AttachmentKind};
use shared::objects::{ObjectError, ObjectName, Objects, StoredObject};
use shared::problem::{FieldError, Kind, Problem};

use crate::webhooks::audio::in_background;
use crate::webhooks::spool::Spool;
use types::HEAD_BYTES;

/// Where uploads go.
#[derive(Debug)]
pub(crate) struct Media {
    spool: Spool,
    objects: Objects,
}

impl Media {
    pub(crate) fn new(spool: Spool, objects: Objects) -> Self {
        Self { spool, objects }
    }

    /// Keeps a body of this `Content-Length` and `Content-Type`, where it has them. When this answers it is stored for
    /// good, under the hash of its bytes; the same bytes again are the same object.
    ///
    /// # Errors
    /// 400 where it is empty or cut off, 408, 413, 415 where it is nothing that is served, 503. Nothing of it is kept then.
    pub(crate) async fn keep(
        &self,
        announced: Option<u64>,
        declared: Option<&HeaderValue>,
        body: Body,
    ) -> Result<StoredObject, Problem> {
        let mut head = Vec::new();
        let each = |part: &[u8]| head.extend_from_slice(&part[..part.len().min(HEAD_BYTES - head.len())]);
        let spooled = self.spool.take(announced, body, each).await?;
        if spooled.bytes == 0 {
            return Err(Problem::new(
                Kind::BadRequest,
                "The body is empty; send the bytes of the attachment.",
            ));
        }
        let declared = declared.map(|value| String::from_utf8_lossy(value.as_bytes()));
        let media_type = types::of(&head, declared.as_deref())
            .map_err(|refused| Problem::new(Kind::UnsupportedMediaType, refused.to_string()))?;
        let content = in_background(spooled.read_from(0));
        let name = ObjectName::of(spooled.sha256);
        self.objects.put(name, spooled.bytes, media_type, content).await.map_err(away)
    }

    /// Fills in the size and the media type of what we keep.
    ///
    /// # Errors
    /// The problem that names every attachment that is not kept here, or is not of its kind; 503.
    pub(crate) async fn describe(&self, attachments: &mut [Attachment]) -> Result<(), Problem> {
        let mut errors = Vec::new();
        for (place, attachment) in attachments.iter_mut().enumerate() {
            let Some(id) = &attachment.media_id else { continue };
            let mut wrong = |field: &str, message: String| {
                errors.push(FieldError { field: format!("attachments[{place}].{field}"), message });
            };
            let Some(stored) = self.stored(id).await? else {
                wrong("media_id", "must be the media_id of an upload".into());
                continue;
            };
            if !fits(attachment.kind, &stored.media_type) {
                wrong("kind", format!("the upload is {}", stored.media_type));
            }
            attachment.bytes = Some(stored.bytes);
            attachment.media_type = Some(stored.media_type);
        }
        if errors.is_empty() { Ok(()) } else { Err(Problem::fields(errors)) }
    }

    async fn stored(&self, id: &str) -> Result<Option<StoredObject>, Problem> {
        let Some(name) = ObjectName::parse(id) else { return Ok(None) };
        let found = self.objects.get(name).await.map_err(away)?.map(|object| object.stored);
        // What webhooks left in the store is no upload, unless it could be one.
        Ok(found.filter(|stored| types::is_served(&stored.media_type)))
    }
}

/// Whether something of this media type can be an attachment of this kind.
fn fits(kind: AttachmentKind, media_type: &str) -> bool {
    match kind {
        AttachmentKind::Image => media_type.starts_with("image/"),
        // A voice note may come in a container for films.
        AttachmentKind::Audio => media_type.starts_with("audio/") || media_type.starts_with("video/"),
        AttachmentKind::Location | AttachmentKind::File => true,
    }
}

fn away(error: ObjectError) -> Problem {
    let detail =
        "The object store does not answer just now; nothing was acknowledged. Send it again in a moment.";
    Problem::unavailable(detail, error)
}
