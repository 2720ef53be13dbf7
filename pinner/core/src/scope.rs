//! What a token may do.

use std::{fmt, str::FromStr};

/// One permission. A token carries a set of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// List and read pins.
    PinsRead,
    /// Create, replace and delete pins.
    PinsWrite,
    /// Upload content.
    UploadsWrite,
    /// Manage the org: members, tokens.
    OrgAdmin,
    /// Manage the platform: nodes, orgs, keys.
    PlatformAdmin,
}

impl Scope {
    /// Every scope, in the order of documentation.
    pub const ALL: [Self; 5] =
        [Self::PinsRead, Self::PinsWrite, Self::UploadsWrite, Self::OrgAdmin, Self::PlatformAdmin];

    /// The scope as tokens and the command line spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PinsRead => "pins:read",
            Self::PinsWrite => "pins:write",
            Self::UploadsWrite => "uploads:write",
            Self::OrgAdmin => "org:admin",
            Self::PlatformAdmin => "platform:admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that is no scope.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown scope {0:?}; known are pins:read, pins:write, uploads:write, org:admin, platform:admin")]
pub struct UnknownScope(String);

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, UnknownScope> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text).ok_or_else(|| UnknownScope(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scope_survives_its_text() {
        for scope in Scope::ALL {
            assert_eq!(scope.to_string().parse(), Ok(scope));
        }
        assert!("pins:*".parse::<Scope>().unwrap_err().to_string().contains("pins:read"));
    }
}
