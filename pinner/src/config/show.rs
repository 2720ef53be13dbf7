//! What is in force, as YAML that could be loaded again but for the masked secrets.

use std::fmt::Write as _;

use serde_yaml::Value;

use super::{
    Secret,
    keys::{self, Form, Key},
    layers::{Setting, Settings},
};

pub(super) fn yaml(settings: &Settings) -> String {
    let mut out = String::new();
    let mut open_section = "";
    for key in keys::ALL {
        let (section, name) = key.path.split_once('.').unwrap_or(("", key.path));
        if section != open_section {
            let _ = writeln!(out, "{section}:");
            open_section = section;
        }
        let indent = if section.is_empty() { "" } else { "  " };
        let _ = match settings.get(key) {
            Some(setting) => writeln!(out, "{indent}{name}: {} # {}", value(key, setting), origin(setting)),
            None => writeln!(out, "{indent}# {name}: not set"),
        };
    }
    out
}

fn value(key: &Key, setting: &Setting) -> String {
    match key.form {
        Form::Secret => format!("{:?}", Secret::MASK),
        Form::Scalar => scalar(&setting.text),
        Form::List => {
            let items: Vec<String> = setting
                .text
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .map(|item| format!("{item:?}"))
                .collect();
            format!("[{}]", items.join(", "))
        }
    }
}

/// The text as YAML would write it: quoted where it could be taken for something else. Numbers and truth values stay such.
fn scalar(text: &str) -> String {
    if text.parse::<u64>().is_ok() || text.parse::<bool>().is_ok() {
        return text.to_owned();
    }
    serde_yaml::to_string(&Value::from(text)).expect("a text can always be written").trim_end().to_owned()
}

/// A line break in a file's name must not end the comment.
fn origin(setting: &Setting) -> String {
    let origin = match &setting.file {
        Some(file) => format!("{}, read from {}", setting.place, file.display()),
        None => setting.place.to_string(),
    };
    origin.replace(|c: char| c.is_control(), " ")
}
