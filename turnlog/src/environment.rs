//! Settings as they come in: the environment, `.env` in the current folder, and what `up` adds.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use shared::config::{Env, SETTINGS};

use crate::failure::{Failure, OrFail};

/// Reads `.env` of the current folder into the environment; what is set already stays.
pub(crate) fn load_dotenv() -> Result<(), Failure> {
    match dotenvy::from_path(Path::new(".env")) {
        Err(dotenvy::Error::Io(error)) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // A parse error repeats the line, which may hold a secret.
        Err(dotenvy::Error::LineParse(_, at)) => {
            Err(Failure::new(format!("cannot understand .env: a line is not NAME=value (column {at})")))
        }
        other => other.or_fail("read .env"),
    }
}

/// The environment with some settings replaced and some given another default.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment {
    replaced: BTreeMap<&'static str, Option<String>>,
    defaults: BTreeMap<&'static str, String>,
    advice: &'static str,
}

impl Environment {
    /// What a setting is.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        if let Some(value) = self.replaced.get(name) {
            return value.clone();
        }
        let set = std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        set.or_else(|| self.defaults.get(name).cloned())
    }

    /// Replaces a setting, whatever the environment says; `None` unsets it.
    pub(crate) fn replace(&mut self, name: &'static str, value: Option<String>) {
        self.replaced.insert(name, value);
    }

    /// Gives a setting another default.
    pub(crate) fn assume(&mut self, name: &'static str, value: impl Into<String>) {
        self.defaults.insert(name, value.into());
    }

    /// Adds what to do to the line that names wrong settings.
    pub(crate) fn advise(&mut self, advice: &'static str) {
        self.advice = advice;
    }

    /// Reads settings; every wrong one is named.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&mut Env<'_>) -> T) -> Result<T, Failure> {
        let lookup = |name: &str| self.get(name);
        let mut env = Env::new(&lookup);
        let settings = read(&mut env);
        env.finish()
            .map_err(|wrong| Failure::new(format!("{wrong} (turnlog serve --help lists all settings)")))?;
        Ok(settings)
    }
}

/// All settings with their defaults, for `serve --help`.
pub(crate) fn listing() -> String {
    let mut text = String::from("Settings, from the environment or from .env in the current folder:\n");
    for setting in SETTINGS {
        let default = match setting.default {
            "" => "must be set".to_owned(),
            default => format!("default: {default}"),
        };
        text.push_str(&format!("  {:<32}{} [{default}]\n", setting.name, setting.about));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaced_beats_the_environment_and_the_environment_beats_a_default() {
        let mut environment = Environment::default();
        environment.assume("PATH", "a default");
        environment.assume("TURNLOG_TEST_UNSET", "a default");
        assert_ne!(environment.get("PATH").as_deref(), Some("a default"));
        assert_eq!(environment.get("TURNLOG_TEST_UNSET").as_deref(), Some("a default"));
        environment.replace("PATH", None);
        assert_eq!(environment.get("PATH"), None);
    }

    #[test]
    fn the_listing_names_every_setting() {
        let text = listing();
        assert!(SETTINGS.iter().all(|setting| text.contains(setting.name)));
    }
}
