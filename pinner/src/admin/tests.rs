//! Everything but the request itself, which `tests/dev.rs` makes to a real pinner.

mod fleet;

use clap::Parser;
use reqwest::StatusCode;
use serde_json::json;

use super::{
    command::progress,
    credentials::{Server, Token},
    failure::Failure,
    table::{self, Node},
    *,
};
use crate::config::Secret;

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    admin: AdminArgs,
}

fn parse(line: &str) -> Result<AdminArgs, clap::Error> {
    Cli::try_parse_from(line.split(' ')).map(|cli| cli.admin)
}

fn server() -> Server {
    Server::choose(None, |_| None).unwrap()
}

fn answered(status: u16, body: &str) -> Failure {
    let token = Token { secret: Secret::new("hush"), origin: "variable ANCHORAGE_TOKEN".to_owned() };
    Failure::answered(&server(), &token, StatusCode::from_u16(status).unwrap(), body)
}

#[test]
fn global_flags_stand_before_or_after_the_command() {
    let args = parse("admin -o json drain demo-0 --wait --server http://a").unwrap();
    assert_eq!(args.output, Output::Json);
    assert_eq!(args.server.as_deref(), Some("http://a"));
    let AdminCommand::Drain { node, wait: true, timeout } = args.command else {
        panic!("{:?}", args.command);
    };
    assert_eq!(node.node, "demo-0");
    assert_eq!(timeout, Duration::from_secs(24 * 60 * 60));
}

#[test]
fn what_is_not_offered_or_not_known_is_wrong_usage() {
    for line in [
        "admin",
        "admin drain",
        "admin maintenance",
        "admin maintenance pause",
        "admin maintenance on --for 2",
        "admin maintenance off --for 2h",
        "admin rebalance now",
        "admin revoke-token",
        "admin rotate-key k1",
        "admin mint-token --org acme",
        "admin mint-token --org acme --scopes pins:everything",
        "admin mint-token --org acme --scopes pins:read --ttl 30",
        "admin set-limits --org acme",
        "admin set-limits --max-pins 1",
        "admin set-limits --org acme --max-pins -1",
        "admin set-limits --org acme --max-pins many",
        "admin set-limits --org acme --max-bytes 1.5GiB",
        "admin nodes -o yaml",
    ] {
        assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
    }
}

#[test]
fn the_server_is_that_of_the_flag_then_the_variable_then_the_default() {
    let variable = |name: &str| (name == "ANCHORAGE_SERVER").then(|| "http://b:1".to_owned());
    let flag = Server::choose(Some("http://a".to_owned()), variable).unwrap();
    assert_eq!((flag.url.as_str(), flag.origin), ("http://a/", "from --server"));
    let variable = Server::choose(None, variable).unwrap();
    assert_eq!((variable.url.as_str(), variable.origin), ("http://b:1/", "from variable ANCHORAGE_SERVER"));
    assert_eq!(server().url.as_str(), "http://127.0.0.1:8080/");
}

#[test]
fn a_server_that_is_no_http_url_is_wrong_usage_with_the_cure() {
    let refusal = |text: &str| Server::choose(Some(text.to_owned()), |_| None).unwrap_err();
    assert_eq!(
        refusal("localhost:8080"),
        Failure::Usage("server \"localhost:8080\" (from --server) is no URL like http://127.0.0.1:8080".to_owned())
    );
    assert!(refusal("https://pins.example").to_string().contains("kubectl port-forward"));
}

#[test]
fn the_token_is_the_first_that_is_found_and_remembers_where() {
    let file = std::env::temp_dir().join(format!("anchorage-admin-{}", std::process::id()));
    std::fs::write(&file, "in-file\n").unwrap();
    let path = file.to_str().unwrap().to_owned();
    let variables = |set: &'static [&'static str]| {
        let path = path.clone();
        move |name: &str| {
            let value = if name.ends_with("_FILE") { path.clone() } else { name.to_lowercase() };
            set.contains(&name).then_some(value)
        }
    };
    let all = &["ANCHORAGE_TOKEN", "ANCHORAGE_ADMIN_TOKEN", "ANCHORAGE_ADMIN_TOKEN_FILE"];
    let chosen = |flag: Option<PathBuf>, set| {
        let token = Token::choose(flag, variables(set)).unwrap();
        (token.secret.expose().to_owned(), token.origin.replace(&path, "PATH"))
    };
    let expected = |token: &str, origin: &str| (token.to_owned(), origin.to_owned());
    assert_eq!(chosen(Some(file.clone()), all), expected("in-file", "file PATH (--token-file)"));
    assert_eq!(chosen(None, all), expected("anchorage_token", "variable ANCHORAGE_TOKEN"));
    assert_eq!(chosen(None, &all[1..]), expected("anchorage_admin_token", "variable ANCHORAGE_ADMIN_TOKEN"));
    assert_eq!(chosen(None, &all[2..]), expected("in-file", "file PATH (variable ANCHORAGE_ADMIN_TOKEN_FILE)"));
    std::fs::remove_file(&file).unwrap();

    let missing = Token::choose(Some(file), |_| None).unwrap_err().to_string();
    assert!(missing.ends_with("(--token-file): No such file or directory (os error 2)"), "{missing}");
    let none = Token::choose(None, |_| None).unwrap_err();
    assert_eq!(
        none,
        Failure::Usage("no token: set variable ANCHORAGE_TOKEN, or name a file with --token-file".to_owned())
    );
}

#[test]
fn refusals_name_the_token_that_was_used_and_never_show_it() {
    let body = r#"{"error":{"reason":"UNAUTHORIZED","details":"the token has expired"}}"#;
    assert_eq!(
        answered(401, body),
        Failure::Refused(
            "http://127.0.0.1:8080 does not accept the token from variable ANCHORAGE_TOKEN (UNAUTHORIZED: the token has expired); \
             give one with scope platform:admin by --token-file or variable ANCHORAGE_TOKEN"
                .to_owned()
        )
    );
    let body = r#"{"error":{"reason":"NOT_FOUND","details":"no node demo-9"}}"#;
    assert_eq!(answered(404, body), Failure::Refused("NOT_FOUND: no node demo-9".to_owned()));
    assert!(matches!(answered(403, ""), Failure::Refused(text) if text.contains("scope platform:admin")));
    assert!(matches!(answered(409, "{}"), Failure::Refused(_)));
}

#[test]
fn what_may_work_later_has_failed_and_is_not_refused() {
    for status in [408, 429, 500, 503] {
        assert!(matches!(answered(status, ""), Failure::Failed(_)), "{status}");
    }
    let elsewhere = answered(404, "<html>");
    assert!(matches!(&elsewhere, Failure::Failed(text) if text.contains("has no admin API")), "{elsewhere}");
}

#[test]
fn nodes_are_shown_as_a_table() {
    let node = |name: &str, state: &str, reason: Option<&str>| -> Node {
        let placements = json!({"queued": 1, "pinning": 0, "pinned": 1234, "failed": 0, "unpinning": 2});
        let node = json!({
            "id": "node_1", "name": name, "zone": "a", "live": true, "state": state, "scheduling": "Active",
            "reason": reason, "kuboReady": state == "up", "placements": placements,
        });
        serde_json::from_value(node).unwrap()
    };
    let table = table::nodes(&[node("demo-0", "up", None), node("demo-10", "drained", Some("new\u{1b}[2J disk"))]);
    insta::assert_snapshot!(table, @r"
    NAME      ZONE   STATE     KUBO    PINNED   PINNING   QUEUED   FAILED   UNPINNING   REASON
    demo-0    a      up        ready   1234     0         1        0        2           -
    demo-10   a      drained   down    1234     0         1        0        2           new [2J disk
    ");
}

#[test]
fn a_limit_is_a_number_or_none_and_what_is_not_named_stays() {
    let limits = |line: &str| match parse(line).unwrap().command {
        AdminCommand::SetLimits { org, max_pins, max_bytes } => (org, max_pins, max_bytes),
        other => panic!("{other:?}"),
    };
    assert_eq!(limits("admin set-limits --org a --max-pins 7"), ("a".into(), Some(Limit::Most(7)), None));
    let both = limits("admin set-limits --org a --max-pins none --max-bytes 10GiB");
    assert_eq!(both, ("a".into(), Some(Limit::None), Some(Limit::Most(10 << 30))));
}

#[test]
fn orgs_are_shown_with_what_they_hold_and_may_hold() {
    let org = |name: &str, limits: serde_json::Value| -> table::Org {
        let usage = json!({"pins": 12, "bytes": 1_572_864});
        let org = json!({"id": "org_1", "name": name, "created": "2026-11-22T16:35:00.000Z", "limits": limits, "usage": usage});
        serde_json::from_value(org).unwrap()
    };
    let none = json!({"maxPins": null, "maxBytes": null});
    let table = table::orgs(&[org("acme", none), org("demo", json!({"maxPins": 100, "maxBytes": 10_737_418_240_u64}))]);
    insta::assert_snapshot!(table, @r"
    NAME   ID      PINS   MAX-PINS   BYTES    MAX-BYTES   CREATED
    acme   org_1   12     none       1.5MiB   none        2026-11-22T16:35:00.000Z
    demo   org_1   12     100        1.5MiB   10.0GiB     2026-11-22T16:35:00.000Z
    ");
}

#[test]
fn progress_of_a_drain_says_what_blocks_it() {
    let drain = |blocked_by: &[&str]| -> table::Drain {
        let drain =
            json!({"placementsTotal": 9, "placementsRemaining": 4, "bytesRemaining": 77, "blockedBy": blocked_by});
        serde_json::from_value(drain).unwrap()
    };
    assert_eq!(progress("demo-0", &drain(&[])), "draining demo-0: 4 of 9 placements and 77 bytes remain");
    assert_eq!(
        progress("demo-0", &drain(&["no room", "maintenance"])),
        "draining demo-0: 4 of 9 placements and 77 bytes remain; blocked by: no room; maintenance"
    );
}
