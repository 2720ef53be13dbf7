//! The operator's settings: defaults, then a YAML file, then `ANCHORAGE_OPERATOR_…` variables, then flags.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::Deserialize;

/// Flags and variables of `anchorage-operator run`. What is not given comes from the file, else from the defaults.
#[derive(Args, Clone, Debug, Default)]
pub struct Flags {
    /// YAML file with the same settings in camelCase
    #[arg(long, env = "ANCHORAGE_OPERATOR_CONFIG")]
    pub config: Option<PathBuf>,
    /// Namespace whose clusters are run [default: the operator's own, from POD_NAMESPACE]
    #[arg(long, env = "ANCHORAGE_OPERATOR_NAMESPACE")]
    pub namespace: Option<String>,
    /// Image of pinners where a cluster names none [default: anchorage/anchorage:VERSION]
    #[arg(long, env = "ANCHORAGE_OPERATOR_DEFAULT_IMAGE")]
    pub default_image: Option<String>,
    /// Read Kubernetes Nodes, for zones, cordons and drains of whole Nodes (needs the chart's ClusterRole) [default: false]
    #[arg(long, env = "ANCHORAGE_OPERATOR_NODE_ACCESS", num_args = 0..=1, default_missing_value = "true")]
    pub node_access: Option<bool>,
    /// Address of probes and metrics [default: 0.0.0.0:8081]
    #[arg(long, env = "ANCHORAGE_OPERATOR_LISTEN")]
    pub listen: Option<SocketAddr>,
    /// Name of the Lease that decides who acts [default: anchorage-operator]
    #[arg(long, env = "ANCHORAGE_OPERATOR_LEASE")]
    pub lease: Option<String>,
    /// Address of a cluster's admin API [default: http://{cluster}.{namespace}.svc]
    #[arg(long, env = "ANCHORAGE_OPERATOR_ADMIN_URL")]
    pub admin_url: Option<String>,
    /// Form of the log [default: text]
    #[arg(long, env = "ANCHORAGE_OPERATOR_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,
    /// What is logged: error, warn, info, debug, or per module as in RUST_LOG [default: info]
    #[arg(long, env = "ANCHORAGE_OPERATOR_LOG_LEVEL")]
    pub log_level: Option<String>,
}

/// The same settings in a file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct File {
    namespace: Option<String>,
    default_image: Option<String>,
    node_access: Option<bool>,
    listen: Option<SocketAddr>,
    lease: Option<String>,
    admin_url: Option<String>,
    log_format: Option<LogFormat>,
    log_level: Option<String>,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines, one object per line.
    Json,
}

/// What is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The namespace whose clusters are run.
    pub namespace: String,
    /// Image of pinners where a cluster names none.
    pub default_image: String,
    /// Whether Kubernetes Nodes are read.
    pub node_access: bool,
    /// Address of probes and metrics.
    pub listen: SocketAddr,
    /// Name of the Lease.
    pub lease: String,
    /// Address of a cluster's admin API, with `{cluster}` and `{namespace}`.
    pub admin_url: String,
    /// How log lines look.
    pub log_format: LogFormat,
    /// What is logged.
    pub log_level: String,
}

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file has unknown keys or wrong values.
    #[error("{}: {source}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong, with its place.
        source: serde_yaml::Error,
    },
    /// No namespace is known.
    #[error("no namespace: give --namespace or set ANCHORAGE_OPERATOR_NAMESPACE (the chart sets POD_NAMESPACE)")]
    Namespace,
    /// The address of admin APIs names no cluster.
    #[error("adminUrl is {0:?}, but must contain {{cluster}}, as in http://{{cluster}}.{{namespace}}.svc")]
    AdminUrl(String),
}

impl Settings {
    /// What is in force with these flags; `pod_namespace` is where the operator runs, if that is known.
    ///
    /// # Errors
    /// What is wrong and where.
    pub fn resolve(flags: Flags, pod_namespace: Option<String>) -> Result<Self, SettingsError> {
        let file = flags.config.as_deref().map(read).transpose()?.unwrap_or_default();
        let admin_url =
            flags.admin_url.or(file.admin_url).unwrap_or_else(|| "http://{cluster}.{namespace}.svc".to_owned());
        if !admin_url.contains("{cluster}") {
            return Err(SettingsError::AdminUrl(admin_url));
        }
        Ok(Self {
            namespace: flags.namespace.or(file.namespace).or(pod_namespace).ok_or(SettingsError::Namespace)?,
            default_image: flags
                .default_image
                .or(file.default_image)
                .unwrap_or_else(|| concat!("anchorage/anchorage:", env!("CARGO_PKG_VERSION")).to_owned()),
            node_access: flags.node_access.or(file.node_access).unwrap_or(false),
            listen: flags.listen.or(file.listen).unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 8081))),
            lease: flags.lease.or(file.lease).unwrap_or_else(|| "anchorage-operator".to_owned()),
            admin_url,
            log_format: flags.log_format.or(file.log_format).unwrap_or_default(),
            log_level: flags.log_level.or(file.log_level).unwrap_or_else(|| "info".to_owned()),
        })
    }
}

fn read(path: &Path) -> Result<File, SettingsError> {
    let text = std::fs::read_to_string(path).map_err(|source| SettingsError::Read { path: path.to_owned(), source })?;
    serde_yaml::from_str(&text).map_err(|source| SettingsError::Parse { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let path = std::env::temp_dir().join(format!("anchorage-operator-settings-{}.yaml", std::process::id()));
        std::fs::write(&path, "namespace: from-file\nlease: from-file\n").unwrap();
        let flags = Flags { config: Some(path.clone()), lease: Some("from-flag".to_owned()), ..Flags::default() };
        let settings = Settings::resolve(flags, Some("pod".to_owned())).unwrap();
        std::fs::write(&path, "namspace: x\n").unwrap();
        let typo = Settings::resolve(Flags { config: Some(path.clone()), ..Flags::default() }, None).unwrap_err();
        std::fs::remove_file(&path).unwrap();
        assert_eq!((settings.namespace.as_str(), settings.lease.as_str()), ("from-file", "from-flag"));
        assert_eq!(settings.listen.port(), 8081);
        assert!(typo.to_string().contains("namspace"), "{typo}");
    }

    #[test]
    fn the_namespace_of_the_pod_is_the_last_resort() {
        assert_eq!(Settings::resolve(Flags::default(), Some("pod".to_owned())).unwrap().namespace, "pod");
        assert!(matches!(Settings::resolve(Flags::default(), None), Err(SettingsError::Namespace)));
    }

    #[test]
    fn an_admin_address_without_cluster_is_refused() {
        let flags =
            Flags { admin_url: Some("http://x".to_owned()), namespace: Some("n".to_owned()), ..Flags::default() };
        assert!(matches!(Settings::resolve(flags, None), Err(SettingsError::AdminUrl(_))));
    }
}
