//! Lays the layers over each other: which text each key has in the end, and from where.

use std::{collections::BTreeMap, fmt, fs, io, path::PathBuf};

use super::{
    ConfigArgs, ConfigError, NetworkMode,
    keys::{self, Key},
    variables, yaml,
};

/// Where a value stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Nowhere: it is the default.
    Default,
    /// At a path of the YAML file.
    Yaml {
        /// The file.
        file: PathBuf,
        /// Dots between the levels.
        path: String,
    },
    /// In a variable of this name.
    Variable(String),
    /// In a flag, dashes included.
    Flag(&'static str),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Default => f.write_str("default"),
            Place::Yaml { file, path } => write!(f, "{path} in {}", file.display()),
            Place::Variable(name) => write!(f, "variable {name}"),
            Place::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// One layer's word on one key.
pub(super) struct Entry {
    pub(super) key: &'static Key,
    pub(super) place: Place,
    pub(super) given: Given,
}

/// What a layer gives for a key.
pub(super) enum Given {
    /// The value.
    Text(String),
    /// The file that holds it; only of secrets.
    InFile(PathBuf),
}

/// The value that a key has in the end.
pub(super) struct Setting {
    pub(super) text: String,
    pub(super) place: Place,
    /// The file that the text was read from, if the place only names one.
    pub(super) file: Option<PathBuf>,
}

/// Every key that has a value; the texts are not yet parsed.
pub(super) struct Settings(BTreeMap<&'static str, Setting>);

impl Settings {
    pub(super) fn get(&self, key: &Key) -> Option<&Setting> {
        self.0.get(key.path)
    }
}

/// Places only: the texts may be secret.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = self.0.iter().map(|(path, setting)| (path, &setting.place));
        f.debug_map().entries(places).finish()
    }
}

/// Reads all layers.
pub(super) fn read(
    args: &ConfigArgs,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<Settings, ConfigError> {
    let variables: BTreeMap<String, String> = variables.into_iter().collect();
    let mut entries = Vec::new();
    if let Some((path, place)) = file(args, &variables) {
        match fs::read_to_string(&path) {
            Ok(text) => entries.extend(yaml::entries(&path, &text)?),
            Err(source) => {
                return Err(ConfigError::FileUnreadable { path, place, source });
            }
        }
    }
    entries.extend(variables::entries(&variables)?);
    entries.extend(flags(args));
    merge(entries, |path| fs::read_to_string(path))
}

/// The YAML file, and what names it.
fn file(args: &ConfigArgs, variables: &BTreeMap<String, String>) -> Option<(PathBuf, Place)> {
    let flag = args.config.clone().map(|path| (path, Place::Flag("--config")));
    let variable = variables
        .get(variables::CONFIG_FILE)
        .filter(|path| !path.is_empty())
        .map(|path| (PathBuf::from(path), Place::Variable(variables::CONFIG_FILE.to_owned())));
    flag.or(variable)
}

fn flags(args: &ConfigArgs) -> Vec<Entry> {
    [
        (&keys::LISTEN, "--listen", &args.listen),
        (&keys::METRICS_LISTEN, "--metrics-listen", &args.metrics_listen),
        (&keys::NODE_NAME, "--node", &args.node),
    ]
    .into_iter()
    .filter_map(|(key, name, value)| Some(Entry { key, place: Place::Flag(name), given: Given::Text(value.clone()?) }))
    .collect()
}

/// Later entries win over earlier ones, all of them over the defaults. A secret is given in one form only, whatever the
/// layers: which of two was meant cannot be known, and a guess would log in with the wrong one.
fn merge(entries: Vec<Entry>, read_file: impl Fn(&PathBuf) -> io::Result<String>) -> Result<Settings, ConfigError> {
    let mut winners: BTreeMap<&'static str, Entry> = BTreeMap::new();
    for entry in entries {
        let path = entry.key.path;
        if let Some(earlier) = winners.insert(path, entry) {
            let later = &winners[path];
            let same_form = matches!(
                (&earlier.given, &later.given),
                (Given::Text(_), Given::Text(_)) | (Given::InFile(_), Given::InFile(_))
            );
            if !same_form {
                return Err(ConfigError::SecretTwice { key: path, first: earlier.place, second: later.place.clone() });
            }
        }
    }

    let mut settings = BTreeMap::new();
    for (path, Entry { place, given, .. }) in winners {
        let (text, file) = match given {
            Given::Text(text) => (text, None),
            Given::InFile(file) => match read_file(&file) {
                Ok(text) => (without_last_newline(text), Some(file)),
                Err(source) => {
                    return Err(ConfigError::SecretUnreadable { key: path, path: file, place, source });
                }
            },
        };
        settings.insert(path, Setting { text, place, file });
    }
    add_defaults(&mut settings);
    Ok(Settings(settings))
}

fn add_defaults(settings: &mut BTreeMap<&'static str, Setting>) {
    let private =
        settings.get(keys::NETWORK_MODE.path).is_some_and(|mode| mode.text == NetworkMode::Private.to_string());
    for key in keys::ALL {
        let default = if key.path == keys::NETWORK_ALLOW_CIDRS.path && private {
            Some(keys::PRIVATE_ALLOW_CIDRS)
        } else {
            key.default
        };
        if let Some(default) = default {
            settings.entry(key.path).or_insert_with(|| Setting {
                text: default.to_owned(),
                place: Place::Default,
                file: None,
            });
        }
    }
}

/// Editors and `echo` end a file with a newline that is not part of the secret; no more than that one is taken off.
fn without_last_newline(mut text: String) -> String {
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    text
}
