//! Why a configuration is refused. Every message names the place and what to do; none holds a secret.

use std::{io, path::PathBuf};

use super::layers::Place;

/// A configuration that cannot be used; the process ends with exit code 2.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The YAML file cannot be read.
    #[error("configuration file {path}: {source} (named by {place})")]
    FileUnreadable {
        /// The file.
        path: PathBuf,
        /// The flag or variable that names it.
        place: Place,
        /// What the system says.
        source: io::Error,
    },
    /// The file is no YAML.
    #[error("configuration file {path} is not YAML: {source}")]
    FileMalformed {
        /// The file.
        path: PathBuf,
        /// What and where.
        source: serde_yaml::Error,
    },
    /// A name that no key has.
    #[error("{place} is not a configuration key{}", meant(.nearest))]
    Unknown {
        /// Where it stands.
        place: Place,
        /// The name that was probably meant.
        nearest: Option<String>,
    },
    /// A value of the wrong kind.
    #[error("{key}: {place} must be {expected}{}", instead_of(.found))]
    Malformed {
        /// YAML path of the key.
        key: String,
        /// Where the value stands.
        place: Place,
        /// What it should look like.
        expected: &'static str,
        /// The value, unless it is secret.
        found: Option<String>,
    },
    /// A secret that is set directly and by file.
    #[error("{key} is set twice, by {first} and by {second}: remove one of them")]
    SecretTwice {
        /// YAML path of the key.
        key: &'static str,
        /// One place.
        first: Place,
        /// The other place.
        second: Place,
    },
    /// A secret's file cannot be read.
    #[error("{key}: file {path}: {source} (named by {place})")]
    SecretUnreadable {
        /// YAML path of the key.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Where the file is named.
        place: Place,
        /// What the system says.
        source: io::Error,
    },
    /// Two values that cannot both be meant.
    #[error("{first} and {second} contradict each other: {cure}")]
    Contradiction {
        /// One key with its value and place.
        first: String,
        /// The other.
        second: String,
        /// What to change.
        cure: &'static str,
    },
    /// What a command cannot do without.
    #[error("`anchorage {command}` needs {}", .keys.join("; "))]
    Missing {
        /// The command.
        command: &'static str,
        /// Each missing key with the ways to set it.
        keys: Vec<String>,
    },
}

fn meant(nearest: &Option<String>) -> String {
    match nearest {
        Some(name) => format!("; did you mean {name}?"),
        None => "; `anchorage config` prints all keys".to_owned(),
    }
}

fn instead_of(value: &Option<String>) -> String {
    match value {
        Some(value) => format!(", not {value:?}"),
        None => String::new(),
    }
}
