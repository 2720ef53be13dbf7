//! Postgres: makes the database cluster once, runs it, makes the database.

use std::{fs, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use nix::sys::signal::Signal;
use sqlx::{Connection as _, Executor as _, PgConnection, postgres::PgConnectOptions};
use tokio::time::timeout;

use super::{
    Stage,
    child::{self, Child, Program},
    setup::Setup,
    state::empty_dir_beside,
};

/// The database that the service lives in.
pub(super) const DATABASE: &str = "anchorage";

/// The data directory as the program's own open file 7, see [`in_data_dir`].
const DATA_DIR: &str = "/proc/self/fd/7";

/// Between the sessions of the pinners there is room for migrations, tests and a person.
const SPARE_CONNECTIONS: usize = 40;

/// Starts Postgres and waits until the database is there.
pub(super) async fn start(stage: &Stage, slot: &mut Option<Child>) -> anyhow::Result<()> {
    let Stage { programs, state, setup, .. } = stage;
    if !fs::exists(state.postgres_data()).context("look for the database")? {
        initialise(stage).await?;
    }
    let pool = usize::try_from(stage.config.database.pool_size).unwrap_or(usize::MAX);
    let connections = setup.nodes.len() * pool * 3 + SPARE_CONNECTIONS;
    let settings = [
        "listen_addresses=127.0.0.1".to_owned(),
        format!("port={}", setup.postgres.port()),
        "unix_socket_directories=".to_owned(),
        format!("max_connections={connections}"),
    ];
    let mut args = vec![programs.postgres_bin.join("postgres").into(), "-D".into(), DATA_DIR.into()];
    for setting in settings {
        args.extend(["-c".into(), setting.into()]);
    }
    let program = Program {
        name: "Postgres".to_owned(),
        file: "/bin/sh".into(),
        args: in_data_dir("exec \"$@\"", args),
        variables: Vec::new(),
        stdin: Some(state.postgres_data()),
        account: programs.postgres_account.clone(),
        log: state.log("postgres"),
        // Fast shutdown: sessions are closed, everything is written.
        stop: Signal::SIGINT,
        grace: Duration::from_secs(15),
    };
    let child = slot.insert(Child::start(program, Arc::clone(&stage.roster)));
    child.ready(async || has_database(setup).await.is_ok()).await
}

/// URL of a role on the service's database, which is found at `address`.
pub(super) fn url(address: SocketAddr, role: &str, password: &str) -> String {
    format!("postgres://{role}:{password}@{address}/{DATABASE}")
}

/// Runs `script` with the data directory, which comes as open file on stdin, as file 7.
///
/// Postgres may run under an account that cannot walk to the state directory (a temporary directory is closed to
/// others, so is root's home). An open directory needs no walking. It is moved away from stdin because `initdb` puts a
/// pipe there for the programs that it runs itself.
fn in_data_dir(script: &str, args: Vec<std::ffi::OsString>) -> Vec<std::ffi::OsString> {
    let script = format!("exec 7<&0 0</dev/null; {script}");
    let mut all = vec!["-c".into(), script.into(), "sh".into()];
    all.extend(args);
    all
}

/// Makes the database cluster beside its place and moves it there when it is whole.
async fn initialise(stage: &Stage) -> anyhow::Result<()> {
    let Stage { programs, state, .. } = stage;
    let data = state.postgres_data();
    let new = empty_dir_beside(&data)?;
    if let Some(account) = &programs.postgres_account {
        account.own(&new)?;
    }
    let mut args = vec![programs.postgres_bin.join("initdb").into(), "-D".into(), DATA_DIR.into()];
    args.extend(
        [
            "--username=postgres",
            "--pwfile=/dev/stdin",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        ]
        .map(Into::into),
    );
    let program = Program {
        name: "initdb".to_owned(),
        file: "/bin/sh".into(),
        // The password comes through stdin: arguments are for everybody to read.
        args: in_data_dir("exec \"$@\" <<END\n$PASSWORD\nEND\n", args),
        variables: vec![("PASSWORD".to_owned(), stage.setup.secrets.postgres.clone())],
        stdin: Some(new.clone()),
        account: programs.postgres_account.clone(),
        log: state.log("initdb"),
        stop: Signal::SIGTERM,
        grace: Duration::ZERO,
    };
    child::run(&program, &stage.roster).await?;
    fs::rename(&new, &data).with_context(|| format!("move the database to {}", data.display()))
}

async fn has_database(setup: &Setup) -> anyhow::Result<()> {
    let options = PgConnectOptions::new()
        .host("127.0.0.1")
        .port(setup.postgres.port())
        .username("postgres")
        .password(&setup.secrets.postgres)
        .database("postgres");
    let connect = PgConnection::connect_with(&options);
    let mut connection = timeout(Duration::from_secs(2), connect).await??;
    let exists: bool = sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
        .bind(DATABASE)
        .fetch_one(&mut connection)
        .await?;
    if !exists {
        // The template of `initdb` has no connections, so nothing can be in the way.
        connection.execute("create database anchorage").await?;
    }
    connection.close().await?;
    Ok(())
}
