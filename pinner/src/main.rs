//! The program `anchorage`: reads its command line and hands over to the library.

use anchorage::{
    admin, config,
    config::{Config, ConfigError, LogFormat},
    db, dev,
    explain::explain,
    http, serve,
};
use clap::{Parser, Subcommand};
use std::process::ExitCode;
use tracing_subscriber::{layer::SubscriberExt, util::SubscriberInitExt};

/// A multi-tenant IPFS pinning service for Kubernetes.
#[derive(Debug, Parser)]
#[command(name = "anchorage", version, about, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the pinning API and work for the Kubo beside this process.
    Serve(config::ConfigArgs),
    /// Bring the database to the schema of this version. Can be run any number of times.
    Migrate(config::ConfigFileArgs),
    /// Run the whole service on this machine, without Kubernetes.
    Dev(dev::DevArgs),
    /// Administer a running service through its admin API.
    Admin(admin::AdminArgs),
    /// Print the configuration in force and where each value comes from; secrets are masked.
    Config(config::ConfigArgs),
    /// Print the OpenAPI description of the HTTP API.
    Openapi,
}

#[tokio::main]
async fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(args) => match load(&args).and_then(|config| config.for_serve()) {
            Ok(config) => {
                start_log(&config.log);
                finish(serve::run(config).await)
            }
            Err(error) => misconfigured(&error),
        },
        Command::Migrate(args) => match load(&args.into()).and_then(|config| config.for_migrate()) {
            Ok(config) => {
                start_log(&config.log);
                finish(db::migrate::run(&config).await.map_err(anyhow::Error::from))
            }
            Err(error) => misconfigured(&error),
        },
        Command::Config(args) => match load(&args) {
            Ok(config) => {
                print!("{}", config.to_yaml());
                ExitCode::SUCCESS
            }
            Err(error) => misconfigured(&error),
        },
        Command::Dev(args) => finish(dev::run(args).await),
        Command::Admin(args) => admin::run(args).await,
        Command::Openapi => {
            println!("{}", http::openapi::json());
            ExitCode::SUCCESS
        }
    }
}

fn load(args: &config::ConfigArgs) -> Result<Config, ConfigError> {
    Config::load(args, config::process_variables())
}

fn misconfigured(error: &ConfigError) -> ExitCode {
    eprintln!("anchorage: {error}");
    ExitCode::from(2)
}

fn finish(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("anchorage: {}", explain(&error));
            ExitCode::FAILURE
        }
    }
}

/// Logs to stderr: stdout belongs to what a command prints.
fn start_log(log: &config::Log) {
    // The web server repeats for each worker what our own line says once.
    let level = log.level.clone().with_target("actix_server", tracing::Level::WARN);
    let registry = tracing_subscriber::registry().with(level);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match log.format {
        LogFormat::Text => registry.with(layer.with_ansi(false)).init(),
        LogFormat::Json => registry.with(layer.json()).init(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
