//! Postgres refuses to run as root. Started as root, we run it under an account that may do nothing else.

use std::path::Path;

use anyhow::Context as _;
use nix::unistd::{User, geteuid};
use tokio::process::Command;

/// An account without privileges.
#[derive(Debug, Clone)]
pub(super) struct Account {
    name: String,
    uid: u32,
    gid: u32,
}

impl Account {
    /// The account to run Postgres under, or `None` when we are an ordinary user ourselves.
    pub(super) fn for_postgres() -> anyhow::Result<Option<Self>> {
        if !geteuid().is_root() {
            return Ok(None);
        }
        for name in ["postgres", "nobody"] {
            if let Some(user) = User::from_name(name).context("look up accounts")? {
                return Ok(Some(Self { name: user.name, uid: user.uid.as_raw(), gid: user.gid.as_raw() }));
            }
        }
        anyhow::bail!(
            "started as root, Postgres must run under another account, and there is neither `postgres` nor `nobody`: \
             add one with `useradd --system postgres`, or start as an ordinary user"
        )
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Makes `command` run as this account.
    pub(super) fn applied_to(&self, command: &mut Command) {
        command.uid(self.uid).gid(self.gid);
    }

    /// Makes `path` belong to this account.
    pub(super) fn own(&self, path: &Path) -> anyhow::Result<()> {
        std::os::unix::fs::chown(path, Some(self.uid), Some(self.gid))
            .with_context(|| format!("give {} to account {}", path.display(), self.name))
    }
}
