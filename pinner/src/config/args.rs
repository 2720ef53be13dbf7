//! The flags, and the one place that looks at the process' own variables.

use std::path::PathBuf;

use super::keys::PREFIX;

/// Flags of the commands that run with the whole configuration.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ConfigArgs {
    /// YAML file to read [variable: ANCHORAGE_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Address of the API [variable: ANCHORAGE_LISTEN] [default: 0.0.0.0:8080]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// Address of the metrics [variable: ANCHORAGE_METRICS_LISTEN] [default: 0.0.0.0:9090]
    #[arg(long, value_name = "ADDRESS")]
    pub metrics_listen: Option<String>,
    /// Name of the node that this pinner is [variable: ANCHORAGE_NODE_NAME]
    #[arg(long, value_name = "NAME")]
    pub node: Option<String>,
}

/// Flags of a command that only reads the configuration's files and variables.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ConfigFileArgs {
    /// YAML file to read [variable: ANCHORAGE_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl From<ConfigFileArgs> for ConfigArgs {
    fn from(args: ConfigFileArgs) -> Self {
        Self { config: args.config, ..Self::default() }
    }
}

/// The `ANCHORAGE_…` variables of this process. Bytes that are no UTF-8 become `U+FFFD`, which
/// [`Config::load`](super::Config::load) refuses in every value.
#[must_use]
pub fn process_variables() -> Vec<(String, String)> {
    std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
        .filter(|(name, _)| name.starts_with(PREFIX))
        .collect()
}
