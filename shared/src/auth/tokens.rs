//! Tokens: JWT (RFC 7519), HS256, made and checked with `JWT_SECRET`.

use std::time::Duration;

use chrono::{DateTime, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::config::AuthSettings;
use crate::ids::{AdminId, CompanyId, ParticipantId};

/// Whom a token speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// The person who talks.
    Participant(ParticipantId),
    /// A person who watches calls of their company.
    Admin {
        /// The admin's id.
        id: AdminId,
        /// The company's id.
        company: CompanyId,
    },
    /// A person who exports.
    Researcher(String),
}

/// A token that was found good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Whom it speaks for.
    pub who: Who,
    /// Its `jti`: what a revocation names. That of a session goes on after its token's (`<token>/<session>`), so that
    /// whatever ends the token ends the session; see [`super::Revocations::contains`].
    pub token_id: String,
    /// When it ends by itself.
    pub expires_at: DateTime<Utc>,
}

/// Why a token is no good: one sentence for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadToken {
    /// Past its `exp`.
    #[error("The token has expired; log in again.")]
    Expired,
    /// Given up.
    #[error("The token was revoked; log in again.")]
    Revoked,
    /// Signature, issuer, audience, algorithm or shape.
    #[error("The token is not valid here; log in again.")]
    Invalid,
}

/// What one signed text is good for. Each has an audience of its own, so that none passes as another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A token, sent with every request.
    Access,
    /// What stands in a browser's cookie.
    Session,
    /// What opens one feed.
    Ticket,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Claims {
    pub(super) sub: String,
    pub(super) role: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) company: Option<String>,
    pub(super) iss: String,
    pub(super) aud: String,
    pub(super) iat: i64,
    pub(super) exp: i64,
    pub(super) jti: String,
    /// Of a ticket: `jti` and `exp` of the token that it was made with.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(super) of: Option<Of>,
}

/// Whose feed a ticket opens.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Of {
    pub(super) token_id: String,
    pub(super) until: i64,
}

/// Makes and checks tokens.
#[derive(Clone)]
pub struct Tokens {
    encoding: EncodingKey,
    decoding: DecodingKey,
    issuer: String,
    audience: String,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

impl Tokens {
    /// From settings.
    pub fn new(settings: &AuthSettings) -> Self {
        let secret = settings.jwt_secret.expose().as_bytes();
        Self {
            encoding: EncodingKey::from_secret(secret),
            decoding: DecodingKey::from_secret(secret),
            issuer: settings.issuer.clone(),
            audience: settings.audience.clone(),
        }
    }

    /// Makes a token that is good for `ttl` from `now`.
    ///
    /// # Errors
    /// When the library refuses to sign; does not happen with a secret that settings let through.
    pub fn issue(
        &self,
        who: &Who,
        ttl: Duration,
        now: DateTime<Utc>,
    ) -> Result<String, jsonwebtoken::errors::Error> {
        let token_id = Uuid::new_v4().to_string();
        self.sign(&self.claims(who, Purpose::Access, token_id, now, (now + ttl).timestamp()))
    }

    /// Checks a token.
    ///
    /// # Errors
    /// [`BadToken::Expired`] or [`BadToken::Invalid`].
    pub fn check(&self, token: &str) -> Result<Grant, BadToken> {
        self.open(token, Purpose::Access)?.try_into()
    }

    /// Whom a token spoke for that is good but for its age.
    pub(super) fn expired(&self, token: &str) -> Option<Grant> {
        let mut validation = self.validation(Purpose::Access);
        validation.validate_exp = false;
        let opened = jsonwebtoken::decode::<Claims>(token, &self.decoding, &validation);
        opened.ok()?.claims.try_into().ok()
    }
}

impl Tokens {
    /// What is signed for a person.
    pub(super) fn claims(
        &self,
        who: &Who,
        purpose: Purpose,
        jti: String,
        now: DateTime<Utc>,
        exp: i64,
    ) -> Claims {
        let (role, sub, company) = match who {
            Who::Participant(id) => ("participant", id.as_str(), None),
            Who::Admin { id, company } => ("admin", id.as_str(), Some(String::from(company.clone()))),
            Who::Researcher(id) => ("researcher", id.as_str(), None),
        };
        let (role, sub) = (role.to_owned(), sub.to_owned());
        let (iss, aud) = (self.issuer.clone(), self.audience(purpose));
        Claims { sub, role, company, iss, aud, iat: now.timestamp(), exp, jti, of: None }
    }

    pub(super) fn issuer(&self) -> &str {
        &self.issuer
    }

    pub(super) fn sign(&self, claims: &Claims) -> Result<String, jsonwebtoken::errors::Error> {
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &self.encoding)
    }

    /// What was signed, if it was signed here for this purpose and has not expired.
    pub(super) fn open(&self, text: &str, purpose: Purpose) -> Result<Claims, BadToken> {
        let validation = self.validation(purpose);
        let opened = jsonwebtoken::decode::<Claims>(text, &self.decoding, &validation);
        opened.map(|data| data.claims).map_err(|error| {
            let expired = matches!(error.kind(), jsonwebtoken::errors::ErrorKind::ExpiredSignature);
            if expired { BadToken::Expired } else { BadToken::Invalid }
        })
    }

    fn validation(&self, purpose: Purpose) -> Validation {
        // One algorithm and no other: a token never chooses how it is checked.
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[self.audience(purpose)]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.leeway = 0;
        validation
    }

    pub(super) fn audience(&self, purpose: Purpose) -> String {
        match purpose {
            Purpose::Access => self.audience.clone(),
            Purpose::Session => format!("{}/session", self.audience),
            Purpose::Ticket => format!("{}/ticket", self.audience),
        }
    }
}

impl TryFrom<Claims> for Grant {
    type Error = BadToken;

    fn try_from(claims: Claims) -> Result<Self, BadToken> {
        let who = match (claims.role.as_str(), claims.company) {
            ("participant", _) => Who::Participant(claims.sub.try_into().map_err(|_| BadToken::Invalid)?),
            ("admin", Some(company)) => Who::Admin {
                id: claims.sub.try_into().map_err(|_| BadToken::Invalid)?,
                company: company.try_into().map_err(|_| BadToken::Invalid)?,
            },
            ("researcher", _) => Who::Researcher(claims.sub),
            _ => return Err(BadToken::Invalid),
        };
        let expires_at = DateTime::from_timestamp(claims.exp, 0).ok_or(BadToken::Invalid)?;
        Ok(Self { who, token_id: claims.jti, expires_at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn tokens(secret: &str, issuer: &str) -> Tokens {
        let text = |s: &str| s.to_owned();
        Tokens::new(&AuthSettings {
            jwt_secret: Secret::new(secret),
            issuer: text(issuer),
            audience: text("turnlog"),
            api_keys: vec![],
        })
    }

    #[test]
    fn a_token_says_again_for_whom_it_was_made() {
        let tokens = tokens("a secret of at least 32 bytes ...", "turnlog");
        for who in [
            Who::Participant(ParticipantId::try_from("RID001".to_owned()).unwrap()),
            Who::Admin {
                id: "a".to_owned().try_into().unwrap(),
                company: "c".to_owned().try_into().unwrap(),
            },
            Who::Researcher("r".into()),
        ] {
            let token = tokens.issue(&who, Duration::from_secs(60), Utc::now()).unwrap();
            assert_eq!(tokens.check(&token).unwrap().who, who);
        }
    }

    #[test]
    fn expired_foreign_and_unsigned_tokens_are_refused() {
        let ours = tokens("a secret of at least 32 bytes ...", "turnlog");
        let who = Who::Researcher("r".into());
        let hour = Duration::from_secs(3600);
        let old = ours.issue(&who, hour, Utc::now() - hour - hour).unwrap();
        assert_eq!(ours.check(&old), Err(BadToken::Expired));
        assert_eq!(ours.expired(&old).map(|grant| grant.who), Some(who.clone()));
        for other in [
            tokens("another secret of 32 bytes or more", "turnlog"),
            tokens("a secret of at least 32 bytes ...", "x"),
        ] {
            assert_eq!(ours.check(&other.issue(&who, hour, Utc::now()).unwrap()), Err(BadToken::Invalid));
            let old = other.issue(&who, hour, Utc::now() - hour - hour).unwrap();
            assert_eq!(ours.expired(&old), None, "whoever signed it proves nothing");
        }
        let good = ours.issue(&who, hour, Utc::now()).unwrap();
        let payload = good.split('.').nth(1).unwrap();
        // {"alg":"none"} in front of a good payload.
        assert_eq!(ours.check(&format!("eyJhbGciOiJub25lIn0.{payload}.")), Err(BadToken::Invalid));
        assert_eq!(ours.check("not a token"), Err(BadToken::Invalid));
    }
}
