//! What an agent is told before a session begins: ElevenLabs' dynamic variables, from what is known of the dreamer, the
//! dream and what was said before. What is not known is an empty text, never null.

use serde::Serialize;
use shared::events::{Enrolment, Message};
use shared::ids::Speaker;
use utoipa::ToSchema;

use crate::interpreters::Interpreter;
use crate::state::{Conversation, Dreamt};

/// Bytes of what was said before, as far as it is told again: the newest of it. About 2,000 words, a small part of what
/// an agent's model holds.
pub(crate) const MAX_CONTEXT_BYTES: usize = 8 * 1024;

/// The dynamic variables.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct DynamicVariables {
    pub(crate) user_name: String,
    /// Age and place, in a few words.
    pub(crate) user_profile: String,
    /// The dream as it was told.
    pub(crate) dream_content: String,
    /// The feelings of its interpretation, the strongest first.
    pub(crate) dream_emotions: Vec<String>,
    /// What was said in earlier sessions, the newest of it: at most 8,192 bytes.
    pub(crate) conversation_context: String,
    pub(crate) interpreter_style: String,
}

impl DynamicVariables {
    /// Of a session that is about to begin.
    pub(crate) fn of(
        profile: Option<&Enrolment>,
        dream: &Dreamt,
        interpreter: &Interpreter,
        conversation_context: String,
    ) -> Self {
        let tone = dream.interpretation(&interpreter.id).map(|known| &known.emotional_tone);
        let emotions = tone.map(|tone| std::iter::once(&tone.primary).chain(&tone.secondary).cloned());
        Self {
            user_name: profile.and_then(|profile| profile.name.clone()).unwrap_or_default(),
            user_profile: profile.map(described).unwrap_or_default(),
            dream_content: dream.dream.raw_transcript.clone(),
            dream_emotions: emotions.into_iter().flatten().collect(),
            conversation_context,
            interpreter_style: interpreter.style.clone(),
        }
    }
}

/// `36 years old, from London`.
fn described(profile: &Enrolment) -> String {
    let age = profile.age.map(|age| format!("{age} years old"));
    let place =
        profile.location.as_ref().filter(|place| !place.is_empty()).map(|place| format!("from {place}"));
    age.into_iter().chain(place).collect::<Vec<_>>().join(", ")
}

/// What was said before, oldest first, as much of its end as fits: a line for each message.
pub(crate) fn history(conversation: &Conversation) -> String {
    let mut said: Vec<(u64, u64, &Message)> = conversation
        .turns
        .iter()
        .filter_map(|turn| turn.message.as_deref().map(|message| (message.place(), turn.first(), message)))
        .collect();
    said.sort_unstable_by_key(|(place, first, _)| (*place, *first));
    let (mut lines, mut left) = (Vec::new(), MAX_CONTEXT_BYTES);
    for (.., message) in said.iter().rev() {
        let who = match message.role {
            Speaker::User => "User",
            Speaker::Assistant => "Interpreter",
        };
        let line = format!("{who}: {}\n", message.content);
        if line.len() > left {
            // Of the newest alone at least its end is told.
            if lines.is_empty() {
                lines.push(line[line.ceil_char_boundary(line.len() - left)..].to_owned());
            }
            break;
        }
        left -= line.len();
        lines.push(line);
    }
    lines.reverse();
    lines.concat().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use shared::events::{Dream, EmotionalTone, Event, Interpretation};
    use shared::ids::{Provider, Timestamp};

    use super::*;
    use crate::state::State;

    fn id<T: TryFrom<String, Error: std::fmt::Debug>>(text: &str) -> T {
        T::try_from(text.to_owned()).unwrap()
    }

    fn jung() -> Interpreter {
        Interpreter { id: id("jung"), agent_id: "agent_1".into(), style: "archetypes".into() }
    }

    fn dreamt() -> Dreamt {
        let dream = Dream {
            dream_id: id("d1"),
            participant_id: id("RID001"),
            raw_transcript: "I was flying.".into(),
            themes: Vec::new(),
            recorded_at: Timestamp::now(),
        };
        Dreamt { dream, interpretations: Vec::new(), discussions: Vec::new() }
    }

    fn interpreted(by: &str, primary: &str, secondary: Option<&str>) -> Interpretation {
        let secondary = secondary.map(str::to_owned);
        Interpretation {
            dream_id: id("d1"),
            participant_id: id("RID001"),
            interpreter_id: id(by),
            emotional_tone: EmotionalTone { primary: primary.into(), secondary, intensity: Some(0.8) },
            text: "…".into(),
        }
    }

    fn conversation(texts: &[&str]) -> State {
        let mut state = State::default();
        for (ordinal, text) in (1..).zip(texts) {
            let message = Message {
                conversation_id: id("c"),
                participant_id: Some(id("RID001")),
                ordinal,
                message_id: None,
                idempotency_key: None,
                role: if ordinal % 2 == 1 { Speaker::User } else { Speaker::Assistant },
                content: (*text).to_owned(),
                timestamp: Timestamp::now(),
                provider: Provider::Elevenlabs,
                // The third was said before the second.
                inserted_at: (ordinal == 3).then_some(shared::events::PLACE_STEP + 1),
                event_id: None,
                reported: false,
                original: None,
                sources: None,
                attachments: Vec::new(),
                late: false,
                session: 1,
            };
            state.fold(Event::MessageRecorded(message), ordinal * 10);
        }
        state
    }

    #[test]
    fn what_is_not_known_is_an_empty_text() {
        let bare = Interpreter { style: String::new(), ..jung() };
        let told = serde_json::to_value(DynamicVariables::of(None, &dreamt(), &bare, String::new())).unwrap();
        let empty = serde_json::json!({
            "user_name": "", "user_profile": "", "dream_content": "I was flying.", "dream_emotions": [],
            "conversation_context": "", "interpreter_style": "",
        });
        assert_eq!(told, empty);
    }

    #[test]
    fn what_is_known_is_told_and_the_interpreters_own_word_goes_first() {
        let profile = Enrolment {
            participant_id: id("RID001"),
            access_code_hash: None,
            name: Some("Ada".into()),
            age: Some(36),
            location: Some("London".into()),
        };
        let mut dream = dreamt();
        dream.interpretations =
            vec![interpreted("jung", "anxiety", Some("fear")), interpreted("freud", "joy", None)];
        let of = |name: &str| {
            let interpreter = Interpreter { id: id(name), ..jung() };
            DynamicVariables::of(Some(&profile), &dream, &interpreter, String::new())
        };
        let told = of("jung");
        assert_eq!(
            (told.user_name.as_str(), told.user_profile.as_str()),
            ("Ada", "36 years old, from London")
        );
        assert_eq!(
            (told.dream_emotions, told.interpreter_style.as_str()),
            (vec!["anxiety".into(), "fear".into()], "archetypes")
        );
        assert_eq!(
            of("mary").dream_emotions,
            ["joy"],
            "the newest of anybody's, where there is none of theirs"
        );
        let somewhere = Enrolment { age: None, ..profile };
        assert_eq!(described(&somewhere), "from London");
    }

    #[test]
    fn the_history_is_in_the_conversations_order() {
        let state = conversation(&["one", "three", "two", "four"]);
        let lines = "User: one\nUser: two\nInterpreter: three\nInterpreter: four";
        assert_eq!(history(&state.conversation), lines);
        assert_eq!(history(&State::default().conversation), "");
    }

    #[test]
    fn of_a_long_history_the_end_is_told() {
        let long = "é".repeat(MAX_CONTEXT_BYTES / 8);
        let state = conversation(&[&long, &long, "x", &long, &long, "the last"]);
        let told = history(&state.conversation);
        assert!(told.len() <= MAX_CONTEXT_BYTES && told.ends_with("Interpreter: the last"));
        assert_eq!(told.matches(&long).count(), 3, "as many as fit, whole");
        let one = conversation(&[&"é".repeat(MAX_CONTEXT_BYTES)]);
        let told = history(&one.conversation);
        assert!(told.len() > MAX_CONTEXT_BYTES - 4 && told.chars().all(|c| c == 'é'));
    }
}
