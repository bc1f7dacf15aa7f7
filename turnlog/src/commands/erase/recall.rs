//! Which data sets may hold somebody who was erased.

use ingest::erase::Erased;
use serde_json::Value;
use shared::audit::{Audit, Look, What};
use shared::ids::{ConversationId, ParticipantId};
use shared::log::Log;
use shared::subjects::Subject;

use crate::commands::tail::plain;
use crate::failure::{Failure, OrFail};

/// Prints them, as the audit log has them.
pub(super) async fn list(log: &Log, id: &ParticipantId, erased: &Erased) -> Result<(), Failure> {
    let mut held = Vec::new();
    let audit = Audit::new(log);
    let read = audit.read(None, None, |entry| {
        if let Ok(look) = serde_json::from_slice::<Look>(&entry.body)
            && may_hold(&look, id, erased)
        {
            held.push(line(&look));
        }
    });
    read.await.or_fail("read the audit log")?;
    if held.is_empty() {
        println!("no data set is known that may hold them");
        return Ok(());
    }
    println!("{} data sets may hold them; call them back:", held.len());
    held.iter().for_each(|line| println!("  {line}"));
    Ok(())
}

/// Whether a data set of these arguments may hold something of them.
fn may_hold(look: &Look, id: &ParticipantId, erased: &Erased) -> bool {
    let (Some(from), Some(to)) = (look.from_sequence, look.to_sequence) else { return false };
    let erasure = &erased.erasure;
    // What is said of a conversation may bear on a row of it that changed later, up to the erasure.
    if look.what != What::DataSetEnded || to < erasure.first_sequence || from > erased.sequence {
        return false;
    }
    let selection = look.more.get("asked").and_then(|asked| asked.get("selection"));
    let named = |field: &str| -> Vec<&str> {
        let list = selection.and_then(|selection| selection.get(field)).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str).collect()
    };
    let (participants, conversations) = (named("participants"), named("conversations"));
    let theirs = |name: &&str| {
        ConversationId::try_from((*name).to_owned()).is_ok_and(|id| {
            let subject = Subject::conversation(&id);
            erasure.conversations.iter().any(|token| token == subject.token())
        })
    };
    (participants.is_empty() || participants.contains(&Subject::participant(id).token()))
        && (conversations.is_empty() || conversations.iter().any(theirs))
}

fn line(look: &Look) -> String {
    let text = |name: &str| look.more.get(name).and_then(Value::as_str).map(plain).unwrap_or_default();
    let (from, to) = (look.from_sequence.unwrap_or_default(), look.to_sequence.unwrap_or_default());
    let who = look.who.id.as_deref().map(plain).unwrap_or_default();
    let at = look.at.to_rfc3339();
    format!("{at}  by {} {who}  sequences {from} to {to}  {}", plain(&look.who.role), text("out"))
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use serde_json::json;
    use shared::events::Erasure;

    use super::*;

    #[test]
    fn data_sets_of_other_times_or_of_others_alone_hold_nothing_of_them() {
        let id = ParticipantId::try_from("RID001".to_owned()).unwrap();
        let conversation = ConversationId::try_from("conv_1".to_owned()).unwrap();
        let erasure = Erasure {
            participant_id: id.clone(),
            by: "ada".into(),
            erased_at: DateTime::UNIX_EPOCH,
            conversations: vec![Subject::conversation(&conversation).token().to_owned()],
            dreams: Vec::new(),
            keys: Vec::new(),
            first_sequence: 10,
            last_sequence: 20,
            deleted_events: 0,
            deleted_webhooks: Vec::new(),
            deleted_objects: 0,
        };
        let erased = Erased { sequence: 30, erasure, before: false };
        let made = |range, selection| {
            let look = Look::by_operator("ada", What::DataSetEnded).range(Some(range));
            may_hold(&look.with("asked", json!({"selection": selection})), &id, &erased)
        };
        let token = Subject::participant(&id).token().to_owned();
        assert!(made((1, 10), json!({})) && made((12, 12), json!({})) && made((25, 40), json!({})));
        assert!(!made((1, 9), json!({})) && !made((31, 40), json!({})));
        assert!(made((1, 40), json!({"participants": ["other", token]})));
        assert!(!made((1, 40), json!({"participants": ["other"]})));
        assert!(made((1, 40), json!({"conversations": ["conv_1"]})));
        assert!(!made((1, 40), json!({"conversations": ["conv_2"]})));
        let look = Look::by_operator("ada", What::Erasure).range(Some((1, 40)));
        assert!(!may_hold(&look, &id, &erased));
    }
}
