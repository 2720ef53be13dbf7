//! The program from outside: exit codes and messages of commands that need nothing to run.

#![expect(clippy::unwrap_used, reason = "what fails in a helper fails the test")]

use std::{
    net::TcpListener,
    process::{Command, Output},
};

/// `anchorage` with these arguments and no variables but these.
fn anchorage(args: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_anchorage"))
        .args(args)
        .env_clear()
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

#[test]
fn config_prints_what_is_in_force_without_secrets() {
    let output = anchorage(
        &["config", "--listen", "127.0.0.1:1"],
        &[("ANCHORAGE_ADMIN_TOKEN", "hush-hush-hush-hush-hush-hush-hush")],
    );
    assert!(output.status.success(), "{}", stderr(&output));
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.contains("listen: 127.0.0.1:1 # flag --listen\n"), "{shown}");
    assert!(shown.contains("  token: \"********\" # variable ANCHORAGE_ADMIN_TOKEN\n"), "{shown}");
    assert!(!shown.contains("hush"), "{shown}");
}

#[test]
fn a_wrong_configuration_ends_every_command_with_2_and_the_cure() {
    for command in ["serve", "migrate", "config"] {
        let output = anchorage(&[command], &[("ANCHORAGE_REPLICATION_MINIMUM", "1")]);
        assert_eq!(output.status.code(), Some(2), "{command}");
        assert_eq!(
            stderr(&output),
            "anchorage: variable ANCHORAGE_REPLICATION_MINIMUM is not a configuration key; did you mean ANCHORAGE_REPLICATION_MIN?\n"
        );
    }
    let output = anchorage(&["serve"], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("`anchorage serve` needs node.name (set variable ANCHORAGE_NODE_NAME"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_secret_is_no_flag() {
    for flag in ["--admin-token", "--database-api-url", "--tokens-root", "--nats-url"] {
        let output = anchorage(&["serve", flag, "x"], &[]);
        assert_eq!(output.status.code(), Some(2), "{flag}");
    }
}

#[test]
fn admin_without_a_token_or_a_server_says_how_to_name_them() {
    let output = anchorage(&["admin", "nodes"], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("set variable ANCHORAGE_TOKEN"), "{}", stderr(&output));

    // Bound and not listening for HTTP would hang; freed again it refuses.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = format!("http://{free}");
    let output = anchorage(&["admin", "nodes"], &[("ANCHORAGE_TOKEN", "x"), ("ANCHORAGE_SERVER", &server)]);
    assert_eq!(output.status.code(), Some(1));
    let expected = format!(
        "anchorage admin: cannot reach {server} (from variable ANCHORAGE_SERVER): Connection refused (os error 111); \
         name a running pinner with --server or variable ANCHORAGE_SERVER\n"
    );
    assert_eq!(stderr(&output), expected);
}

#[test]
fn dev_names_all_programs_that_are_missing_and_the_command_that_gets_them() {
    let output = anchorage(&["dev", "--nodes", "1"], &[("PATH", "/nowhere"), ("XDG_CACHE_HOME", "/nowhere")]);
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.contains("cannot find ipfs (Kubo), nats-server"), "{said}");
    assert!(said.contains("`make tools` gets them"), "{said}");
}
