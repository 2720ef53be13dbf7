//! `anchorage admin …`: the admin API from a terminal.
//!
//! Every command is one request to `/admin/v1` and one answer on stdout: a table for people, or with `-o json` the API's
//! own object. Messages go to stderr and name the cure. Nothing here knows the service's inside; what a command may do is
//! decided by the server.

mod byte_size;
mod client;
mod command;
mod credentials;
mod failure;
mod table;
mod time_span;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{ArgGroup, Args, Subcommand, ValueEnum, builder::PossibleValuesParser};

/// Flags and command of `anchorage admin`.
#[derive(Debug, Args)]
pub struct AdminArgs {
    /// Pinner to talk to [variable: ANCHORAGE_SERVER] [default: http://127.0.0.1:8080]
    #[arg(long, global = true, value_name = "URL")]
    server: Option<String>,
    /// File with the token. Without it: variables ANCHORAGE_TOKEN, ANCHORAGE_ADMIN_TOKEN, ANCHORAGE_ADMIN_TOKEN_FILE,
    /// the first that is set
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// A table for people, or the admin API's own objects
    #[arg(short, long, global = true, value_name = "FORM", default_value = "table")]
    output: Output,
    #[command(subcommand)]
    command: AdminCommand,
}

/// What the answer looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
}

#[derive(Debug, Subcommand)]
enum AdminCommand {
    /// Lists the nodes and what they hold
    Nodes,
    /// Gives a node no new placements; what it holds stays
    Cordon(NodeArgs),
    /// Lets a node take part again, and cancels a drain
    Uncordon(NodeArgs),
    /// Moves everything away from a node; returns once the request is accepted
    Drain {
        #[command(flatten)]
        node: NodeArgs,
        /// Show progress until the node is drained
        #[arg(long)]
        wait: bool,
        /// With --wait: give up after this long, as 90m or 12h. The drain itself goes on
        #[arg(long, value_name = "TIME", default_value = "24h", value_parser = time_span::parse)]
        timeout: Duration,
    },
    /// Pauses moves, repair and garbage collection; pins are accepted and served meanwhile
    #[command(subcommand)]
    Maintenance(Pause),
    /// Shows what would move so that nodes hold their shares, and moves it
    Rebalance {
        /// Show it and move nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Lists which pinners are there, by which map they go and who leads
    ClusterPresences,
    /// Shows what the caches of the pinner that answers hold and how often they answered
    CacheStats,
    /// Lists the orgs, what they hold and may hold
    Orgs,
    /// Limits what an org may hold; what it holds already stays
    #[command(group(ArgGroup::new("limit").required(true).multiple(true).args(["max_pins", "max_bytes"])))]
    SetLimits {
        /// The org's name
        #[arg(long, value_name = "NAME")]
        org: String,
        /// The most pins, or none for no limit
        #[arg(long, value_name = "N|none", value_parser = limit_of_pins)]
        max_pins: Option<Limit>,
        /// The most bytes of content, each content counted once, as 10GiB; or none for no limit
        #[arg(long, value_name = "SIZE|none", value_parser = limit_of_bytes)]
        max_bytes: Option<Limit>,
    },
    /// Mints an API token and prints it alone on stdout; an org that is not there yet is made
    MintToken {
        /// The org that the token is for; needed for all scopes but platform:admin
        #[arg(long, value_name = "NAME")]
        org: Option<String>,
        /// What the token may do, commas between
        #[arg(
            long,
            value_delimiter = ',',
            required = true,
            value_name = "SCOPES",
            value_parser = PossibleValuesParser::new(SCOPES)
        )]
        scopes: Vec<String>,
        /// How long it is good, as 12h or 30d; at most 366d [default: 30d]
        #[arg(long, value_name = "TIME", value_parser = time_span::parse)]
        ttl: Option<Duration>,
    },
    /// Revokes a token: it is refused everywhere within five seconds
    RevokeToken {
        /// The token's id, as mint-token told it
        #[arg(value_name = "ID")]
        token: String,
    },
    /// Changes the key that signs tokens; tokens that older keys signed stay good
    RotateKey,
    /// Clears the denylist of tokens that have ended by themselves
    PruneDenylist,
}

/// What to do about the pause.
#[derive(Debug, Subcommand)]
enum Pause {
    /// Begins a pause, or changes the one that there is
    On {
        /// How long, as 30m or 2h [default: the server's]
        #[arg(long = "for", value_name = "TIME", value_parser = time_span::parse)]
        length: Option<Duration>,
        /// Why, for whoever looks at it later
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Ends the pause
    Off,
    /// Shows whether there is a pause
    Status,
}

/// A limit to set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limit {
    None,
    Most(u64),
}

fn limit_of_pins(text: &str) -> Result<Limit, String> {
    let expected = || "a limit of pins is a whole number, or none".to_owned();
    let number = || text.parse().ok().filter(|pins: &u64| i64::try_from(*pins).is_ok());
    if text == "none" { Ok(Limit::None) } else { number().map(Limit::Most).ok_or_else(expected) }
}

fn limit_of_bytes(text: &str) -> Result<Limit, String> {
    if text == "none" { Ok(Limit::None) } else { Ok(Limit::Most(byte_size::parse(text)?)) }
}

#[derive(Debug, Args)]
struct NodeArgs {
    /// Name of the node, as `nodes` lists it
    node: String,
    /// Why, for whoever looks at the node later
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

const PLATFORM_SCOPE: &str = "platform:admin";
const SCOPES: [&str; 5] = ["pins:read", "pins:write", "uploads:write", "org:admin", PLATFORM_SCOPE];

/// Runs one command. Exit code 0: done; 1: failed; 2: wrong usage; 3: refused by the server.
pub async fn run(args: AdminArgs) -> ExitCode {
    match command::run(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("anchorage admin: {failure}");
            failure.exit_code()
        }
    }
}

#[cfg(test)]
mod tests;
