//! Leave for a browser to talk: a signed URL of the vendor's WebSocket.

use reqwest::Url;
use serde::Deserialize;
use shared::config::Secret;

use super::limits::MAX_SIGNED_URL_BYTES;
use super::{Vendor, VendorError};

/// Leave to begin one conversation, once, within the vendor's quarter of an hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedUrl {
    /// Where to talk. Whoever has it may: it is for that one person's browser, and never logged.
    pub url: Secret,
    /// The id that the vendor gave the conversation.
    pub conversation_id: String,
}

impl Vendor {
    /// Leave to talk with an agent. A person waits for it, so it does not wait for the pace of the other requests, and
    /// ends, other attempts included, within `ELEVENLABS_TIMEOUT_SECONDS`.
    ///
    /// # Errors
    /// Any [`VendorError`]; [`VendorError::Unavailable`] at once, with the time after which to ask again, where too
    /// many wait already or the vendor was away just now.
    pub async fn signed_url(&self, agent_id: &str) -> Result<SignedUrl, VendorError> {
        let query = [("agent_id", agent_id), ("include_conversation_id", "true")];
        let ask = |left| {
            let request = self.get(&["conversation", "get-signed-url"]).query(&query);
            self.noted("signed_url", async move {
                let response = self.send(request, left).await?;
                SignedUrl::read(&self.read(response, MAX_SIGNED_URL_BYTES).await?)
            })
        };
        self.0.gate.through(self.0.settings.timeout, ask).await
    }
}

impl SignedUrl {
    /// Reads the vendor's answer. What is wrong with it is said without quoting it.
    fn read(body: &[u8]) -> Result<Self, VendorError> {
        #[derive(Deserialize)]
        struct Shape {
            signed_url: String,
        }
        let wrong = |what: &str| VendorError::Malformed(what.to_owned());
        let shape: Shape = serde_json::from_slice(body).map_err(|_| wrong("no signed URL"))?;
        let url = Url::parse(&shape.signed_url).map_err(|_| wrong("a signed URL that is none"))?;
        if !matches!(url.scheme(), "ws" | "wss") {
            return Err(wrong("a signed URL that is not of a WebSocket"));
        }
        let id = url.query_pairs().find(|(name, id)| name == "conversation_id" && !id.is_empty());
        let (_, id) = id.ok_or_else(|| wrong("a signed URL without a conversation id"))?;
        let conversation_id = id.into_owned();
        Ok(Self { url: Secret::new(shape.signed_url), conversation_id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_conversation_id_stands_in_the_url() {
        for (scheme, id, read) in [("wss", "conv_1", "conv_1"), ("ws", "conv%5F2", "conv_2")] {
            let url = format!(
                "{scheme}://host/v1/convai/conversation?agent_id=a&conversation_signature=s&conversation_id={id}"
            );
            let body = format!(r#"{{"of_next_year": 1, "signed_url": "{url}"}}"#);
            let signed = SignedUrl::read(body.as_bytes()).unwrap();
            assert_eq!((signed.url.expose(), signed.conversation_id.as_str()), (url.as_str(), read));
            let shown = format!("{signed:?}");
            assert!(!shown.contains("signature") && !shown.contains("host"), "{shown}");
        }
    }

    #[test]
    fn anything_else_is_refused_and_not_quoted() {
        for body in [
            "",
            "<html>hunter2</html>",
            "[]",
            "{}",
            r#""wss://hunter2/?conversation_id=c""#,
            r#"{"signed_url": null}"#,
            r#"{"signed_url": 7}"#,
            r#"{"signed_url": ""}"#,
            r#"{"signed_url": "hunter2"}"#,
            r#"{"signed_url": "wss://?conversation_id=hunter2"}"#,
            r#"{"signed_url": "https://hunter2/?conversation_id=c"}"#,
            r#"{"signed_url": "javascript:hunter2?conversation_id=c"}"#,
            r#"{"signed_url": "wss://hunter2/"}"#,
            r#"{"signed_url": "wss://hunter2/?conversation_id="}"#,
            r#"{"signed_url": "wss://hunter2/#conversation_id=c"}"#,
            r#"{"signed_url": "wss://hunter2/?conversation_id=c"#,
        ] {
            let error = SignedUrl::read(body.as_bytes()).unwrap_err();
            assert!(matches!(error, VendorError::Malformed(_)), "{body}");
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
    }
}
