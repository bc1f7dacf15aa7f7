//! What a token is turned into for clients that cannot send it: a session, which a browser keeps in a cookie, and a
//! ticket, which opens one feed. Neither outlives the token, and neither passes as one.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::revocations::DERIVED;
use super::tokens::{BadToken, Claims, Of, Purpose};
use super::{Grant, Identity, KeyName, Tokens};
use crate::limits::TICKET_TTL;

/// The role of a ticket that was made with an API key. No token has it.
const SERVICE: &str = "service";

/// A ticket that was found good; whether it was used before, its own id tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// What may be claimed once.
    pub id: String,
    /// Whoever got it; a person's grant is that of the token that it was made with.
    pub identity: Identity,
    /// The API key that it was made with.
    pub key: Option<KeyName>,
}

/// Why a ticket is no good: one sentence for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadTicket {
    /// Past its end.
    #[error("The ticket has expired; get a new one.")]
    Expired,
    /// It has opened a feed.
    #[error("The ticket was used before; get a new one.")]
    Used,
    /// The token that it was made with was given up.
    #[error("The ticket's token was revoked; log in again.")]
    Revoked,
    /// Signature, audience or shape.
    #[error("The ticket is not valid here; get a new one.")]
    Invalid,
}

type Signed = Result<String, jsonwebtoken::errors::Error>;

impl Tokens {
    /// Makes a session out of a token: it has an id of its own that begins with the token's, and the same end.
    ///
    /// # Errors
    /// When the library refuses to sign; does not happen with a secret that settings let through.
    pub fn session(&self, grant: &Grant, now: DateTime<Utc>) -> Signed {
        let id = format!("{}{DERIVED}{}", grant.token_id, Uuid::new_v4());
        self.sign(&self.claims(&grant.who, Purpose::Session, id, now, grant.expires_at.timestamp()))
    }

    /// Checks what stands in a session's cookie.
    ///
    /// # Errors
    /// [`BadToken::Expired`] or [`BadToken::Invalid`].
    pub fn check_session(&self, session: &str) -> Result<Grant, BadToken> {
        self.open(session, Purpose::Session)?.try_into()
    }

    /// Makes a ticket for whoever calls; `key` is the API key that they call with. Answers also until when it is good.
    ///
    /// # Errors
    /// When the library refuses to sign; does not happen with a secret that settings let through.
    pub fn ticket(
        &self,
        identity: &Identity,
        key: Option<&KeyName>,
        now: DateTime<Utc>,
    ) -> Result<(String, DateTime<Utc>), jsonwebtoken::errors::Error> {
        let (id, end) = (Uuid::new_v4().simple().to_string(), now + TICKET_TTL);
        let claims = match identity {
            Identity::Person(grant) => {
                let until = grant.expires_at.timestamp();
                let exp = end.timestamp().min(until);
                let of = Some(Of { token_id: grant.token_id.clone(), until });
                Claims { of, ..self.claims(&grant.who, Purpose::Ticket, id, now, exp) }
            }
            Identity::Service => Claims {
                sub: key.map(|key| key.as_str().to_owned()).unwrap_or_default(),
                role: SERVICE.to_owned(),
                company: None,
                iss: self.issuer().to_owned(),
                aud: self.audience(Purpose::Ticket),
                iat: now.timestamp(),
                exp: end.timestamp(),
                jti: id,
                of: None,
            },
        };
        let end = DateTime::from_timestamp(claims.exp, 0).unwrap_or(end);
        Ok((self.sign(&claims)?, end))
    }

    /// Checks a ticket, but for whether it was used.
    ///
    /// # Errors
    /// [`BadTicket::Expired`] or [`BadTicket::Invalid`].
    pub fn check_ticket(&self, ticket: &str) -> Result<Ticket, BadTicket> {
        let claims = self.open(ticket, Purpose::Ticket)?;
        let id = claims.jti.clone();
        if claims.role == SERVICE {
            let key = Some(KeyName::new(claims.sub));
            return Ok(Ticket { id, identity: Identity::Service, key });
        }
        let Of { token_id, until } = claims.of.as_ref().ok_or(BadTicket::Invalid)?;
        let (jti, exp) = (token_id.clone(), *until);
        let grant = Grant::try_from(Claims { jti, exp, ..claims })?;
        Ok(Ticket { id, identity: Identity::Person(grant), key: None })
    }
}

impl From<BadToken> for BadTicket {
    fn from(bad: BadToken) -> Self {
        match bad {
            BadToken::Expired => Self::Expired,
            BadToken::Revoked => Self::Revoked,
            BadToken::Invalid => Self::Invalid,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Who;
    use super::*;
    use crate::config::{AuthSettings, Secret};

    fn tokens() -> Tokens {
        Tokens::new(&AuthSettings {
            jwt_secret: Secret::new("a secret of at least 32 bytes ..."),
            issuer: "turnlog".into(),
            audience: "turnlog".into(),
            api_keys: vec![],
        })
    }

    fn grant(tokens: &Tokens, ttl: u64) -> (String, Grant) {
        let who = Who::Admin {
            id: "a".to_owned().try_into().unwrap(),
            company: "c".to_owned().try_into().unwrap(),
        };
        let token = tokens.issue(&who, Duration::from_secs(ttl), Utc::now()).unwrap();
        let grant = tokens.check(&token).unwrap();
        (token, grant)
    }

    #[test]
    fn none_passes_as_another() {
        let tokens = tokens();
        let (token, grant) = grant(&tokens, 60);
        let session = tokens.session(&grant, Utc::now()).unwrap();
        let (ticket, _) = tokens.ticket(&Identity::Person(grant), None, Utc::now()).unwrap();
        let (service, _) = tokens.ticket(&Identity::Service, None, Utc::now()).unwrap();
        for other in [&session, &ticket, &service] {
            assert_eq!(tokens.check(other), Err(BadToken::Invalid));
        }
        for other in [&token, &ticket, &service] {
            assert_eq!(tokens.check_session(other), Err(BadToken::Invalid));
        }
        for other in [&token, &session] {
            assert_eq!(tokens.check_ticket(other), Err(BadTicket::Invalid));
        }
    }

    #[test]
    fn a_ticket_gives_what_its_token_gave_and_no_longer() {
        let tokens = tokens();
        let (_, grant) = grant(&tokens, 10);
        let (ticket, end) = tokens.ticket(&Identity::Person(grant.clone()), None, Utc::now()).unwrap();
        let opened = tokens.check_ticket(&ticket).unwrap();
        assert_eq!((end, opened.identity), (grant.expires_at, Identity::Person(grant)));
        let key = KeyName::new("key_1".to_owned());
        let (ticket, _) = tokens.ticket(&Identity::Service, Some(&key), Utc::now()).unwrap();
        let opened = tokens.check_ticket(&ticket).unwrap();
        assert_eq!((opened.identity, opened.key), (Identity::Service, Some(key)));
        let (old, _) = tokens.ticket(&Identity::Service, None, Utc::now() - 2 * TICKET_TTL).unwrap();
        assert_eq!(tokens.check_ticket(&old), Err(BadTicket::Expired));
    }

    #[test]
    fn a_session_has_an_id_under_its_tokens_and_the_same_end() {
        let tokens = tokens();
        let (_, grant) = grant(&tokens, 60);
        let session = tokens.check_session(&tokens.session(&grant, Utc::now()).unwrap()).unwrap();
        assert_eq!((&session.who, session.expires_at), (&grant.who, grant.expires_at));
        assert!(session.token_id.starts_with(&format!("{}/", grant.token_id)));
    }
}
