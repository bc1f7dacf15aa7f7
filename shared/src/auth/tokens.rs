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
    /// Its `jti`: what a revocation names.
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

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    sub: String,
    role: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    company: Option<String>,
    iss: String,
    aud: String,
    iat: i64,
    exp: i64,
    jti: String,
}

/// Makes and checks tokens.
#[derive(Clone)]
pub struct Tokens {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
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
        // One algorithm and no other: a token never chooses how it is checked.
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[&settings.issuer]);
        validation.set_audience(&[&settings.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.leeway = 0;
        Self {
            encoding: EncodingKey::from_secret(secret),
            decoding: DecodingKey::from_secret(secret),
            validation,
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
        let (role, sub, company) = match who {
            Who::Participant(id) => ("participant", id.as_str(), None),
            Who::Admin { id, company } => ("admin", id.as_str(), Some(String::from(company.clone()))),
            Who::Researcher(id) => ("researcher", id.as_str(), None),
        };
        let claims = Claims {
            sub: sub.to_owned(),
            role: role.to_owned(),
            company,
            iss: self.issuer.clone(),
            aud: self.audience.clone(),
            iat: now.timestamp(),
            exp: (now + ttl).timestamp(),
            jti: Uuid::new_v4().to_string(),
        };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.encoding)
    }

    /// Checks a token.
    ///
    /// # Errors
    /// [`BadToken::Expired`] or [`BadToken::Invalid`].
    pub fn check(&self, token: &str) -> Result<Grant, BadToken> {
        let claims = jsonwebtoken::decode::<Claims>(token, &self.decoding, &self.validation)
            .map_err(|error| {
                let expired = matches!(error.kind(), jsonwebtoken::errors::ErrorKind::ExpiredSignature);
                if expired { BadToken::Expired } else { BadToken::Invalid }
            })?
            .claims;
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
        Ok(Grant { who, token_id: claims.jti, expires_at })
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
        for other in [
            tokens("another secret of 32 bytes or more", "turnlog"),
            tokens("a secret of at least 32 bytes ...", "x"),
        ] {
            assert_eq!(ours.check(&other.issue(&who, hour, Utc::now()).unwrap()), Err(BadToken::Invalid));
        }
        let good = ours.issue(&who, hour, Utc::now()).unwrap();
        let payload = good.split('.').nth(1).unwrap();
        // {"alg":"none"} in front of a good payload.
        assert_eq!(ours.check(&format!("eyJhbGciOiJub25lIn0.{payload}.")), Err(BadToken::Invalid));
        assert_eq!(ours.check("not a token"), Err(BadToken::Invalid));
    }
}
