//! Settings of the reconciler.

use std::time::Duration;

use shared::config::Env;

use crate::vendor::{Agents, Retry};

/// Longest look back: what the vendor keeps of a conversation by default is a matter of months.
const LONGEST_LOOKBACK: Duration = Duration::from_secs(366 * 24 * 3600);

/// How often the vendor's list is compared with the log, and with what of it.
#[derive(Debug, Clone)]
pub struct ReconcileSettings {
    /// Between two comparisons; `None` for never.
    pub every: Option<Duration>,
    /// How far back the first one looks.
    pub lookback: Duration,
    /// Whether recordings that are missing are fetched, too.
    pub audio: bool,
    /// Whose conversations.
    pub agents: Agents,
    /// How often the same thing is asked.
    pub retry: Retry,
}

impl Default for ReconcileSettings {
    fn default() -> Self {
        Self {
            every: Some(Duration::from_secs(300)),
            lookback: Duration::from_secs(24 * 3600),
            audio: false,
            agents: Agents::default(),
            retry: Retry::default(),
        }
    }
}

impl ReconcileSettings {
    /// Reads them.
    pub fn from_env(env: &mut Env<'_>) -> Self {
        let default = Self::default();
        let lookback = env.seconds("RECONCILE_LOOKBACK_SECONDS", default.lookback);
        if lookback > LONGEST_LOOKBACK {
            env.reject("RECONCILE_LOOKBACK_SECONDS", "must be at most a year");
        }
        Self {
            every: every(env, default.every),
            lookback: lookback.min(LONGEST_LOOKBACK),
            audio: env.parse("RECONCILE_AUDIO", default.audio, "true or false"),
            agents: env.parse(
                "ELEVENLABS_AGENTS",
                default.agents,
                "name=id with commas between, such as jung=agent_1,freud=agent_2, each name once",
            ),
            retry: default.retry,
        }
    }
}

fn every(env: &mut Env<'_>, default: Option<Duration>) -> Option<Duration> {
    let Some(text) = env.text("RECONCILE_SECONDS") else { return default };
    if text == "off" {
        return None;
    }
    let seconds = text.parse().ok().filter(|seconds| (1..=24 * 3600).contains(seconds));
    if seconds.is_none() {
        env.reject("RECONCILE_SECONDS", "must be off, or a whole number of seconds from 1 to 86400");
    }
    seconds.map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(set: &[(&str, &str)]) -> (ReconcileSettings, Result<(), String>) {
        let lookup =
            |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let mut env = Env::new(&lookup);
        let settings = ReconcileSettings::from_env(&mut env);
        (settings, env.finish().map_err(|error| error.to_string()))
    }

    #[test]
    fn the_reconciler_has_defaults_and_can_be_switched_off() {
        let (settings, outcome) = read(&[]);
        assert_eq!((settings.every, outcome), (Some(Duration::from_secs(300)), Ok(())));
        assert_eq!((settings.lookback.as_secs(), settings.audio), (86_400, false));
        let (settings, outcome) = read(&[
            ("RECONCILE_SECONDS", "off"),
            ("RECONCILE_AUDIO", "true"),
            ("ELEVENLABS_AGENTS", "jung=agent_1"),
        ]);
        assert_eq!((settings.every, settings.audio, outcome), (None, true, Ok(())));
        assert_eq!(settings.agents.id("jung"), Some("agent_1"));
    }

    #[test]
    fn wrong_settings_of_the_reconciler_are_named() {
        let wrong = [
            ("RECONCILE_SECONDS", "0"),
            ("RECONCILE_LOOKBACK_SECONDS", "99999999999"),
            ("RECONCILE_AUDIO", "maybe"),
            ("ELEVENLABS_AGENTS", "agent_1"),
        ];
        let line = read(&wrong).1.unwrap_err();
        for (name, _) in wrong {
            assert!(line.contains(name), "{name} is not in: {line}");
        }
        assert!(read(&[("RECONCILE_SECONDS", "soon")]).1.is_err());
    }
}
