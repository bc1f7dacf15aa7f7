//! Who dreams can be talked about with: a name, the vendor's agent that speaks for it, and the style it is told to have.

use std::collections::BTreeMap;

use shared::config::Env;
use shared::ids::{InterpreterId, Invalid};

use crate::vendor::Agents;

/// Bytes of one style: it goes into the agent's prompt.
const MAX_STYLE_BYTES: usize = 2_048;

/// What `ELEVENLABS_AGENTS` and `INTERPRETER_STYLES` say.
#[derive(Debug, Clone, Default)]
pub struct Interpreters {
    agents: Agents,
    styles: BTreeMap<String, String>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Interpreter {
    pub(crate) id: InterpreterId,
    pub(crate) agent_id: String,
    /// Empty where nothing is said of it.
    pub(crate) style: String,
}

impl Interpreters {
    /// Of agents and the styles of some of them, by their names.
    pub fn new(agents: Agents, styles: BTreeMap<String, String>) -> Self {
        Self { agents, styles }
    }

    /// Reads the styles of these agents: a JSON object of texts, by the agents' names.
    pub fn from_env(env: &mut Env<'_>, agents: Agents) -> Self {
        let text = env.text("INTERPRETER_STYLES");
        let styles = text.map_or(Ok(BTreeMap::new()), |text| serde_json::from_str(&text));
        let styles: BTreeMap<String, String> = styles.unwrap_or_else(|_| {
            env.reject(
                "INTERPRETER_STYLES",
                r#"must be a JSON object of texts, such as {"jung": "archetypes"}"#,
            );
            BTreeMap::new()
        });
        for (name, style) in &styles {
            if agents.id(name).is_none() {
                env.reject("INTERPRETER_STYLES", "names an interpreter that ELEVENLABS_AGENTS does not");
            }
            if style.len() > MAX_STYLE_BYTES {
                env.reject("INTERPRETER_STYLES", &format!("must be of at most {MAX_STYLE_BYTES} bytes each"));
            }
        }
        Self { agents, styles }
    }

    /// The one of this name.
    ///
    /// # Errors
    /// A sentence that names those that there are.
    pub(crate) fn find(&self, name: String) -> Result<Interpreter, Invalid> {
        let Some(agent_id) = self.agents.id(&name).map(str::to_owned) else {
            let known: Vec<_> = self.agents.names().collect();
            return Err(Invalid(if known.is_empty() {
                "must be an interpreter, but none is set up here: see ELEVENLABS_AGENTS".into()
            } else {
                format!("must be one of {}", known.join(", "))
            }));
        };
        let style = self.styles.get(&name).cloned().unwrap_or_default();
        Ok(Interpreter { id: InterpreterId::try_from(name)?, agent_id, style })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(styles: &str) -> Result<Interpreters, String> {
        let lookup = |name: &str| (name == "INTERPRETER_STYLES").then(|| styles.to_owned());
        let mut env = Env::new(&lookup);
        let found = Interpreters::from_env(&mut env, "jung=agent_1,freud=agent_2".parse().unwrap());
        env.finish().map(|()| found).map_err(|wrong| wrong.to_string())
    }

    #[test]
    fn an_interpreter_is_an_agent_with_a_style_or_without_one() {
        let known = read(r#"{"jung": "archetypes, and the shadow"}"#).unwrap();
        let jung = known.find("jung".into()).unwrap();
        assert_eq!((jung.agent_id.as_str(), jung.style.as_str()), ("agent_1", "archetypes, and the shadow"));
        assert_eq!(known.find("freud".into()).unwrap().style, "");
        assert_eq!(known.find("adler".into()).unwrap_err().to_string(), "must be one of freud, jung");
        let none = Interpreters::default().find("jung".into()).unwrap_err().to_string();
        assert!(none.contains("ELEVENLABS_AGENTS"), "{none}");
    }

    #[test]
    fn styles_that_cannot_be_stop_the_start() {
        let long = format!(r#"{{"jung": "{}"}}"#, "x".repeat(MAX_STYLE_BYTES + 1));
        for wrong in ["jung=x", "[]", r#"{"jung": 7}"#, r#"{"adler": "x"}"#, long.as_str()] {
            assert!(read(wrong).unwrap_err().contains("INTERPRETER_STYLES"), "{wrong}");
        }
    }
}
