//! The Postgres of the service under test: what it promises, the role and table of the anchors, and pgbench, the field's
//! own anchor, which measures them.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, Result, ensure};
use sqlx::{Connection as _, PgConnection, postgres::PgConnectOptions};
use tokio::process::Command;

use super::{figures::Spread, service::Service};

const ROLE: &str = "bench";
const PASSWORD: &str = "bench";

/// A superuser's session.
///
/// # Errors
/// When Postgres does not answer.
pub async fn superuser(service: &Service) -> Result<PgConnection> {
    PgConnection::connect(service.database_url()).await.context("connect to Postgres")
}

/// Refuses to measure on a Postgres that may lose what it committed. Gives the settings in words.
///
/// # Errors
/// When one of the three settings is off.
pub async fn durable(session: &mut PgConnection) -> Result<String> {
    let settings: Vec<(String, String)> = sqlx::query_as(
        "select name, setting from pg_settings
         where name in ('fsync', 'synchronous_commit', 'full_page_writes') order by name",
    )
    .fetch_all(&mut *session)
    .await?;
    for (name, setting) in &settings {
        ensure!(setting == "on", "{name} is {setting}: what it commits can be lost, so there is nothing to measure");
    }
    let version: String = sqlx::query_scalar("select split_part(version(), ' ', 2)").fetch_one(session).await?;
    Ok(format!("Postgres {version}, fsync, synchronous_commit and full_page_writes on"))
}

/// Makes the role of the anchors: an ordinary one, under the same policies as the API's.
///
/// # Errors
/// When Postgres refuses.
pub async fn make_role(session: &mut PgConnection) -> Result<()> {
    let role = format!("create role {ROLE} login password '{PASSWORD}' in role anchorage_api");
    sqlx::raw_sql(sqlx::AssertSqlSafe(role)).execute(session).await.context("make the anchors' role")?;
    Ok(())
}

/// pgbench as the anchors' role.
#[derive(Debug)]
pub struct Pgbench {
    program: PathBuf,
    port: String,
    scratch: PathBuf,
}

/// What a script for pgbench gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// Transactions a second.
    pub rate: f64,
    /// Milliseconds of each, where they were asked for.
    pub millis: Vec<f64>,
}

/// How much pgbench is to do.
#[derive(Debug, Clone, Copy)]
pub enum Amount {
    /// For so long.
    Seconds(u32),
    /// So many transactions, with the time of each.
    Transactions(usize),
}

impl Pgbench {
    /// The pgbench that belongs to the Postgres of the service.
    ///
    /// # Errors
    /// When there is none.
    pub fn of(service: &Service) -> Result<Self> {
        let postgres = std::fs::read_link(format!("/proc/{}/exe", service.pids().postgres));
        let postgres = postgres.context("find the program of the running Postgres")?;
        let program = postgres.with_file_name("pgbench");
        ensure!(
            program.is_file(),
            "{} is missing: install the package of Postgres that brings it (Debian's postgresql-15 does)",
            program.display()
        );
        let options: PgConnectOptions = service.database_url().parse().context("read the database's URL")?;
        let scratch = std::env::temp_dir().join(format!("anchorage-bench-{}", std::process::id()));
        std::fs::create_dir_all(&scratch).with_context(|| format!("make {}", scratch.display()))?;
        Ok(Self { program, port: options.get_port().to_string(), scratch })
    }

    /// Runs `script` with prepared statements.
    ///
    /// # Errors
    /// What pgbench or Postgres says of the script.
    pub async fn run(&self, script: &str, clients: usize, amount: Amount) -> Result<Measured> {
        let file = self.scratch.join("script.sql");
        std::fs::write(&file, script).with_context(|| format!("write {}", file.display()))?;
        let log = self.scratch.join("log");
        let mut command = Command::new(&self.program);
        command.args(["-n", "-M", "prepared", "-h", "127.0.0.1", "-U", ROLE, "-p", &self.port]);
        command.args(["-c", &clients.to_string(), "-j", &clients.min(2).to_string()]).arg("-f").arg(&file);
        match amount {
            Amount::Seconds(seconds) => command.args(["-T", &seconds.to_string()]),
            Amount::Transactions(count) => command.args(["-l", "-t", &count.to_string()]).arg("--log-prefix").arg(&log),
        };
        command.arg("anchorage").env("PGPASSWORD", PASSWORD).stdin(Stdio::null()).kill_on_drop(true);
        let output = command.output().await.context("start pgbench")?;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "pgbench: {}", String::from_utf8_lossy(&output.stderr).trim());
        let rate = rate(&said).with_context(|| format!("pgbench says no rate: {said}"))?;
        Ok(Measured { rate, millis: take_logs(&self.scratch)? })
    }
}

impl Drop for Pgbench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.scratch);
    }
}

impl Measured {
    /// Of the times of all transactions.
    ///
    /// # Panics
    /// When they were not asked for.
    pub fn spread(&self) -> Spread {
        Spread::of(&self.millis)
    }
}

/// The rate in pgbench's last lines: `tps = 5835.12 (without initial connection time)`.
fn rate(said: &str) -> Option<f64> {
    said.lines().find_map(|line| line.strip_prefix("tps = "))?.split_whitespace().next()?.parse().ok()
}

/// Reads and removes the logs that pgbench left, one a thread.
fn take_logs(scratch: &Path) -> Result<Vec<f64>> {
    let mut millis = Vec::new();
    for entry in std::fs::read_dir(scratch).context("look for pgbench's logs")? {
        let path = entry.context("look for pgbench's logs")?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("log.")) {
            let log = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
            millis.extend(log.lines().filter_map(time));
            std::fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
        }
    }
    Ok(millis)
}

/// Milliseconds of a transaction: the third field of a line is microseconds.
fn time(line: &str) -> Option<f64> {
    Some(line.split(' ').nth(2)?.parse::<f64>().ok()? / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pgbench_says_is_read() {
        let said = "latency average = 1.5 ms\ntps = 5835.12 (without initial connection time)\n";
        assert_eq!(rate(said), Some(5835.12));
        assert_eq!(rate("nothing"), None);
        assert_eq!(time("0 3 1250 0 1780000000 123456"), Some(1.25));
        assert_eq!(time("0 3"), None);
    }
}
