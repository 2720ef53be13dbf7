//! What an org is told to hold, against its rows.

use super::Org;
use crate::stage::{
    client::Client,
    wait::{SOON, until},
};
use serde_json::Value;
use sqlx::PgPool;

/// The org's pins by status, all of them, and the bytes of the contents that they hold, as the tables have it.
const TRUTH: &str = "
    select jsonb_build_object(
        'total', count(pins.id),
        'queued', count(pins.id) filter (where status = 'queued'),
        'pinning', count(pins.id) filter (where status = 'pinning'),
        'pinned', count(pins.id) filter (where status = 'pinned'),
        'failed', count(pins.id) filter (where status = 'failed'),
        'bytes', (
            select coalesce(sum(bytes), 0) from contents
            where key in (select content from pins where org_id = orgs.id and refused is null)
        )
    )
    from orgs left join pins on org_id = orgs.id where orgs.name = $1 group by orgs.id";

async fn truth(admin: &PgPool, org: &str) -> Value {
    sqlx::query_scalar(TRUTH).bind(org).fetch_one(admin).await.expect("a well-formed query")
}

async fn told(org: &Client) -> Value {
    let usage = org.get("/api/v1/usage").await.expect(200);
    let mut told = usage["pins"].clone();
    told["bytes"] = usage["bytes"].clone();
    told
}

/// Checks what each org is told, at a moment in which the pinner changes nothing.
pub(super) async fn check(admin: &PgPool, orgs: &[Org]) {
    for (n, org) in orgs.iter().enumerate() {
        let name = format!("org-{n}");
        let used = until("nothing changes for a moment", SOON, async || {
            let before = truth(admin, &name).await;
            let told = told(&org.client).await;
            let after = truth(admin, &name).await;
            if before != after {
                return None;
            }
            assert_eq!(told, after, "what {name} uses");
            Some(after)
        })
        .await;
        assert_eq!(used["total"].as_u64(), Some(org.pins.len() as u64));
    }
}
