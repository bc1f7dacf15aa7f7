//! Under which account Postgres runs, for it refuses to be root, and how that account gets at its folder.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::{Uid, User};

use crate::failure::{Failure, OrFail};

/// The folder as a program sees it that runs under another account: a descriptor that it inherits. That account may
/// not be let through the folders above (`/root` is closed to it), and with a descriptor it need not be.
const INHERITED: &str = "/proc/self/fd/7";
/// Moves the folder from standard input, where it is handed over, to the descriptor above.
const INHERIT: &str = r#"exec "$@" 7<&0 0</dev/null"#;

/// A user and its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Account {
    uid: u32,
    gid: u32,
}

/// A folder and the account whose programs work in it.
#[derive(Debug, Clone)]
pub(crate) struct Quarters {
    folder: PathBuf,
    account: Option<Account>,
}

impl Quarters {
    /// Our own account's, unless we are root: then those of whoever has the folder already, else of `postgres`, else
    /// of `nobody`.
    pub(crate) fn in_folder(folder: PathBuf) -> Result<Self, Failure> {
        if !Uid::effective().is_root() {
            return Ok(Self { folder, account: None });
        }
        let owner = fs::metadata(&folder).or_fail(format!("look at {}", folder.display()))?;
        if owner.uid() != 0 {
            let account = Account { uid: owner.uid(), gid: owner.gid() };
            return Ok(Self { folder, account: Some(account) });
        }
        let account = ["postgres", "nobody"]
            .into_iter()
            .find_map(|name| User::from_name(name).ok().flatten())
            .map(|user| Account { uid: user.uid.as_raw(), gid: user.gid.as_raw() })
            .ok_or_else(|| {
                Failure::new("Postgres cannot run as root and there is no user postgres: add one")
            })?;
        let quarters = Self { folder, account: Some(account) };
        quarters.own(&quarters.folder)?;
        Ok(quarters)
    }

    /// A path in the folder, for ourselves.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The same path, for a program that [`Self::command`] starts.
    pub(crate) fn inner_path(&self, name: &str) -> OsString {
        let folder = if self.account.is_some() { Path::new(INHERITED) } else { &self.folder };
        folder.join(name).into_os_string()
    }

    /// Makes a file the account's.
    pub(crate) fn own(&self, path: &Path) -> Result<(), Failure> {
        let Some(account) = self.account else { return Ok(()) };
        std::os::unix::fs::chown(path, Some(account.uid), Some(account.gid))
            .or_fail(format!("hand {} to the account that Postgres runs under", path.display()))
    }

    /// A command that runs under the account, with nothing of our environment. Its standard input is taken.
    pub(crate) fn command(&self, program: &Path) -> Result<Command, Failure> {
        let mut command = match self.account {
            None => Command::new(program),
            Some(account) => {
                let mut command = Command::new("/bin/sh");
                command.args(["-c", INHERIT, "sh"]).arg(program).uid(account.uid).gid(account.gid);
                command
            }
        };
        let input = match self.account {
            None => Stdio::null(),
            Some(_) => File::open(&self.folder).or_fail(format!("open {}", self.folder.display()))?.into(),
        };
        command.stdin(input).current_dir("/").env_clear().env("PATH", "/usr/bin:/bin");
        Ok(command)
    }
}
