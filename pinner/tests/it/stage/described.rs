//! Whether `/openapi.json` says what the service does: every answer that a test sees is looked up there.

use reqwest::Method;
use serde_json::Value;
use std::sync::LazyLock;

static DESCRIPTION: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(&anchorage::http::openapi::json()).expect("it is JSON"));

/// Fails if a described operation answered with a status that its description does not list. What is not described, as a
/// method that a path does not take, is for others.
pub(crate) fn check(method: &Method, path: &str, status: u16) {
    let Some((template, operation)) = operation(method, path) else { return };
    let listed = operation["responses"].as_object().expect("an operation has responses");
    assert!(
        listed.contains_key(&status.to_string()),
        "{method} {template} answered {status}, and /openapi.json lists only {:?}",
        listed.keys()
    );
}

fn operation(method: &Method, path: &str) -> Option<(&'static str, &'static Value)> {
    // The server leaves the body out of an answer to HEAD, and that is all.
    let method = if method == Method::HEAD { "get".to_owned() } else { method.as_str().to_lowercase() };
    let paths = DESCRIPTION["paths"].as_object().expect("a description has paths");
    // A path without a parameter before one that has another's place for it.
    let (template, item) =
        paths.iter().filter(|(template, _)| fits(template, path)).min_by_key(|(template, _)| template.contains('{'))?;
    Some((template.as_str(), item.get(method)?))
}

fn fits(template: &str, path: &str) -> bool {
    let (wanted, given): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
    wanted.len() == given.len()
        && wanted.iter().zip(given).all(|(want, give)| *want == give || (want.starts_with('{') && !give.is_empty()))
}
