use shared::events::{Claim, Message};
use shared::ids::{Provider, Speaker, Timestamp};

use super::*;

fn message(conversation: &str, owner: Option<&str>, ordinal: u64) -> Event {
    Event::MessageRecorded(Message {
        conversation_id: conversation.to_owned().try_into().unwrap(),
        participant_id: owner.map(|id| id.to_owned().try_into().unwrap()),
        ordinal,
        message_id: None,
        idempotency_key: None,
        role: Speaker::User,
        content: "Hello".into(),
        timestamp: Timestamp::from_parts(DateTime::from_timestamp(ordinal.cast_signed(), 0).unwrap(), 0),
        provider: Provider::Elevenlabs,
        inserted_at: None,
        event_id: None,
        reported: false,
        original: None,
        sources: None,
        attachments: Vec::new(),
        late: false,
        session: 0,
    })
}

/// Every row, and the unowned messages of each conversation, with so much memory.
fn folded(events: &[Event], most: usize) -> Vec<(String, Vec<u64>)> {
    let folder = tempfile::tempdir().unwrap();
    let mut folding = Folding::holding(folder.path(), most, most);
    for (sequence, event) in (1..).zip(events) {
        let subject = event.subject();
        let fact = Fact { sequence, stored_at: 7, token: subject.token(), event, reading: None };
        folding.take(&fact).unwrap();
    }
    let (mut folded, mut found) = (folding.finish().unwrap(), Vec::new());
    while let Some((state, unowned)) = folded.next().unwrap() {
        found.push((state.row_of(|row| format!("{row:?} {:?}", state.claim())).unwrap_or_default(), unowned));
    }
    found
}

#[test]
fn conversations_are_the_same_however_few_fit_in_memory() {
    let mut events = Vec::new();
    for ordinal in 1..=20 {
        events.extend((0..30).map(|n| message(&format!("c{n}"), (n % 3 > 0).then_some("RID1"), ordinal)));
    }
    let (conversation_id, participant_id) =
        ("c3".to_owned().try_into().unwrap(), "RID9".to_owned().try_into().unwrap());
    events.insert(400, Event::ConversationClaimed(Claim { conversation_id, participant_id }));
    let whole = folded(&events, 1 << 30);
    assert_eq!(whole.len(), 30);
    let claimed: Vec<_> = whole.iter().filter(|(row, _)| row.contains("RID9")).collect();
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].1.len(), 20);
    assert!(whole.iter().all(|(row, _)| row.contains("message_count: 20")), "{whole:?}");
    for most in [50_000, 5_000, 1] {
        assert_eq!(folded(&events, most), whole, "{most}");
    }
}
