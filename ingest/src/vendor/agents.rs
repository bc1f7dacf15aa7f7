//! The agents that are ours, by the names that frontends call them.

use std::collections::BTreeMap;
use std::str::FromStr;

/// Bytes of a name or an id.
const MAX_WORD: usize = 128;

/// What `ELEVENLABS_AGENTS` says: names and the agents' ids. Empty where it says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Agents(BTreeMap<String, String>);

/// Not of the form `jung=agent_1,freud=agent_2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not name=id with commas between, each name once")]
pub struct NotAgents;

impl Agents {
    /// The id of the agent of this name.
    pub fn id(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The names, in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Whether conversations of the agent with this id are wanted. Where no agent is named, all are.
    pub fn want(&self, id: Option<&str>) -> bool {
        self.0.is_empty() || id.is_some_and(|id| self.0.values().any(|known| known == id))
    }
}

impl FromStr for Agents {
    type Err = NotAgents;

    fn from_str(text: &str) -> Result<Self, NotAgents> {
        let mut agents = BTreeMap::new();
        for pair in text.split(',') {
            let (name, id) = pair.split_once('=').ok_or(NotAgents)?;
            let (name, id) = (word(name)?, word(id)?);
            if agents.insert(name, id).is_some() {
                return Err(NotAgents);
            }
        }
        Ok(Self(agents))
    }
}

fn word(text: &str) -> Result<String, NotAgents> {
    let text = text.trim();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let good = (1..=MAX_WORD).contains(&text.len()) && text.bytes().all(plain);
    good.then(|| text.to_owned()).ok_or(NotAgents)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_are_names_with_ids() {
        let agents: Agents = "jung=agent_1, freud = agent_2".parse().unwrap();
        assert_eq!(
            (agents.id("jung"), agents.id("freud"), agents.id("adler")),
            (Some("agent_1"), Some("agent_2"), None)
        );
        assert!(agents.want(Some("agent_2")) && !agents.want(Some("agent_3")) && !agents.want(None));
        assert!(Agents::default().want(Some("agent_3")) && Agents::default().want(None));
    }

    #[test]
    fn another_form_is_refused() {
        for wrong in [
            "",
            ",",
            "jung",
            "jung=",
            "=agent_1",
            "jung=a,",
            "jung=a,jung=b",
            "jung=a=b",
            "ju ng=a",
            "j=a;f=b",
        ] {
            assert_eq!(wrong.parse::<Agents>(), Err(NotAgents), "{wrong}");
        }
    }
}
