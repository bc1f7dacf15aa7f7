//! `turnlog token`: a token alone on stdout, once it stands in the audit log that there is one.

use std::time::Duration;

use chrono::Utc;
use clap::Subcommand;
use shared::audit::{Audit, Credential, Look, Looker, What};
use shared::auth::{Tokens, Who};
use shared::config::AuthSettings;
use shared::ids::{AdminId, CompanyId, ParticipantId};

use super::open_log;
use crate::failure::{Failure, OrFail};
use crate::operator;
use crate::target::Target;

/// Arguments of `token`.
#[derive(Debug, clap::Args)]
pub(crate) struct TokenArgs {
    #[command(subcommand)]
    who: Holder,
    /// How long it is good: a number with s, m, h or d [default: TOKEN_TTL_SECONDS]
    #[arg(long, value_name = "TIME", value_parser = parse_ttl, global = true)]
    ttl: Option<Duration>,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Subcommand)]
enum Holder {
    /// For the person who talks
    Participant {
        /// The participant's id (research_id)
        id: String,
    },
    /// For a person who watches calls of their company
    Admin {
        /// The admin's id
        id: String,
        /// The company's id
        #[arg(long)]
        company: String,
    },
    /// For a person who exports
    Researcher {
        /// The researcher's id
        id: String,
    },
}

/// Runs the command.
pub(crate) async fn run(args: TokenArgs) -> Result<(), Failure> {
    let environment = args.target.environment()?;
    let (auth, usual) = environment.read(|env| {
        (AuthSettings::from_env(env), env.seconds("TOKEN_TTL_SECONDS", Duration::from_secs(24 * 3600)))
    })?;
    let who = match args.who {
        Holder::Participant { id } => {
            Who::Participant(ParticipantId::try_from(id).map_err(|error| Failure::new(error.to_string()))?)
        }
        Holder::Admin { id, company } => Who::Admin {
            id: AdminId::try_from(id).map_err(|error| Failure::new(format!("the id {error}")))?,
            company: CompanyId::try_from(company)
                .map_err(|error| Failure::new(format!("the company {error}")))?,
        },
        Holder::Researcher { id } => Who::Researcher(id),
    };
    let tokens = Tokens::new(&auth);
    let token = tokens.issue(&who, args.ttl.unwrap_or(usual), Utc::now()).or_fail("make the token")?;
    let grant = tokens.check(&token).or_fail("make the token")?;
    let log = open_log(&environment).await?;
    let issued = Look::by_operator(&operator::name(), What::TokenIssued);
    let issued =
        issued.issued(Credential::Token, &Looker::person(&who), Some(&grant.token_id), grant.expires_at);
    Audit::new(&log).record(&issued).await.or_fail("record the token, so there is none")?;
    log.close().await;
    println!("{token}");
    Ok(())
}

/// How long: a number with its unit.
pub(super) fn parse_ttl(text: &str) -> Result<Duration, String> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let seconds = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 24 * 3_600,
        _ => 0,
    };
    let number: u64 = text[..text.len() - unit.len()].parse().unwrap_or(0);
    // A century is as good as for ever, and no date overflows.
    match number.checked_mul(seconds) {
        Some(total) if (1..=100 * 366 * 24 * 3_600).contains(&total) => Ok(Duration::from_secs(total)),
        _ => Err("say a number with s, m, h or d, for example 90s or 12h".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_unit() {
        for (text, seconds) in [("90", 90), ("90s", 90), ("15m", 900), ("12h", 43_200), ("7d", 604_800)] {
            assert_eq!(parse_ttl(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "0", "h", "-1h", "1w", "1 h", "99999999999999999999d", "999999999d"] {
            assert!(parse_ttl(text).is_err(), "{text}");
        }
    }
}
