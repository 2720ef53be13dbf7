//! `anchorage dev` with the real programs: what it announces, what it survives, what it leaves behind.
//!
//! Needs Postgres, nats-server and ipfs; `make tools` gets them.

#![expect(clippy::unwrap_used, reason = "what fails in a helper fails the test")]

#[path = "dev/running.rs"]
mod running;

use std::{
    process::Command,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use sqlx::{Connection as _, Executor as _, PgConnection};

use running::{Dev, PATIENCE, TestDir, children, command, is_running, pause, send};

#[tokio::test]
async fn it_announces_everything_that_programs_need_to_use_the_service() {
    let dir = TestDir::new();
    let mut dev = Dev::start(3, &dir.state());

    assert_eq!(dev.texts("/endpoints").len(), 3);
    assert_eq!(dev.texts("/endpoints")[0], dev.text("/endpoint"));
    assert_eq!(dev.announcement["replication"], serde_json::json!({"min": 2, "max": 2}));
    assert_eq!(dev.pids().len(), 1 + 1 + 3 + 3);
    for pid in dev.pids() {
        assert!(is_running(pid), "{pid}");
    }
    for endpoint in dev.texts("/endpoints") {
        assert_eq!(dev.get(&format!("{endpoint}/readyz")).await, Some(200));
    }
    for metrics in dev.texts("/metrics") {
        assert_eq!(dev.get(metrics).await, Some(200));
    }
    let swarm_key = std::fs::read_to_string(dev.text("/swarmKey")).unwrap();
    assert!(swarm_key.starts_with("/key/swarm/psk/1.0.0/\n/base16/\n"));

    let mut database = PgConnection::connect(dev.text("/databaseUrl")).await.unwrap();
    for role in ["owner", "migrator", "api", "worker", "metrics"] {
        let sql = format!("set role anchorage_{role}");
        database.execute(sqlx::AssertSqlSafe(sql)).await.unwrap();
        database.execute("reset role").await.unwrap();
    }
    async_nats::connect(dev.text("/natsUrl")).await.unwrap();

    let said = dev.end(Signal::SIGINT);
    assert!(said.contains("anchorage dev: the pinners are ready after "), "{said}");
}

#[tokio::test]
async fn every_accepted_pin_ends_pinned_though_a_pinner_and_a_kubo_are_killed() {
    let dir = TestDir::new();
    let mut dev = Dev::start(3, &dir.state());
    let endpoints: Vec<String> = dev.texts("/endpoints").iter().map(|it| (*it).to_owned()).collect();

    let mut accepted = Vec::new();
    for number in 0..45 {
        let cid = dev.add(0, &format!("file {number} of {}", dev.pid())).await;
        if number == 15 {
            send(dev.pid_of("/pids/pinner/1"), Signal::SIGKILL);
            started_again(&dev, "serve", dev.pid_of("/pids/pinner/1"), 3).await;
        }
        if number == 30 {
            send(dev.pid_of("/pids/kubo/2"), Signal::SIGKILL);
            started_again(&dev, "daemon", dev.pid_of("/pids/kubo/2"), 3).await;
        }
        accepted.extend(dev.pin(&endpoints[number % 3], &cid).await);
    }
    assert!(accepted.len() >= 30, "only {} pins were accepted", accepted.len());
    dev.all_pinned(&accepted).await;

    let said = dev.end(Signal::SIGTERM);
    assert!(said.contains("pinner of node-1 ended (signal: 9 (SIGKILL)); it is started again"), "{said}");
}

/// DESIGN's promise: 2 s.
async fn started_again(dev: &Dev, word: &str, killed: u32, count: usize) {
    let deadline = Instant::now() + Duration::from_secs(2);
    loop {
        let running = children(dev.pid(), word);
        if running.len() == count && !running.contains(&killed) {
            return;
        }
        assert!(Instant::now() < deadline, "{running:?} instead of {killed}");
        pause().await;
    }
}

#[tokio::test]
async fn the_same_state_directory_brings_back_data_and_addresses_and_sigterm_leaves_no_process() {
    let dir = TestDir::new();
    let mut dev = Dev::start(2, &dir.state());
    let cid = dev.add(0, "kept").await;
    let pins = vec![dev.pin(dev.text("/endpoint"), &cid).await.unwrap()];
    dev.all_pinned(&pins).await;
    let before = dev.announcement.clone();

    dev.end(Signal::SIGTERM);
    for pid in dev.pids() {
        assert!(!is_running(pid), "{pid} outlived SIGTERM");
    }

    let again = Dev::start(2, &dir.state());
    for same in ["endpoints", "metrics", "kubo", "databaseUrl", "natsUrl", "swarmKey"] {
        assert_eq!(again.announcement[same], before[same]);
    }
    again.all_pinned(&pins).await;
}

#[tokio::test]
async fn nothing_outlives_it_even_when_it_is_killed() {
    let dir = TestDir::new();
    let mut dev = Dev::start(1, &dir.state());
    assert_eq!(dev.announcement["replication"], serde_json::json!({"min": 1, "max": 1}));

    dev.end(Signal::SIGKILL);
    let deadline = Instant::now() + PATIENCE;
    while dev.pids().into_iter().any(is_running) {
        assert!(Instant::now() < deadline, "some of {:?} outlived SIGKILL", dev.pids());
        pause().await;
    }
    // And it can go on where it was.
    Dev::start(1, &dir.state()).end(Signal::SIGTERM);
}

#[tokio::test]
async fn what_is_in_use_is_refused_by_name_and_the_admin_client_says_what_to_do() {
    let dir = TestDir::new();
    let dev = Dev::start(1, &dir.state());

    let said = failing(&mut command(1, "127.0.0.1:0", &dir.state()), 1);
    let in_use = format!(
        "is in use by `anchorage dev` with pid {}: end that one, or choose another with --state-dir",
        dev.pid()
    );
    assert!(said.contains(&in_use), "{said}");

    let other = TestDir::new();
    let address = dev.text("/endpoint").trim_start_matches("http://");
    let said = failing(&mut command(1, address, &other.state()), 1);
    assert!(said.contains(&format!("is taken by another program, and --listen {address} asks for it")), "{said}");

    let nodes = succeeding(&mut admin(&dev, &["nodes"]));
    assert!(nodes.starts_with("NAME     ZONE   STATE"), "{nodes}");
    assert!(nodes.contains("\nnode-0   a      up"), "{nodes}");
    let cordoned = succeeding(&mut admin(&dev, &["cordon", "node-0", "--reason", "new disk", "-o", "json"]));
    let cordoned: serde_json::Value = serde_json::from_str(&cordoned).unwrap();
    assert_eq!((&cordoned["scheduling"], &cordoned["reason"]), (&"Cordoned".into(), &"new disk".into()));
    let uncordoned = succeeding(&mut admin(&dev, &["uncordon", "node-0"]));
    assert!(uncordoned.contains("node-0   a      up"), "{uncordoned}");
    let drained = succeeding(&mut admin(&dev, &["drain", "node-0", "--wait"]));
    assert!(drained.contains("node-0   a      drained"), "{drained}");
    assert!(succeeding(&mut admin(&dev, &["orgs"])).contains("\nother   org_"));
    let token = succeeding(&mut admin(&dev, &["mint-token", "--org", "acme", "--scopes", "pins:read", "--ttl", "1h"]));
    assert_eq!(token.trim_end().split('.').count(), 3, "{token}");

    let said = failing(&mut admin(&dev, &["drain", "node-9"]), 3);
    assert!(said.contains("NOT_FOUND"), "{said}");
    let said = failing(admin(&dev, &["nodes"]).env("ANCHORAGE_TOKEN", token.trim_end()), 3);
    assert!(said.contains("it takes scope platform:admin"), "{said}");
    let said = failing(admin(&dev, &["nodes"]).env("ANCHORAGE_TOKEN", "nonsense"), 3);
    assert!(said.contains("does not accept the token from variable ANCHORAGE_TOKEN"), "{said}");
    let said = failing(&mut admin(&dev, &["mint-token", "--scopes", "pins:read"]), 2);
    assert!(said.contains("name it with --org"), "{said}");
}

fn admin(dev: &Dev, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_anchorage"));
    command
        .arg("admin")
        .args(args)
        .env("ANCHORAGE_SERVER", dev.text("/endpoint"))
        .env("ANCHORAGE_TOKEN", dev.text("/adminToken"));
    command
}

fn succeeding(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn failing(command: &mut Command, code: i32) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}
