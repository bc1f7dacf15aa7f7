//! Who runs a command, for the audit log.

use nix::unistd::{Uid, User, gethostname};

/// `user@host`; behind `sudo`, `root(user)@host`. It is what the machine says, and no proof.
pub(crate) fn name() -> String {
    let user = User::from_uid(Uid::current()).ok().flatten();
    let user = user.map_or_else(|| Uid::current().to_string(), |user| user.name);
    let host = gethostname().ok().and_then(|host| host.into_string().ok()).unwrap_or_default();
    match std::env::var("SUDO_USER") {
        Ok(behind) if behind != user => format!("{user}({behind})@{host}"),
        _ => format!("{user}@{host}"),
    }
}
