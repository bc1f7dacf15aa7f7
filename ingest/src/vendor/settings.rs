//! Where the vendor's API is, and the key to it.

use std::num::NonZeroU32;
use std::time::Duration;

use reqwest::Url;
use shared::config::{Env, Secret};

use super::limits::{MAX_AUDIO_BYTES, MAX_CONVERSATION_BYTES, REQUESTS_PER_SECOND};

/// Where the vendor's API is unless `ELEVENLABS_BASE_URL` says otherwise.
const DEFAULT_BASE_URL: &str = "https://api.elevenlabs.io";

/// How the vendor's API is reached.
#[derive(Debug, Clone)]
pub struct VendorSettings {
    /// The key, sent as `xi-api-key`.
    pub api_key: Secret,
    /// Address that paths are added to: http or https, perhaps with a path, never with a query or a user.
    pub base_url: Url,
    /// How long the vendor may be silent; short answers must be complete within it.
    pub timeout: Duration,
    /// Bytes of one conversation.
    pub max_conversation_bytes: usize,
    /// Bytes of one recording.
    pub max_audio_bytes: u64,
    /// Requests a second.
    pub requests_per_second: NonZeroU32,
}

impl VendorSettings {
    /// Reads them; `None` where there is no `ELEVENLABS_API_KEY`: the vendor is never called then.
    pub fn from_env(env: &mut Env<'_>) -> Option<Self> {
        let base_url = env.text("ELEVENLABS_BASE_URL").unwrap_or_else(|| DEFAULT_BASE_URL.to_owned());
        let base_url = parse_base(&base_url);
        if base_url.is_none() {
            env.reject("ELEVENLABS_BASE_URL", "must be an http or https URL without user and query");
        }
        let timeout = env.seconds("ELEVENLABS_TIMEOUT_SECONDS", Duration::from_secs(5));
        let api_key = env.text("ELEVENLABS_API_KEY")?;
        if !api_key.bytes().all(|byte| byte.is_ascii_graphic()) {
            env.reject("ELEVENLABS_API_KEY", "must be one word of visible ASCII characters");
        }
        Some(Self::new(Secret::new(api_key), base_url?, timeout))
    }

    /// With the limits that a server runs with.
    pub fn new(api_key: Secret, base_url: Url, timeout: Duration) -> Self {
        Self {
            api_key,
            base_url,
            timeout,
            max_conversation_bytes: MAX_CONVERSATION_BYTES,
            max_audio_bytes: MAX_AUDIO_BYTES,
            requests_per_second: REQUESTS_PER_SECOND,
        }
    }
}

fn parse_base(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let plain = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    (plain && matches!(url.scheme(), "http" | "https")).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(key: Option<&str>, base: Option<&str>) -> Result<Option<VendorSettings>, String> {
        let lookup = |name: &str| match name {
            "ELEVENLABS_API_KEY" => key.map(str::to_owned),
            "ELEVENLABS_BASE_URL" => base.map(str::to_owned),
            _ => None,
        };
        let mut env = Env::new(&lookup);
        let settings = VendorSettings::from_env(&mut env);
        env.finish().map(|()| settings).map_err(|wrong| wrong.to_string())
    }

    #[test]
    fn without_a_key_there_is_no_vendor() {
        assert!(read(None, None).unwrap().is_none());
        let settings = read(Some("sk_1"), None).unwrap().unwrap();
        assert_eq!(settings.base_url.as_str(), "https://api.elevenlabs.io/");
        assert_eq!(settings.timeout, Duration::from_secs(5));
        assert!(!format!("{settings:?}").contains("sk_1"));
    }

    #[test]
    fn a_wrong_address_stops_the_start_also_without_a_key() {
        for base in ["ftp://host", "api.elevenlabs.io", "https://u:hunter2@host", "https://host/?key=hunter2"]
        {
            for key in [None, Some("sk_1")] {
                let line = read(key, Some(base)).unwrap_err();
                assert!(line.contains("ELEVENLABS_BASE_URL") && !line.contains("hunter2"), "{line}");
            }
        }
        for base in ["http://127.0.0.1:9", "https://gateway.example.org/vendor/"] {
            assert!(read(Some("sk_1"), Some(base)).is_ok());
        }
    }

    #[test]
    fn a_key_that_cannot_be_sent_stops_the_start_and_is_not_repeated() {
        let line = read(Some("hunter\u{7}two"), None).unwrap_err();
        assert!(line.contains("ELEVENLABS_API_KEY") && !line.contains("hunter"), "{line}");
    }
}
