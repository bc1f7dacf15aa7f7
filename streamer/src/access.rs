//! Who may read which conversation: the rule at the API. Row level security holds the same rule at the
//! database.

use shared::auth::{Grant, Identity, Who};
use shared::ids::ParticipantId;
use shared::problem::{Kind, Problem};

/// What the rule has to know of a conversation that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The participant it belongs to; `None` where no participant is known.
    pub(crate) owner: Option<String>,
}

/// The rule, as it is handed to what reads, so that nothing is read without one.
pub(crate) type Rule = fn(&Identity, &Facts) -> Result<(), Denied>;

/// The same for what is asked of many conversations: which of them the caller sees.
pub(crate) type ListRule = fn(&Identity) -> Result<Scope, Denied>;

/// Which conversations a caller sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Every one.
    All,
    /// This participant's.
    Of(ParticipantId),
}

/// Why a caller is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Denied {
    /// The conversation is there, but not for this caller.
    #[error("Access denied. You don't have permission to view this conversation.")]
    NotYours,
    /// The endpoint is not for callers of this kind.
    #[error("This endpoint is only for services and participants; others read /api/conversation/{{id}}.")]
    WrongCaller,
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        Self::new(Kind::Forbidden, denied.to_string())
    }
}

/// Services and researchers read everything, a participant its own conversations. An admin reads by calls,
/// and a conversation without one is nobody's call.
pub(crate) fn may_read(identity: &Identity, facts: &Facts) -> Result<(), Denied> {
    let allowed = match identity {
        Identity::Service => true,
        Identity::Person(Grant { who, .. }) => match who {
            Who::Researcher(_) => true,
            Who::Participant(id) => facts.owner.as_deref() == Some(id.as_str()),
            Who::Admin { .. } => false,
        },
    };
    if allowed { Ok(()) } else { Err(Denied::NotYours) }
}

/// Services ask for the status of any conversation, a participant for that of its own.
pub(crate) fn may_ask_status(identity: &Identity, facts: &Facts) -> Result<(), Denied> {
    may_list(identity)?;
    may_read(identity, facts)
}

/// Services list everything, a participant its own conversations.
pub(crate) fn may_list(identity: &Identity) -> Result<Scope, Denied> {
    match identity {
        Identity::Service => Ok(Scope::All),
        Identity::Person(Grant { who, .. }) => match who {
            Who::Participant(id) => Ok(Scope::Of(id.clone())),
            Who::Researcher(_) | Who::Admin { .. } => Err(Denied::WrongCaller),
        },
    }
}

/// What a database session says about its reader: role, participant, company.
pub(crate) fn session_of(identity: &Identity) -> (&'static str, &str, &str) {
    match identity {
        Identity::Service => ("service", "", ""),
        Identity::Person(Grant { who, .. }) => match who {
            Who::Researcher(_) => ("researcher", "", ""),
            Who::Participant(id) => ("participant", id.as_str(), ""),
            Who::Admin { company, .. } => ("admin", "", company),
        },
    }
}

#[cfg(test)]
mod tests {
    use chrono::Utc;

    use super::*;

    fn person(who: Who) -> Identity {
        Identity::Person(Grant { who, token_id: "t".into(), expires_at: Utc::now() })
    }

    fn participant(id: &str) -> Identity {
        person(Who::Participant(id.to_owned().try_into().unwrap()))
    }

    fn admin() -> Identity {
        person(Who::Admin { id: "a".into(), company: "c".into() })
    }

    #[test]
    fn a_participant_reads_its_own_and_nobody_elses() {
        let own = Facts { owner: Some("RID001".into()) };
        assert_eq!(may_read(&participant("RID001"), &own), Ok(()));
        assert_eq!(may_read(&participant("RID002"), &own), Err(Denied::NotYours));
        assert_eq!(may_read(&participant("RID001"), &Facts { owner: None }), Err(Denied::NotYours));
    }

    #[test]
    fn services_and_researchers_read_all_and_admins_only_calls() {
        for facts in [Facts { owner: Some("RID001".into()) }, Facts { owner: None }] {
            assert_eq!(may_read(&Identity::Service, &facts), Ok(()));
            assert_eq!(may_read(&person(Who::Researcher("r".into())), &facts), Ok(()));
            assert_eq!(may_read(&admin(), &facts), Err(Denied::NotYours));
        }
    }

    #[test]
    fn services_list_all_participants_their_own_and_nobody_else_lists() {
        let own = Facts { owner: Some("RID001".into()) };
        assert_eq!(may_list(&Identity::Service), Ok(Scope::All));
        let scope = Scope::Of("RID001".to_owned().try_into().unwrap());
        assert_eq!(may_list(&participant("RID001")), Ok(scope));
        assert_eq!(may_ask_status(&Identity::Service, &own), Ok(()));
        assert_eq!(may_ask_status(&participant("RID001"), &own), Ok(()));
        assert_eq!(may_ask_status(&participant("RID002"), &own), Err(Denied::NotYours));
        for other in [admin(), person(Who::Researcher("r".into()))] {
            assert_eq!(may_list(&other), Err(Denied::WrongCaller));
            assert_eq!(may_ask_status(&other, &own), Err(Denied::WrongCaller));
        }
    }

    #[test]
    fn a_session_says_no_more_than_who_reads() {
        assert_eq!(session_of(&participant("RID001")), ("participant", "RID001", ""));
        assert_eq!(session_of(&admin()), ("admin", "", "c"));
        assert_eq!(session_of(&Identity::Service), ("service", "", ""));
    }
}
