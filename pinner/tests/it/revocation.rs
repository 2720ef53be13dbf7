//! Tokens that are taken back: refused everywhere within five seconds, whatever is away, and nothing else is refused.

use crate::stage::{
    cids,
    client::{Answer, Client, is},
    containers::{NATS, nats_url},
    database::Database,
    fake_kubo::FakeKubo,
    pinner::{Pinner, Setup},
    proxy::Proxy,
    wait::{SOON, until},
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// What the project promises.
const EVERYWHERE_WITHIN: Duration = Duration::from_secs(5);

/// Mints a token; gives its id and a client with it.
async fn mint(pinner: &Pinner, org: &str, scopes: &[&str]) -> (String, Client) {
    let minted = pinner.admin().post("/admin/v1/tokens", &json!({"org": org, "scopes": scopes})).await.expect(201);
    (text(&minted, "id"), Client::new(&pinner.url, minted["token"].as_str()))
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_else(|| panic!("no {key}: {value}")).to_owned()
}

/// Waits until this client is refused, whose token was revoked at that time; gives how long that took. Fails if it is
/// accepted when it should be refused everywhere; how long an answer takes is up to the machine.
async fn refused(client: &Client, revoked: Instant) -> Duration {
    until("the token is refused", SOON, async || {
        let asked = revoked.elapsed();
        let status = client.get("/pins").await.status;
        assert!(status != 200 || asked < EVERYWHERE_WITHIN, "accepted {asked:?} after it was revoked");
        (status == 401).then_some(())
    })
    .await;
    revoked.elapsed()
}

#[tokio::test]
async fn a_revoked_token_is_refused_here_at_once_and_everywhere_within_five_seconds_also_without_nats() {
    let (database, kubo) = (Database::new().await, FakeKubo::new().await);
    let nats = nats_url(*NATS);
    let proxy = Proxy::to(*NATS).await;
    let setup = Setup::new(&database, &kubo.url).with("ANCHORAGE_NATS_URL", &nats);
    let proxied = nats.replace(&format!(":{}", *NATS), &format!(":{}", proxy.port));
    let other = setup.sibling("node-1", &kubo.url).with("ANCHORAGE_NATS_URL", proxied);
    let (here, there) = (setup.start().await, other.start().await);
    there.wait_for("[+]nats ok", 200).await;
    let (_, stays) = mint(&here, "acme", &["pins:read"]).await;

    let mut delays = Vec::new();
    for _ in 0..12 {
        let (id, client) = mint(&here, "acme", &["pins:read"]).await;
        assert_eq!(client.at(&there.url).get("/pins").await.status, 200, "or what follows would prove nothing");
        let revoked = here.admin().delete(&format!("/admin/v1/tokens/{id}")).await.expect(200);
        let since = Instant::now();
        assert_eq!((text(&revoked, "id"), text(&revoked, "org")), (id.clone(), "acme".into()));
        let first = client.get("/pins").await;
        is(&first, 401, "UNAUTHORIZED", "Bearer", "revoked");
        assert_eq!(first.body, client.with_token("no token").get("/pins").await.body, "nobody is told why");
        delays.push(refused(&client.at(&there.url), since).await);
        let again = here.admin().delete(&format!("/admin/v1/tokens/{id}")).await.expect(200);
        assert_eq!(again, revoked, "asking twice is asking once");
    }
    // By looking once a second alone every second one would take longer than half a second.
    delays.sort();
    assert!(delays[6] < Duration::from_millis(250), "NATS makes it quick: {delays:?}");

    proxy.cut();
    there.wait_for("[-]nats", 200).await;
    for _ in 0..3 {
        let (id, client) = mint(&here, "acme", &["pins:read"]).await;
        here.admin().delete(&format!("/admin/v1/tokens/{id}")).await.expect(200);
        refused(&client.at(&there.url), Instant::now()).await;
    }
    for pinner in [&here, &there] {
        assert_eq!(stays.at(&pinner.url).get("/pins").await.status, 200, "nothing else is refused");
    }
    for unknown in ["token_01h455vb4pex5vsknk084sn02q", "org_01h455vb4pex5vsknk084sn02q", "x"] {
        let answer = here.admin().delete(&format!("/admin/v1/tokens/{unknown}")).await;
        is(&answer, 404, "NOT_FOUND", "token", unknown);
    }

    // One that was not there when it happened knows it from the start.
    let (id, client) = mint(&here, "acme", &["pins:read"]).await;
    there.kill().await;
    here.admin().delete(&format!("/admin/v1/tokens/{id}")).await.expect(200);
    let there = other.start().await;
    assert_eq!(client.at(&there.url).get("/pins").await.status, 401);
}

#[tokio::test]
async fn a_pinner_that_cannot_read_the_denylist_accepts_no_token_until_it_can() {
    let (database, kubo) = (Database::new().await, FakeKubo::new().await);
    let proxy = Proxy::to(database.port).await;
    let pinner = Setup::new(&database.through(proxy.port), &kubo.url).start().await;
    let minted = pinner.admin().post("/admin/v1/tokens", &json!({"scopes": ["platform:admin"]})).await.expect(201);
    let client = pinner.admin().with_token(minted["token"].as_str().unwrap());
    // What needs no database but to know whether the token was revoked.
    let look = async || client.get("/admin/v1/cache-stats").await;
    look().await.expect(200);

    // Cut off, and silent, which is worse: no connection ever breaks.
    for silent in [false, true] {
        if silent {
            proxy.hold_answers()
        } else {
            proxy.cut()
        }
        // What it knows by now is the last that it hears.
        let since = Instant::now();
        until("no token is accepted", SOON, async || {
            let asked = since.elapsed();
            let status = look().await.status;
            assert!(status == 503 || asked < EVERYWHERE_WITHIN, "{status} {asked:?} after the last word");
            (status == 503).then_some(())
        })
        .await;
        let answer = look().await;
        is(&answer, 503, "SERVICE_UNAVAILABLE", "revoked", "cut off");
        assert!(answer.headers.contains_key("retry-after"), "{answer:?}");
        assert_eq!(pinner.admin().get("/admin/v1/cache-stats").await.status, 200, "the deployment's own has no end");
        if silent {
            proxy.break_off()
        } else {
            proxy.mend()
        }
        until("it is accepted again", SOON, async || (look().await.status == 200).then_some(())).await;
    }

    // A process that was held up knows nothing of the time between.
    pinner.signal(Signal::SIGSTOP);
    let (id, superuser) = (text(&minted, "id"), database.pool("postgres"));
    let id: pinner_core::id::TokenId = id.parse().unwrap();
    sqlx::query("select admin_revoke_token($1)").bind(id.uuid()).execute(&superuser).await.unwrap();
    tokio::time::sleep(EVERYWHERE_WITHIN).await;
    let asked = tokio::spawn({
        // A connection of its own: one that was kept may end before the server knows.
        let client = Client::new(&pinner.url, minted["token"].as_str());
        async move { client.get("/admin/v1/cache-stats").await.status }
    });
    pinner.signal(Signal::SIGCONT);
    assert_eq!(asked.await.unwrap(), 401);
}

#[tokio::test]
async fn an_org_mints_lists_and_revokes_its_own_tokens_and_nobody_elses() {
    let (database, kubo) = (Database::new().await, FakeKubo::new().await);
    let pinner = Setup::new(&database, &kubo.url).start().await;
    let (admin_id, admin) = mint(&pinner, "acme", &["org:admin"]).await;
    let (other_id, other) = mint(&pinner, "other", &["org:admin", "pins:read"]).await;
    let (_, reader) = mint(&pinner, "acme", &["pins:read"]).await;

    let wish = json!({"scopes": ["pins:read", "pins:write"], "ttlSeconds": 3600});
    let minted = admin.post("/api/v1/tokens", &wish).await.expect(201);
    let (id, writer) = (text(&minted, "id"), admin.with_token(minted["token"].as_str().unwrap()));
    assert_eq!(minted["org"]["name"], "acme");
    writer.pin(&cids::fresh()).await;

    let all = admin.get("/api/v1/tokens").await.expect(200);
    let ids: Vec<_> = all["tokens"].as_array().unwrap().iter().map(|token| text(token, "id")).collect();
    assert_eq!((ids.len(), &ids[0], &ids[2]), (3, &admin_id, &id), "in order, and the other's is not there: {all}");
    assert!(all.get("next").is_none() && !all.to_string().contains("revoked"), "{all}");
    let mut paged = Vec::new();
    let mut path = "/api/v1/tokens?limit=2".to_owned();
    loop {
        let page = admin.get(&path).await.expect(200);
        paged.extend(page["tokens"].as_array().unwrap().iter().map(|token| text(token, "id")));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/api/v1/tokens?limit=2&after={next}");
    }
    assert_eq!(paged, ids);

    let theirs = admin.delete(&format!("/api/v1/tokens/{other_id}")).await;
    is(&theirs, 404, "NOT_FOUND", "token", "another org's");
    let none = admin.delete("/api/v1/tokens/token_01h455vb4pex5vsknk084sn02q").await;
    assert_eq!((theirs.status, theirs.body), (none.status, none.body), "another's is as none");
    assert_eq!(other.get("/pins").await.status, 200);

    let revoked = admin.delete(&format!("/api/v1/tokens/{id}")).await.expect(200);
    is(&writer.get("/pins").await, 401, "UNAUTHORIZED", "Bearer", "revoked by its org");
    let listed = admin.get("/api/v1/tokens").await.expect(200);
    assert_eq!(listed["tokens"][2], revoked);
    assert!(revoked["revoked"].is_string() && listed["tokens"][0].get("revoked").is_none(), "{listed}");

    let denied: [(&str, Answer); 3] = [
        ("list", reader.get("/api/v1/tokens").await),
        ("mint", reader.post("/api/v1/tokens", &wish).await),
        ("revoke", reader.delete(&format!("/api/v1/tokens/{admin_id}")).await),
    ];
    for (what, answer) in &denied {
        is(answer, 403, "FORBIDDEN", "org:admin", what);
    }
    for (wish, says) in [
        (json!({"scopes": []}), "scopes"),
        (json!({"scopes": ["platform:admin"]}), "platform:admin"),
        (json!({"scopes": ["pins:read", "platform:admin"]}), "platform:admin"),
        (json!({"scopes": ["pins:read"], "org": "other"}), "org"),
        (json!({"scopes": ["pins:read"], "ttlSeconds": 0}), "ttlSeconds"),
    ] {
        is(&admin.post("/api/v1/tokens", &wish).await, 400, "BAD_REQUEST", says, &wish.to_string());
    }
    for (query, says) in [("after=x", "after"), ("limit=0", "limit"), ("limit=1001", "limit"), ("x=1", "query")] {
        is(&admin.get(&format!("/api/v1/tokens?{query}")).await, 400, "BAD_REQUEST", says, query);
    }

    admin.delete(&format!("/api/v1/tokens/{admin_id}")).await.expect(200);
    is(&admin.get("/api/v1/tokens").await, 401, "UNAUTHORIZED", "Bearer", "a token may revoke itself");
}

#[tokio::test]
async fn the_denylist_keeps_what_could_still_be_used_and_nothing_else() {
    let (database, kubo) = (Database::new().await, FakeKubo::new().await);
    let setup = Setup::new(&database, &kubo.url);
    let pinner = setup.start().await;
    let superuser = database.pool("postgres");
    let mut clients = Vec::new();
    for _ in 0..4 {
        let (id, client) = mint(&pinner, "acme", &["pins:read"]).await;
        pinner.admin().delete(&format!("/admin/v1/tokens/{id}")).await.expect(200);
        clients.push(client);
    }
    let prune = async || pinner.admin().post("/admin/v1/denylist/prune", &json!({})).await.expect(200);
    assert_eq!(prune().await, json!({"pruned": 0, "remaining": 4}));
    // Two have ended by every clock, one just now: a clock may be behind.
    for (n, ago) in [(0, "2 hours"), (1, "61 s"), (2, "20 s")] {
        sqlx::query(
            "update revoked_tokens set expires = now() - $2::interval
             where version = (select version from revoked_tokens order by version offset $1 limit 1)",
        )
        .bind(n)
        .bind(ago)
        .execute(&superuser)
        .await
        .unwrap();
    }
    // Whoever leads may have been quicker; together they throw away two.
    assert_eq!(prune().await["remaining"], 2);
    assert_eq!(prune().await, json!({"pruned": 0, "remaining": 2}));
    assert_eq!(clients[3].get("/pins").await.status, 401, "what is left still denies");

    // Whoever leads does it unasked.
    sqlx::query("update revoked_tokens set expires = 'epoch'").execute(&superuser).await.unwrap();
    pinner.kill().await;
    let _next = setup.start().await;
    until("it is cleared", SOON, async || {
        let left: i64 = sqlx::query_scalar("select count(*) from revoked_tokens").fetch_one(&superuser).await.unwrap();
        (left == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn each_look_at_a_cache_is_counted_once_and_told_alike_by_metrics_and_by_the_admin_api() {
    let (database, kubo) = (Database::new().await, FakeKubo::new().await);
    let pinner = Setup::new(&database, &kubo.url).start().await;
    let (id, client) = mint(&pinner, "acme", &["pins:read", "uploads:write", "pins:write"]).await;
    let count = async |cache: &str, what: &str| -> u64 {
        let metrics = reqwest::get(&pinner.metrics_url).await.unwrap().text().await.unwrap();
        let line = format!("anchorage_cache_{what}_total{{cache=\"{cache}\"}} ");
        let line = metrics.lines().find_map(|text| text.strip_prefix(&line));
        line.unwrap_or_else(|| panic!("no {what} of {cache}: {metrics}")).parse().unwrap()
    };
    for cache in ["token_denylist", "live_nodes", "placement_map", "org_limits"] {
        count(cache, "hits").await;
        count(cache, "misses").await;
    }
    let looks = async || count("token_denylist", "hits").await + count("token_denylist", "misses").await;
    let before = looks().await;
    for _ in 0..20 {
        client.get("/pins").await.expect(200);
    }
    futures::future::join_all((0..20).map(|_| client.get("/pins"))).await;
    pinner.admin().get("/admin/v1/nodes").await.expect(200);
    assert_eq!(looks().await - before, 40, "a look for each token, and none for the deployment's own");

    let stats = pinner.admin().get("/admin/v1/cache-stats").await.expect(200);
    assert_eq!(stats["node"], "node-0");
    let of = |name: &str| {
        let caches = stats["caches"].as_array().unwrap();
        caches.iter().find(|cache| cache["name"] == name).unwrap_or_else(|| panic!("no {name}: {stats}")).clone()
    };
    for name in ["token_denylist", "org_limits"] {
        for what in ["hits", "misses"] {
            assert_eq!(of(name)[what], count(name, what).await, "{name} {what}");
        }
    }
    assert_eq!(of("token_denylist")["entries"], 0);
    // A pin looks at nodes and map to be placed, and at nodes for its delegates.
    let looks = async |cache| count(cache, "hits").await;
    let before = (looks("live_nodes").await, looks("placement_map").await);
    client.pin(&cids::fresh()).await;
    let after = (looks("live_nodes").await, looks("placement_map").await);
    assert!(after.0 > before.0 && after.1 == before.1 + 1, "{before:?} {after:?}");
    assert_eq!(of("live_nodes")["entries"], 1);
    pinner.admin().delete(&format!("/admin/v1/tokens/{id}")).await.expect(200);
    let stats = pinner.admin().get("/admin/v1/cache-stats").await.expect(200);
    assert!(stats.to_string().contains(r#""entries":1"#), "{stats}");
}
