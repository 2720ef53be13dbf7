//! A text that must not be seen.

use std::fmt;

/// A secret's text. It has no `Display`, and `Debug` prints a mask: reading it takes the visible word [`Secret::expose`].
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// What stands in a secret's place wherever it would be printed.
    pub const MASK: &'static str = "********";

    /// Hides `text` from now on.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the one call that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::MASK)
    }
}
