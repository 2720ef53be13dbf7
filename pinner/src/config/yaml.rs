//! The YAML file as entries: `metrics: {listen: …}` becomes `metrics.listen`.

use std::path::Path;

use serde_yaml::Value;

use super::{
    ConfigError,
    keys::{self, Form, Key},
    layers::{Entry, Given, Place},
    suggest,
};

/// What the file says. A key without a value (`zone:`) is not set.
pub(super) fn entries(file: &Path, text: &str) -> Result<Vec<Entry>, ConfigError> {
    let root: Value =
        serde_yaml::from_str(text).map_err(|source| ConfigError::FileMalformed { path: file.to_owned(), source })?;
    let mut entries = Vec::new();
    walk(file, String::new(), root, &mut entries)?;
    Ok(entries)
}

/// Nesting ends where the names do: an unknown section is refused, so the depth is that of the deepest key.
fn walk(file: &Path, path: String, value: Value, entries: &mut Vec<Entry>) -> Result<(), ConfigError> {
    let place = Place::Yaml { file: file.to_owned(), path: path.clone() };
    if value.is_null() && (path.is_empty() || is_section(&path)) {
        return Ok(());
    }
    if path.is_empty() || is_section(&path) {
        let Value::Mapping(section) = value else {
            return Err(malformed(path, place, "a section with keys beneath it", &value));
        };
        for (name, value) in section {
            let Value::String(name) = name else {
                return Err(malformed(path, place, "a section with names as keys", &name));
            };
            let below = if path.is_empty() { name } else { format!("{path}.{name}") };
            walk(file, below, value, entries)?;
        }
        return Ok(());
    }

    let Some((key, in_file)) = find(&path) else {
        return Err(ConfigError::Unknown { nearest: nearest(&path), place });
    };
    if value.is_null() {
        return Ok(());
    }
    let expected = match key.form {
        Form::List => "a list of texts",
        Form::Scalar | Form::Secret => "one value",
    };
    let Some(text) = text(&value, key.form) else {
        return Err(malformed(path, place, expected, &value));
    };
    let given = if in_file { Given::InFile(text.into()) } else { Given::Text(text) };
    entries.push(Entry { key, place, given });
    Ok(())
}

fn text(value: &Value, form: Form) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Sequence(items) if form == Form::List => {
            let items: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
            items.map(|items| items.join(","))
        }
        Value::Sequence(_) | Value::Mapping(_) | Value::Tagged(_) | Value::Null => None,
    }
}

/// The key at this path, and whether the path names the file that holds its value.
fn find(path: &str) -> Option<(&'static Key, bool)> {
    keys::ALL.into_iter().find_map(|key| {
        if key.path == path {
            Some((key, false))
        } else if key.is_secret() && key.file_path() == path {
            Some((key, true))
        } else {
            None
        }
    })
}

fn is_section(path: &str) -> bool {
    keys::ALL.iter().any(|key| key.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

fn nearest(path: &str) -> Option<String> {
    let mut names: Vec<String> = Vec::new();
    for key in keys::ALL {
        names.push(key.path.to_owned());
        if key.is_secret() {
            names.push(key.file_path());
        }
        if let Some((section, _)) = key.path.split_once('.') {
            names.push(section.to_owned());
        }
    }
    suggest::nearest(path, names.iter().map(String::as_str)).map(str::to_owned)
}

fn malformed(path: String, place: Place, expected: &'static str, value: &Value) -> ConfigError {
    // A list or section may hold secrets that landed in the wrong place; a lone value of a section cannot be one.
    let found = match value {
        Value::Sequence(_) => "a list".to_owned(),
        Value::Mapping(_) => "a section".to_owned(),
        Value::Tagged(_) => "a tagged value".to_owned(),
        Value::Null => "nothing".to_owned(),
        Value::Bool(_) => "a truth value".to_owned(),
        Value::Number(_) => "a number".to_owned(),
        Value::String(_) => "a text".to_owned(),
    };
    ConfigError::Malformed {
        key: if path.is_empty() { "configuration".to_owned() } else { path },
        place,
        expected,
        found: Some(found),
    }
}
