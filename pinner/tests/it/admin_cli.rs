//! `anchorage admin` at a real pinner: tokens, keys and caches.

use crate::stage::{
    client::Client,
    database::Database,
    fake_kubo::FakeKubo,
    pinner::{ADMIN_TOKEN, Pinner, Setup, program},
};
use serde_json::Value;

/// Runs a command with this token; gives exit code, stdout and stderr.
async fn admin_as(pinner: &Pinner, token: &str, args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = program("admin");
    command.args(["--server", &pinner.url]).args(args).env("ANCHORAGE_TOKEN", token);
    let output = command.output().await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

async fn admin(pinner: &Pinner, args: &[&str]) -> (Option<i32>, String, String) {
    admin_as(pinner, ADMIN_TOKEN, args).await
}

#[tokio::test]
async fn tokens_are_minted_and_revoked_and_keys_changed_from_a_terminal() {
    let (database, kubo) = (Database::new().await, FakeKubo::new().await);
    let pinner = Setup::new(&database, &kubo.url).start().await;
    let minting = ["mint-token", "--org", "acme", "--scopes", "pins:read,org:admin"];
    let (code, token, said) = admin(&pinner, &minting).await;
    assert_eq!(code, Some(0), "{said}");
    let id = said.split_whitespace().find(|word| word.starts_with("token_")).unwrap_or_else(|| panic!("no id: {said}"));
    let client = Client::new(&pinner.url, Some(token.trim()));
    assert_eq!(client.get("/pins").await.status, 200);

    let (code, shown, _) = admin(&pinner, &["revoke-token", id]).await;
    assert_eq!((code, shown.contains(id), shown.contains("acme")), (Some(0), true, true), "{shown}");
    assert_eq!(client.get("/pins").await.status, 401);
    let (code, shown, _) = admin(&pinner, &["revoke-token", id, "-o", "json"]).await;
    let revoked: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((code, revoked["id"].as_str(), revoked["revoked"].is_string()), (Some(0), Some(id), true));
    let (code, shown, said) = admin(&pinner, &["revoke-token", "token_01h455vb4pex5vsknk084sn02q"]).await;
    assert_eq!((code, shown.as_str()), (Some(3), ""), "{said}");
    assert!(said.contains("NOT_FOUND"), "{said}");
    let (code, _, said) = admin_as(&pinner, token.trim(), &["rotate-key"]).await;
    assert_eq!(code, Some(3), "a revoked token is refused: {said}");
    assert!(!said.contains(token.trim()), "{said}");

    let (code, shown, said) = admin(&pinner, &["rotate-key"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(shown.contains("active") && shown.contains("next") && said.contains("is announced"), "{shown}{said}");
    let (code, shown, _) = admin(&pinner, &["rotate-key", "-o", "json"]).await;
    let keys: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((code, keys), (Some(0), pinner.admin().get("/admin/v1/keys").await.expect(200)));

    let (code, shown, _) = admin(&pinner, &["prune-denylist", "-o", "json"]).await;
    let pruned: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((code, pruned), (Some(0), serde_json::json!({"pruned": 0, "remaining": 1})));
    let (code, shown, _) = admin(&pinner, &["cache-stats"]).await;
    assert_eq!(code, Some(0));
    for name in ["NODE", "node-0", "token_denylist", "live_nodes", "placement_map", "org_limits"] {
        assert!(shown.contains(name), "{name}: {shown}");
    }
}
