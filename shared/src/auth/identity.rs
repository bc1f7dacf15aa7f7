//! The caller of a request, as a parameter of its handler: a handler that takes it cannot forget the check.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use axum::extract::{FromRef, FromRequestParts};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::tokens::BadToken;
use super::{Grant, Revocations, Session, Tokens, Who};
use crate::audit::Looker;
use crate::config::{AuthSettings, Secret};
use crate::ids::{AdminId, CompanyId, ParticipantId};
use crate::limiter::{Allowances, Limiter};
use crate::problem::{Kind, Problem};

/// Checks credentials. Clones share everything.
#[derive(Debug, Clone)]
pub struct Authenticator {
    tokens: Arc<Tokens>,
    checked: Arc<Checked>,
    api_keys: Arc<[ApiKey]>,
    revocations: Revocations,
}

/// Says which API key, without being one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId([u8; 32]);

/// What the audit log calls an API key: enough to tell it from others, and nothing to find it by. It stands in the
/// extensions of a request that came with one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyName(String);

impl KeyName {
    pub(super) fn new(name: String) -> Self {
        Self(name)
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<KeyId> for KeyName {
    fn from(KeyId(hash): KeyId) -> Self {
        let start = hash[..6].iter();
        Self(start.fold("key_".to_owned(), |name, byte| name + &format!("{byte:02x}")))
    }
}

/// Who a request has shown to be, whatever becomes of it: also with a token that has expired or was revoked. It stands in
/// the extensions of a request whose refusal is recorded. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Proven(Arc<OnceLock<Shown>>);

#[derive(Debug)]
enum Shown {
    Service(Option<KeyName>),
    Person(Who),
}

impl Proven {
    /// Who; none where nobody showed it.
    pub fn get(&self) -> Option<Looker> {
        self.0.get().map(|shown| match shown {
            Shown::Service(key) => Looker::anyone(&Identity::Service, key.as_ref()),
            Shown::Person(who) => Looker::person(who),
        })
    }

    /// Notes that whoever calls is this one. The first who is noted stays.
    pub fn note(parts: &Parts, identity: &Identity, key: Option<&KeyName>) {
        match identity {
            Identity::Service => Self::set(parts, || Shown::Service(key.cloned())),
            Identity::Person(grant) => Self::note_person(parts, grant),
        }
    }

    pub(super) fn note_person(parts: &Parts, grant: &Grant) {
        Self::set(parts, || Shown::Person(grant.who.clone()));
    }

    fn set(parts: &Parts, shown: impl FnOnce() -> Shown) {
        if let Some(proven) = parts.extensions.get::<Self>() {
            proven.0.get_or_init(shown);
        }
    }
}

#[derive(Debug)]
struct ApiKey {
    secret: Secret,
    id: KeyId,
}

impl ApiKey {
    fn new(secret: &Secret) -> Self {
        Self { secret: secret.clone(), id: KeyId(Sha256::digest(secret.expose()).into()) }
    }
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// A program with an API key.
    Service,
    /// A person with a token.
    Person(Grant),
}

impl Authenticator {
    /// From settings and the shared set of revocations.
    pub fn new(settings: &AuthSettings, revocations: Revocations) -> Self {
        Self {
            tokens: Arc::new(Tokens::new(settings)),
            checked: Arc::default(),
            api_keys: settings.api_keys.iter().map(ApiKey::new).collect(),
            revocations,
        }
    }

    /// Makes tokens of the same secret.
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// The tokens that were given up.
    pub fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    /// Checks what stands behind `Bearer`. A request with an API key is counted here, whatever becomes of it.
    ///
    /// # Errors
    /// 401, saying why; 429 when the API key has spent its budget.
    pub fn check(&self, parts: &Parts) -> Result<Identity, Problem> {
        self.known(parts).map(|(identity, _)| identity)
    }

    /// Checks whoever calls: by the header, or, where there is none, by a session's cookie, which only reads. Leaves the
    /// name of an API key in the request's extensions.
    fn caller(&self, parts: &mut Parts) -> Result<Identity, Problem> {
        if !parts.headers.contains_key(AUTHORIZATION)
            && parts.method.is_safe()
            && let Some(Session(grant)) = Session::of(parts, self)?
        {
            return Ok(Identity::Person(grant));
        }
        let (identity, key) = self.known(parts)?;
        if let Some(key) = key {
            parts.extensions.insert(KeyName::from(key));
        }
        Ok(identity)
    }
}

impl Authenticator {
    fn known(&self, parts: &Parts) -> Result<(Identity, Option<KeyId>), Problem> {
        let credential = Bearer::of(parts)?;
        if let Some(key) = self.api_key(credential) {
            Proven::note(parts, &Identity::Service, Some(&key.into()));
            spend(key, parts)?;
            return Ok((Identity::Service, Some(key)));
        }
        let grant = self.grant(credential).map_err(|bad| {
            if let Some(grant) = self.tokens.expired(credential).filter(|_| bad == BadToken::Expired) {
                Proven::note_person(parts, &grant);
            }
            refused(bad)
        })?;
        Proven::note_person(parts, &grant);
        if self.revocations.contains(&grant.token_id) {
            return Err(refused(BadToken::Revoked));
        }
        Ok((Identity::Person(grant), None))
    }

    /// Every key is compared, in constant time, so that neither a prefix nor the number of keys shows.
    fn api_key(&self, credential: &str) -> Option<KeyId> {
        self.api_keys.iter().fold(None, |found, key| {
            let same = key.secret.expose().as_bytes().ct_eq(credential.as_bytes());
            if same.into() { Some(key.id) } else { found }
        })
    }

    fn grant(&self, token: &str) -> Result<Grant, BadToken> {
        if let Some(grant) = self.checked.get(token, Utc::now()) {
            return Ok(grant);
        }
        let grant = self.tokens.check(token)?;
        self.checked.add(token, &grant);
        Ok(grant)
    }
}

/// Tokens whose signature was found good: a frontend sends the same one with every message. What can change about
/// them, expiry and revocation, is asked each time.
#[derive(Debug, Default)]
struct Checked(RwLock<HashMap<Box<str>, Grant>>);

impl Checked {
    /// Tokens remembered at most; then all are forgotten, which costs each of them one more check.
    const MOST: usize = 10_000;

    fn get(&self, token: &str, now: DateTime<Utc>) -> Option<Grant> {
        let checked = self.0.read().unwrap_or_else(PoisonError::into_inner);
        checked.get(token).filter(|grant| grant.expires_at > now).cloned()
    }

    fn add(&self, token: &str, grant: &Grant) {
        let mut checked = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if checked.len() >= Self::MOST {
            checked.clear();
        }
        checked.insert(token.into(), grant.clone());
    }
}

/// Counts one request of this key.
fn spend(key: KeyId, parts: &Parts) -> Result<(), Problem> {
    let (limiter, allowances) =
        (parts.extensions.get::<Limiter<KeyId>>(), parts.extensions.get::<Allowances>());
    match limiter.zip(allowances) {
        Some((limiter, allowances)) => limiter.admit(&key, allowances),
        None => Err(Problem::internal("served without the budgets of API keys")),
    }
}

fn refused(bad: BadToken) -> Problem {
    Problem::new(Kind::Unauthenticated, bad.to_string())
}

/// What stands behind `Authorization: Bearer`.
#[derive(Debug)]
pub struct Bearer;

impl Bearer {
    /// Finds it.
    ///
    /// # Errors
    /// 401 when there is none.
    pub fn of(parts: &Parts) -> Result<&str, Problem> {
        Self::in_headers(&parts.headers)
    }

    fn in_headers(headers: &HeaderMap) -> Result<&str, Problem> {
        let value = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        value
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, credential)| credential.trim())
            .ok_or_else(|| {
                Problem::new(Kind::Unauthenticated, "Send a token: Authorization: Bearer <token>.")
            })
    }
}

/// Anybody with a good credential; where nothing is changed, a session's cookie is one, too.
#[derive(Debug, Clone)]
pub struct AnyCaller(pub Identity);

impl<S> FromRequestParts<S> for AnyCaller
where
    Authenticator: FromRef<S>,
    S: Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Authenticator::from_ref(state).caller(parts).map(Self)
    }
}

/// A participant, and nobody else.
#[derive(Debug, Clone)]
pub struct AsParticipant {
    /// Who.
    pub participant: ParticipantId,
    /// With which token.
    pub grant: Grant,
}

impl<S> FromRequestParts<S> for AsParticipant
where
    Authenticator: FromRef<S>,
    S: Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let AnyCaller(identity) = AnyCaller::from_request_parts(parts, state).await?;
        match identity {
            Identity::Person(grant) => match &grant.who {
                Who::Participant(id) => Ok(Self { participant: id.clone(), grant }),
                Who::Admin { .. } | Who::Researcher(_) => Err(only("a participant's token")),
            },
            Identity::Service => Err(only("a participant's token")),
        }
    }
}

/// An admin, and nobody else.
#[derive(Debug, Clone)]
pub struct AsAdmin {
    /// Who.
    pub admin: AdminId,
    /// Whose, as the token says.
    pub company: CompanyId,
}

impl<S> FromRequestParts<S> for AsAdmin
where
    Authenticator: FromRef<S>,
    S: Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let AnyCaller(identity) = AnyCaller::from_request_parts(parts, state).await?;
        match identity {
            Identity::Person(Grant { who: Who::Admin { id, company }, .. }) => {
                Ok(Self { admin: id, company })
            }
            Identity::Person(_) | Identity::Service => Err(only("an admin's token")),
        }
    }
}

/// A service with an API key, and nobody else.
#[derive(Debug, Clone, Copy)]
pub struct AsService;

impl<S> FromRequestParts<S> for AsService
where
    Authenticator: FromRef<S>,
    S: Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match AnyCaller::from_request_parts(parts, state).await?.0 {
            Identity::Service => Ok(Self),
            Identity::Person(_) => Err(only("a service's API key")),
        }
    }
}

/// A researcher, and nobody else.
#[derive(Debug, Clone)]
pub struct AsResearcher {
    /// Who.
    pub researcher: String,
    /// With which token.
    pub grant: Grant,
}

impl<S> FromRequestParts<S> for AsResearcher
where
    Authenticator: FromRef<S>,
    S: Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let AnyCaller(identity) = AnyCaller::from_request_parts(parts, state).await?;
        match identity {
            Identity::Person(grant) => match &grant.who {
                Who::Researcher(id) => Ok(Self { researcher: id.clone(), grant }),
                Who::Participant(_) | Who::Admin { .. } => Err(only("a researcher's token")),
            },
            Identity::Service => Err(only("a researcher's token")),
        }
    }
}

fn only(what: &str) -> Problem {
    Problem::new(Kind::Forbidden, format!("This endpoint is only for {what}."))
}
