//! Who may read which conversation: the rule at the API. Row level security holds the same rule at the
//! database.

use shared::auth::{Grant, Identity, Who};
use shared::ids::{AdminId, CompanyId, ParticipantId};
use shared::problem::{Kind, Problem};

/// What the rule has to know of a conversation that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The participant it belongs to; `None` where no participant is known.
    pub(crate) owner: Option<String>,
    /// The call that it carries.
    pub(crate) call: Option<CallFacts>,
    /// The company that the directory says the reading admin is of, where it knows them.
    pub(crate) directory: Directory,
}

/// What the rule has to know of a call.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct CallFacts {
    /// Who called.
    pub(crate) worker: String,
    /// The admin who holds it.
    pub(crate) holder: Option<String>,
    /// The worker's company.
    pub(crate) company: Option<String>,
}

impl CallFacts {
    /// Whether an admin of this company sees it: they hold it, or nobody does and it is their company's.
    fn is_for(&self, admin: &AdminId, company: &CompanyId) -> bool {
        match &self.holder {
            Some(holder) => holder == admin.as_str(),
            None => self.company.as_deref() == Some(company.as_str()),
        }
    }
}

/// A fact that changes who may read: what an open feed learns of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AccessChange {
    /// The conversation's call is held by somebody else now, or by nobody.
    Holder(Option<String>),
    /// A worker is of this company now, or of none.
    Worker(String, Option<String>),
    /// An admin is of this company now, or has left.
    Admin(String, Option<String>),
}

impl Facts {
    /// Takes in a change, for this reader.
    pub(crate) fn learn(&mut self, identity: &Identity, change: &AccessChange) {
        match (change, &mut self.call) {
            (AccessChange::Holder(holder), Some(call)) => call.holder.clone_from(holder),
            (AccessChange::Worker(worker, company), Some(call)) if call.worker == *worker => {
                call.company.clone_from(company);
            }
            (AccessChange::Admin(..), _) => self.directory.learn(identity, change),
            (AccessChange::Holder(_) | AccessChange::Worker(..), _) => {}
        }
    }
}

fn is_admin(identity: &Identity, admin: &str) -> bool {
    matches!(identity, Identity::Person(Grant { who: Who::Admin { id, .. }, .. }) if id.as_str() == admin)
}

/// What the directory says of an admin.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Directory {
    /// Nothing: their token's word holds.
    #[default]
    Unknown,
    /// They are of this company.
    Of(String),
    /// They have left.
    Gone,
}

impl Directory {
    /// As the tables have it: `known` is whether there is a row.
    pub(crate) fn of(known: bool, company: Option<String>) -> Self {
        match (known, company) {
            (false, _) => Self::Unknown,
            (true, Some(company)) => Self::Of(company),
            (true, None) => Self::Gone,
        }
    }

    /// Takes in a change, for this reader.
    pub(crate) fn learn(&mut self, identity: &Identity, change: &AccessChange) {
        match change {
            AccessChange::Admin(admin, company) if is_admin(identity, admin) => {
                *self = Self::of(true, company.clone());
            }
            AccessChange::Admin(..) | AccessChange::Holder(_) | AccessChange::Worker(..) => {}
        }
    }

    /// Whether a token that names this company still says the truth.
    pub(crate) fn confirms(&self, company: &CompanyId) -> bool {
        match self {
            Self::Unknown => true,
            Self::Of(known) => known == company.as_str(),
            Self::Gone => false,
        }
    }
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

/// Which calls' conversations a caller sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CallScope {
    /// Every one.
    All,
    /// Those that this admin holds, and those of this company that nobody holds.
    Of(AdminId, CompanyId),
}

impl CallScope {
    /// Whether a call is among them.
    pub(crate) fn sees(&self, call: &CallFacts) -> bool {
        match self {
            Self::All => true,
            Self::Of(admin, company) => call.is_for(admin, company),
        }
    }

    /// The parts that it is made of, as a statement takes each: the admin who holds a call, or the company of one that
    /// nobody holds. Together they have each call once.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (Option<&str>, Option<&str>)> {
        let (first, second) = match self {
            Self::All => ((None, None), None),
            Self::Of(admin, company) => ((Some(admin.as_str()), None), Some((None, Some(company.as_str())))),
        };
        std::iter::once(first).chain(second)
    }
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
    /// The endpoint is for admins, and for services that act for them.
    #[error("This endpoint is only for admins and services.")]
    NoAdmin,
    /// The endpoint is for those who study conversations, and for admins.
    #[error("This endpoint is only for researchers and admins.")]
    NoAnalyst,
    /// The directory says otherwise than the admin's token.
    #[error("Access denied. You are not of the company that your token names; log in again.")]
    NotOfCompany,
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        Self::new(Kind::Forbidden, denied.to_string())
    }
}

/// Services and researchers read everything, a participant its own conversations. An admin reads the calls that they
/// hold, and those of their company's workers that nobody holds.
pub(crate) fn may_read(identity: &Identity, facts: &Facts) -> Result<(), Denied> {
    let allowed = match identity {
        Identity::Service => true,
        Identity::Person(Grant { who, .. }) => match who {
            Who::Researcher(_) => true,
            Who::Participant(id) => facts.owner.as_deref() == Some(id.as_str()),
            Who::Admin { id, company } => {
                facts.directory.confirms(company)
                    && facts.call.as_ref().is_some_and(|call| call.is_for(id, company))
            }
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

/// Services list all calls, an admin those that they see one by one.
pub(crate) fn call_scope(identity: &Identity) -> Result<CallScope, Denied> {
    match identity {
        Identity::Service => Ok(CallScope::All),
        Identity::Person(Grant { who, .. }) => match who {
            Who::Admin { id, company } => Ok(CallScope::Of(id.clone(), company.clone())),
            Who::Participant(_) | Who::Researcher(_) => Err(Denied::NoAdmin),
        },
    }
}

/// Whether a caller may go on watching calls: an admin while the directory does not say otherwise than their token.
pub(crate) fn may_watch_calls(identity: &Identity, directory: &Directory) -> Result<(), Denied> {
    match call_scope(identity)? {
        CallScope::Of(_, company) if !directory.confirms(&company) => Err(Denied::NotOfCompany),
        CallScope::Of(..) | CallScope::All => Ok(()),
    }
}

/// Researchers are told the numbers of everything, an admin those of their company while the directory does not say
/// otherwise than their token.
pub(crate) fn may_count(identity: &Identity, directory: &Directory) -> Result<(), Denied> {
    let Identity::Person(Grant { who, .. }) = identity else { return Err(Denied::NoAnalyst) };
    match who {
        Who::Researcher(_) => Ok(()),
        Who::Admin { company, .. } if directory.confirms(company) => Ok(()),
        Who::Admin { .. } => Err(Denied::NotOfCompany),
        Who::Participant(_) => Err(Denied::NoAnalyst),
    }
}

/// What a database session says about its reader: role, participant, company, admin.
pub(crate) fn session_of(identity: &Identity) -> (&'static str, &str, &str, &str) {
    match identity {
        Identity::Service => ("service", "", "", ""),
        Identity::Person(Grant { who, .. }) => match who {
            Who::Researcher(_) => ("researcher", "", "", ""),
            Who::Participant(id) => ("participant", id.as_str(), "", ""),
            Who::Admin { id, company } => ("admin", "", company.as_str(), id.as_str()),
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
        let id = |text: &str| text.to_owned();
        person(Who::Admin { id: id("a").try_into().unwrap(), company: id("c").try_into().unwrap() })
    }

    fn owned_by(owner: Option<&str>) -> Facts {
        Facts { owner: owner.map(Into::into), call: None, directory: Directory::Unknown }
    }

    #[test]
    fn an_admin_reads_what_they_hold_and_what_nobody_of_their_company_holds() {
        let read = |holder: Option<&str>, company: Option<&str>, directory: Directory| {
            let call = CallFacts {
                worker: "w".into(),
                holder: holder.map(Into::into),
                company: company.map(Into::into),
            };
            may_read(&admin(), &Facts { owner: None, call: Some(call), directory }).is_ok()
        };
        assert!(read(None, Some("c"), Directory::Unknown));
        assert!(read(None, Some("c"), Directory::Of("c".into())));
        assert!(read(Some("a"), Some("c"), Directory::Of("c".into())));
        assert!(read(Some("a"), Some("other"), Directory::Unknown), "what they hold stays theirs");
        assert!(!read(Some("b"), Some("c"), Directory::Unknown), "a colleague holds it");
        assert!(!read(None, Some("other"), Directory::Unknown));
        assert!(!read(None, None, Directory::Unknown), "a worker of no company");
        assert!(!read(None, Some("c"), Directory::Of("other".into())), "they moved");
        assert!(!read(Some("a"), Some("c"), Directory::Gone));
    }

    #[test]
    fn a_participant_reads_its_own_and_nobody_elses() {
        let own = owned_by(Some("RID001"));
        assert_eq!(may_read(&participant("RID001"), &own), Ok(()));
        assert_eq!(may_read(&participant("RID002"), &own), Err(Denied::NotYours));
        assert_eq!(may_read(&participant("RID001"), &owned_by(None)), Err(Denied::NotYours));
    }

    #[test]
    fn services_and_researchers_read_all_and_admins_only_calls() {
        for facts in [owned_by(Some("RID001")), owned_by(None)] {
            assert_eq!(may_read(&Identity::Service, &facts), Ok(()));
            assert_eq!(may_read(&person(Who::Researcher("r".into())), &facts), Ok(()));
            assert_eq!(may_read(&admin(), &facts), Err(Denied::NotYours));
        }
    }

    #[test]
    fn services_list_all_participants_their_own_and_nobody_else_lists() {
        let own = owned_by(Some("RID001"));
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
        assert_eq!(session_of(&participant("RID001")), ("participant", "RID001", "", ""));
        assert_eq!(session_of(&admin()), ("admin", "", "c", "a"));
        assert_eq!(session_of(&Identity::Service), ("service", "", "", ""));
    }
}
