//! What an upload is: read from its first bytes. What its sender says is only held against that.

/// First bytes that are looked at. Office documents are archives, and tell themselves apart by their second or third
/// entry.
pub(super) const HEAD_BYTES: usize = 16 * 1024;

/// What is taken: its name in `infer`, and what it is served as. Whatever a browser or a double click might run is not
/// here: markup, scripts, programs, archives.
const TAKEN: [(&str, &str); 35] = [
    ("image/jpeg", "image/jpeg"),
    ("image/png", "image/png"),
    ("image/gif", "image/gif"),
    ("image/webp", "image/webp"),
    ("image/avif", "image/avif"),
    ("image/heif", "image/heif"),
    ("image/bmp", "image/bmp"),
    ("image/tiff", "image/tiff"),
    ("audio/mpeg", "audio/mpeg"),
    ("audio/m4a", "audio/mp4"),
    ("audio/opus", "audio/ogg"),
    ("audio/ogg", "audio/ogg"),
    ("audio/x-flac", "audio/flac"),
    ("audio/x-wav", "audio/wav"),
    ("audio/amr", "audio/amr"),
    ("audio/aac", "audio/aac"),
    ("audio/x-aiff", "audio/aiff"),
    ("video/mp4", "video/mp4"),
    ("video/x-m4v", "video/mp4"),
    ("video/webm", "video/webm"),
    ("video/x-matroska", "video/x-matroska"),
    ("video/quicktime", "video/quicktime"),
    ("video/x-msvideo", "video/x-msvideo"),
    ("video/mpeg", "video/mpeg"),
    ("application/pdf", "application/pdf"),
    ("application/rtf", "application/rtf"),
    ("application/msword", "application/msword"),
    ("application/vnd.ms-excel", "application/vnd.ms-excel"),
    ("application/vnd.ms-powerpoint", "application/vnd.ms-powerpoint"),
    (DOCX, DOCX),
    (XLSX, XLSX),
    (PPTX, PPTX),
    ("application/vnd.oasis.opendocument.text", "application/vnd.oasis.opendocument.text"),
    ("application/vnd.oasis.opendocument.spreadsheet", "application/vnd.oasis.opendocument.spreadsheet"),
    ("application/vnd.oasis.opendocument.presentation", "application/vnd.oasis.opendocument.presentation"),
];
const DOCX: &str = "application/vnd.openxmlformats-officedocument.wordprocessingml.document";
const XLSX: &str = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";
const PPTX: &str = "application/vnd.openxmlformats-officedocument.presentationml.presentation";

/// Containers that hold a film or a sound alone; only their sender knows which at a glance.
const EITHER: [[&str; 2]; 4] = [
    ["video/mp4", "audio/mp4"],
    ["video/webm", "audio/webm"],
    ["video/mpeg", "audio/mpeg"],
    ["video/ogg", "audio/ogg"],
];

/// What a text is served as.
const TEXT: &str = "text/plain; charset=utf-8";
/// As what a text may come.
const TEXTS: [&str; 4] = ["text/plain", "text/csv", "text/markdown", "application/json"];
/// Says nothing; the last is what curl says of any body.
const ANYTHING: [&str; 3] = ["", "application/octet-stream", "application/x-www-form-urlencoded"];

/// Why an upload is not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// It is something else than its sender says.
    #[error("The body is {0}, not the {1} that its Content-Type says; send it as what it is.")]
    Lie(&'static str, String),
    /// It is nothing that is served.
    #[error(
        "The body is {0}, which is not taken; send a picture, sound, a film, a PDF, an office document or plain text."
    )]
    NotTaken(&'static str),
}

/// What an upload with these first bytes is served as; `declared` is its `Content-Type`.
///
/// # Errors
/// [`Refused`].
pub(super) fn of(head: &[u8], declared: Option<&str>) -> Result<&'static str, Refused> {
    let declared = declared.unwrap_or_default().split(';').next().unwrap_or_default();
    let declared = declared.trim().to_ascii_lowercase();
    let said_text = TEXTS.contains(&declared.as_str());
    let found = found(head, said_text)?;
    let either = |pair: &[&str; 2]| pair.contains(&found) && pair.contains(&declared.as_str());
    if let Some(pair) = EITHER.iter().find(|pair| either(pair)) {
        return Ok(if declared == pair[0] { pair[0] } else { pair[1] });
    }
    // Many say `image/jpg`, or `audio/mp3`: what it is within its family is known better here.
    let agrees = if found == TEXT { said_text } else { family(&declared) == family(found) };
    if agrees || ANYTHING.contains(&declared.as_str()) {
        Ok(found)
    } else {
        Err(Refused::Lie(found, declared))
    }
}

/// What these bytes are, as far as they tell.
fn found(head: &[u8], said_text: bool) -> Result<&'static str, Refused> {
    let is_text = is_text(head);
    // A few words can look like the beginning of a picture.
    let name = infer::get(head).map(|found| found.mime_type()).filter(|_| !(said_text && is_text));
    match name {
        Some(name) => {
            let taken = TAKEN.iter().find(|(taken, _)| *taken == name);
            taken.map(|(_, served)| *served).ok_or(Refused::NotTaken(name))
        }
        None if is_text => text(head),
        None => Err(Refused::NotTaken("of no known type")),
    }
}

/// Whether something that is stored as this may be an attachment.
pub(super) fn is_served(media_type: &str) -> bool {
    media_type == TEXT
        || TAKEN.iter().any(|(_, served)| *served == media_type)
        || EITHER.iter().any(|pair| pair.contains(&media_type))
}

fn family(media_type: &str) -> &str {
    media_type.split('/').next().unwrap_or_default()
}

/// A text that nothing takes for a page or a program.
fn text(head: &[u8]) -> Result<&'static str, Refused> {
    let start = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    if start.starts_with(b"#!") {
        return Err(Refused::NotTaken("a script"));
    }
    let markup = |next: u8| next.is_ascii_alphabetic() || b"!?/".contains(&next);
    match start {
        [b'<', next, ..] if markup(*next) => Err(Refused::NotTaken("HTML, SVG or other markup")),
        _ => Ok(TEXT),
    }
}

/// UTF-8 without control characters; the last character may be cut.
fn is_text(head: &[u8]) -> bool {
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    !text.is_empty() && !text.contains(|c: char| c.is_control() && !"\t\n\r\u{c}".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
    const ELF: &[u8] =
        b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0>\0\x01\0\0\0aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const WEBM: &[u8] = b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\xf7\x81\x01\x42\xf2\x81\x04\x42\xf3\x81\x08\x42\x82\x84webm";

    #[test]
    fn the_bytes_tell_what_it_is() {
        let webm = [WEBM, &[0; 300]].concat();
        for (head, declared, served) in [
            (PNG, Some("image/png"), "image/png"),
            (PNG, Some("IMAGE/JPG; q=1"), "image/png"),
            (PNG, None, "image/png"),
            (PNG, Some("application/x-www-form-urlencoded"), "image/png"),
            (b"ID3\x04\0\0", Some("audio/mp3"), "audio/mpeg"),
            (&webm, Some("audio/webm;codecs=opus"), "audio/webm"),
            (&webm, None, "video/webm"),
            (b"%PDF-1.7", Some("application/pdf"), "application/pdf"),
            ("Grüße, 世界".as_bytes(), Some("text/plain"), TEXT),
            (b"BMW, 3 doors", Some("text/csv"), TEXT),
            (b"nothing in particular", None, TEXT),
            (b"i <3 it", Some("text/plain"), TEXT),
        ] {
            assert_eq!(of(head, declared), Ok(served), "{declared:?}");
        }
        assert!(is_served("audio/webm") && is_served(TEXT) && !is_served("application/json"));
    }

    #[test]
    fn what_might_be_run_is_refused_whatever_it_is_called() {
        let heads: [&[u8]; 9] = [
            b"<!DOCTYPE html><html>",
            b"\xef\xbb\xbf  <svg xmlns=\"http://www.w3.org/2000/svg\" onload=\"x()\"/>",
            b"<?xml version=\"1.0\"?><svg/>",
            b"<script>alert(1)</script>",
            b"#!/bin/sh\nrm -rf /\n",
            ELF,
            b"MZ\x90\0\x03\0\0\0",
            b"PK\x03\x04\x14\0\0\0",
            b"\0\0\0\0\0",
        ];
        for head in heads {
            for declared in
                [None, Some("image/png"), Some("text/plain"), Some("text/html"), Some("audio/mpeg")]
            {
                assert!(of(head, declared).is_err(), "{:?} {declared:?}", String::from_utf8_lossy(head));
            }
        }
    }

    #[test]
    fn what_is_called_something_else_is_refused() {
        assert_eq!(of(PNG, Some("audio/mpeg")), Err(Refused::Lie("image/png", "audio/mpeg".into())));
        assert_eq!(of(b"hello", Some("image/png")), Err(Refused::Lie(TEXT, "image/png".into())));
        assert_eq!(of(b"hello", Some("text/html")), Err(Refused::Lie(TEXT, "text/html".into())));
        assert!(of(PNG, Some("text/html")).is_err());
    }
}
