//! Which server to talk to, and with which token; and who said so, for the message when it does not work.

use std::path::{Path, PathBuf};

use reqwest::Url;

use super::failure::Failure;
use crate::config::Secret;

const DEFAULT_SERVER: &str = "http://127.0.0.1:8080";

/// A server and what named it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) url: Url,
    pub(super) origin: &'static str,
}

impl Server {
    /// What messages call it: as it is typed.
    pub(super) fn name(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }

    /// The flag, else the variable, else the default.
    pub(super) fn choose(flag: Option<String>, variable: impl Fn(&str) -> Option<String>) -> Result<Self, Failure> {
        let (text, origin) = match (flag, variable("ANCHORAGE_SERVER")) {
            (Some(flag), _) => (flag, "from --server"),
            (None, Some(variable)) => (variable, "from variable ANCHORAGE_SERVER"),
            (None, None) => (DEFAULT_SERVER.to_owned(), "the default"),
        };
        let url = Url::parse(&text).ok().filter(Url::has_host);
        match url {
            Some(url) if url.scheme() == "http" => Ok(Self { url, origin }),
            Some(url) if url.scheme() == "https" => Err(Failure::Usage(format!(
                "server {text} ({origin}): the admin API is spoken in the cluster only, where it is http; \
                 `kubectl port-forward service/<cluster> 8080:80` makes it http://127.0.0.1:8080"
            ))),
            _ => Err(Failure::Usage(format!("server {text:?} ({origin}) is no URL like {DEFAULT_SERVER}"))),
        }
    }
}

/// A token and where it was found.
#[derive(Debug)]
pub(super) struct Token {
    pub(super) secret: Secret,
    pub(super) origin: String,
}

impl Token {
    /// The flag's file, else the first variable that is set. The last two are there in a pinner's container.
    pub(super) fn choose(flag: Option<PathBuf>, variable: impl Fn(&str) -> Option<String>) -> Result<Self, Failure> {
        if let Some(file) = flag {
            return Self::in_file(&file, "--token-file");
        }
        for name in ["ANCHORAGE_TOKEN", "ANCHORAGE_ADMIN_TOKEN"] {
            if let Some(token) = variable(name) {
                return Self::new(&token, format!("variable {name}"));
            }
        }
        if let Some(file) = variable("ANCHORAGE_ADMIN_TOKEN_FILE") {
            return Self::in_file(Path::new(&file), "variable ANCHORAGE_ADMIN_TOKEN_FILE");
        }
        Err(Failure::Usage("no token: set variable ANCHORAGE_TOKEN, or name a file with --token-file".to_owned()))
    }

    fn in_file(file: &Path, named_by: &str) -> Result<Self, Failure> {
        match std::fs::read_to_string(file) {
            Ok(text) => Self::new(&text, format!("file {} ({named_by})", file.display())),
            Err(error) => Err(Failure::Usage(format!("token file {} ({named_by}): {error}", file.display()))),
        }
    }

    fn new(text: &str, origin: String) -> Result<Self, Failure> {
        let text = text.trim();
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Failure::Usage(format!("{origin} holds no token: a token is one line without spaces")));
        }
        Ok(Self { secret: Secret::new(text), origin })
    }
}
