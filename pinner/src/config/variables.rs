//! The `ANCHORAGE_…` variables as entries. Unknown ones are refused, except those that others put there: Kubernetes adds
//! a family of variables to every container for each Service of its namespace, and a Service may well be called `anchorage`.

use std::collections::BTreeMap;

use super::{
    ConfigError,
    keys::{self, Form, PREFIX},
    layers::{Entry, Given, Place},
    suggest,
};

/// Names the YAML file.
pub(super) const CONFIG_FILE: &str = "ANCHORAGE_CONFIG";

/// Ours, but read elsewhere: by the admin client, by `anchorage dev`, by the lab.
const ELSEWHERE: [&str; 4] = [CONFIG_FILE, "ANCHORAGE_SERVER", "ANCHORAGE_TOKEN", "ANCHORAGE_TOOLS_DIR"];
const LAB_PREFIX: &str = "ANCHORAGE_LAB_";

/// What the variables say.
pub(super) fn entries(variables: &BTreeMap<String, String>) -> Result<Vec<Entry>, ConfigError> {
    let mut entries = Vec::new();
    for (name, value) in variables {
        if !name.starts_with(PREFIX) || is_elsewhere(name) || is_from_kubernetes(name) {
            continue;
        }
        let place = Place::Variable(name.clone());
        let found = keys::ALL.into_iter().find_map(|key| {
            if key.variable() == *name {
                Some((key, Given::Text(value.clone())))
            } else if key.is_secret() && key.file_variable() == *name {
                Some((key, Given::InFile(value.into())))
            } else {
                None
            }
        });
        let Some((key, given)) = found else {
            return Err(ConfigError::Unknown { nearest: nearest(name), place });
        };
        if value.contains(char::REPLACEMENT_CHARACTER) {
            return Err(ConfigError::Malformed {
                key: key.path.to_owned(),
                place,
                expected: "UTF-8 text",
                found: None,
            });
        }
        entries.push(Entry { key, place, given });
    }
    Ok(entries)
}

fn is_elsewhere(name: &str) -> bool {
    ELSEWHERE.contains(&name) || name.starts_with(LAB_PREFIX)
}

/// `<SERVICE>_SERVICE_HOST`, `<SERVICE>_SERVICE_PORT[_<NAME>]`, `<SERVICE>_PORT` and
/// `<SERVICE>_PORT_<n>_<PROTOCOL>[_PROTO|_PORT|_ADDR]`; no key of ours ends like one of these.
fn is_from_kubernetes(name: &str) -> bool {
    let service = name.ends_with("_SERVICE_HOST") || name.ends_with("_SERVICE_PORT") || name.contains("_SERVICE_PORT_");
    let port = name.ends_with("_PORT")
        || name.rsplit_once("_PORT_").is_some_and(|(_, rest)| {
            let mut parts = rest.split('_');
            let number = parts.next().is_some_and(|part| part.parse::<u16>().is_ok());
            let protocol = parts.next().is_some_and(|part| matches!(part, "TCP" | "UDP" | "SCTP"));
            let detail = parts.next().is_none_or(|part| matches!(part, "PROTO" | "ADDR"));
            number && protocol && detail && parts.next().is_none()
        });
    service || port
}

fn nearest(name: &str) -> Option<String> {
    let mut names: Vec<String> = ELSEWHERE.map(str::to_owned).to_vec();
    for key in keys::ALL {
        names.push(key.variable());
        if key.form == Form::Secret {
            names.push(key.file_variable());
        }
    }
    suggest::nearest(name, names.iter().map(String::as_str)).map(str::to_owned)
}
