//! What is said of dreams: by whoever dreamt them, or by services.

use shared::events::{Discussion, Event, Interpretation};

use super::{Decision, Refusal};
use crate::command::{OnDream, Told};
use crate::state::Dreamt;

pub(super) fn decide(on: &OnDream, known: Option<&Dreamt>, last_sequence: u64) -> Result<Decision, Refusal> {
    let already = Decision::already(last_sequence);
    let Some(known) = known else {
        return match &on.told {
            Told::Dream(dream) => Ok(Decision::append(Event::DreamRecorded(dream.clone()))),
            Told::Interpretation { .. } | Told::Discussion(..) => Err(Refusal::Unknown("dream")),
        };
    };
    let (dream_id, participant_id) = (on.dream.clone(), known.dream.participant_id.clone());
    if on.by.as_ref().is_some_and(|by| *by != participant_id) {
        return Err(Refusal::NotDreamer);
    }
    Ok(match &on.told {
        // A service may not give it to somebody else either.
        Told::Dream(dream) if dream.participant_id != participant_id => return Err(Refusal::NotDreamer),
        Told::Dream(dream) if *dream == known.dream => already,
        Told::Dream(dream) => Decision::append(Event::DreamChanged(dream.clone())),
        Told::Interpretation { interpreter, tone, text } => {
            let interpretation = Interpretation {
                dream_id,
                participant_id,
                interpreter_id: interpreter.clone(),
                emotional_tone: tone.clone(),
                text: text.clone(),
            };
            if known.interpretations.contains(&interpretation) {
                already
            } else {
                Decision::append(Event::DreamInterpreted(interpretation))
            }
        }
        Told::Discussion(interpreter, _) if known.discussion(interpreter).is_some() => already,
        Told::Discussion(interpreter, conversation) => Decision::append(Event::DreamDiscussed(Discussion {
            dream_id,
            participant_id,
            interpreter_id: interpreter.clone(),
            conversation_id: conversation.clone(),
        })),
    })
}
