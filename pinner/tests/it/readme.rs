//! The README's curl commands, run as they stand there.

use crate::{
    stage::{cids, containers::KUBOS, database::Database, pinner::Setup},
    uploads::car,
};
use serde_json::json;
use std::{fs, path::Path};
use tokio::process::Command;

const README: &str = include_str!("../../../README.md");

/// The commands of the README's shell blocks that begin with `curl`.
fn commands() -> Vec<&'static str> {
    let blocks = README.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default());
    blocks.flat_map(str::lines).filter(|line| line.starts_with("curl ")).collect()
}

#[tokio::test]
async fn every_curl_command_of_the_readme_works_as_it_stands_there() {
    let database = Database::new().await;
    let pinner = Setup::new(&database, &KUBOS[0]).start().await;
    let scopes = ["pins:read", "pins:write", "uploads:write"];
    let minted = pinner.admin().post("/admin/v1/tokens", &json!({"org": "acme", "scopes": scopes})).await.expect(201);
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("readme");
    fs::create_dir_all(&place).unwrap();
    fs::write(place.join("photo.jpg"), "a photo").unwrap();
    let block = cids::fresh_block();
    let cid = cids::raw(&block);
    fs::write(place.join("site.car"), car(&[&cid], &[(&cid, &block)])).unwrap();

    let commands = commands();
    assert!(commands.len() >= 7, "the README has other commands than this test knows: {commands:?}");
    for command in commands {
        let run = Command::new("bash")
            .args(["-ec", &command.replace("CID", &cids::fresh())])
            .current_dir(&place)
            .env("ANCHORAGE", &pinner.url)
            .env("TOKEN", minted["token"].as_str().unwrap())
            .output()
            .await
            .unwrap();
        assert!(run.status.success(), "{command}\n{}", String::from_utf8_lossy(&[run.stdout, run.stderr].concat()));
    }
    let exported = fs::read_to_string(place.join("pins.ndjson")).unwrap();
    assert_eq!(exported.lines().count(), 3, "a pin, a photo and a site: {exported}");
}
