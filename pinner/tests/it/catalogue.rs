//! The database's own catalogue: what may reach tenants' rows is on the lists here, and nothing else is there.

use crate::stage::database::Database;
use sqlx::{PgPool, Row};
use std::collections::BTreeSet;

/// Tables without tenants' rows: the fleet, the names of signing keys, the migrations' own.
const PLATFORM: [&str; 3] = ["nodes", "signing_keys", "_sqlx_migrations"];

/// Functions that run with the owner's rights, and who may call each.
const DEFINERS: [(&str, &[&str]); 23] = [
    ("add_copies", &["anchorage_worker"]),
    ("admin_create_org", &["anchorage_api"]),
    ("admin_list_orgs", &["anchorage_api"]),
    ("admin_record_token", &["anchorage_api"]),
    ("claim", &["anchorage_worker"]),
    ("count_pins", &[]),
    ("expire_leases", &["anchorage_worker"]),
    ("fail_pin", &["anchorage_worker"]),
    ("fill_copies", &[]),
    ("finish_pin", &["anchorage_worker"]),
    ("finish_unpin", &["anchorage_worker"]),
    ("hand_back", &["anchorage_worker"]),
    ("lock_contents", &["anchorage_api"]),
    ("may_unpin", &["anchorage_worker"]),
    ("origins_of", &["anchorage_worker"]),
    ("pin_progress", &["anchorage_api"]),
    ("place", &["anchorage_api"]),
    ("release_job", &["anchorage_worker"]),
    ("report_progress", &["anchorage_worker"]),
    ("settle", &[]),
    ("short_of_copies", &["anchorage_worker"]),
    ("stamp_pin", &[]),
    ("unpin_jobs", &["anchorage_api"]),
];

/// Unique keys that do not begin with the org: on ids that nobody can guess, or in tables that no tenant can reach.
const KEYS_WITHOUT_ORG: [&str; 7] = [
    "contents_pkey",
    "orgs_name_key",
    "orgs_pkey",
    "pins_pkey",
    "placements_job_key",
    "placements_pkey",
    "tokens_pkey",
];

/// Foreign keys that do not begin with the org, for the same reasons.
const REFERENCES_WITHOUT_ORG: [&str; 3] = ["placements_content_fkey", "placements_node_id_fkey", "tokens_kid_fkey"];

async fn names(pool: &PgPool, query: &'static str) -> BTreeSet<String> {
    sqlx::query_scalar::<_, String>(query).fetch_all(pool).await.unwrap().into_iter().collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test]
async fn every_tenants_table_has_forced_row_security_and_policies_for_both_directions() {
    let admin = Database::new().await.pool("postgres");
    let open = names(
        &admin,
        "select relname::text from pg_class
         where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'm', 'f')
             and not (relrowsecurity and relforcerowsecurity)",
    )
    .await;
    assert_eq!(open, set(&PLATFORM));
    let one_way = names(
        &admin,
        "select tablename || '.' || policyname from pg_policies
         where qual is null or (cmd in ('ALL', 'INSERT', 'UPDATE') and with_check is null)",
    )
    .await;
    assert_eq!(one_way, set(&[]));
    // Whoever is a tenant meets a condition on the org; nothing is allowed to everybody.
    let lax = names(
        &admin,
        "select tablename || '.' || policyname from pg_policies
         where 'public' = any (roles)
             or ('anchorage_api' = any (roles) and (qual !~ 'current_org' or with_check !~ 'current_org'))",
    )
    .await;
    assert_eq!(lax, set(&[]));
    let views = names(
        &admin,
        "select relname::text from pg_class where relnamespace = 'public'::regnamespace and relkind in ('v', 'm')",
    )
    .await;
    assert_eq!(views, set(&[]), "a view runs with its owner's rights");
}

#[tokio::test]
async fn functions_with_the_owners_rights_are_those_on_the_list_and_called_by_whom_it_names() {
    let admin = Database::new().await.pool("postgres");
    let rows = sqlx::query(
        "select proname::text, coalesce(array_to_string(proconfig, ','), '') as settings,
            proacl is null or exists (select from aclexplode(proacl) where grantee = 0) as by_anyone,
            array(
                select rolname::text from pg_roles
                where rolname in ('anchorage_api', 'anchorage_worker', 'anchorage_metrics')
                    and has_function_privilege(rolname, pg_proc.oid, 'execute')
                order by 1
            ) as callers
         from pg_proc where pronamespace = 'public'::regnamespace and prosecdef order by 1",
    )
    .fetch_all(&admin)
    .await
    .unwrap();
    let found: Vec<(String, Vec<String>)> = rows.iter().map(|row| (row.get(0), row.get("callers"))).collect();
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let expected: Vec<_> = DEFINERS.iter().map(|(name, roles)| ((*name).to_owned(), owned(roles))).collect();
    assert_eq!(found, expected);
    for row in rows {
        let (name, settings, by_anyone): (String, String, bool) = (row.get(0), row.get(1), row.get(2));
        assert!(!by_anyone, "{name} may be called by anyone");
        assert!(settings.starts_with("search_path=pg_catalog") && settings.ends_with("pg_temp"), "{name}: {settings}");
    }
}

#[tokio::test]
async fn keys_begin_with_the_org_or_are_known_not_to() {
    let admin = Database::new().await.pool("postgres");
    let unique = names(
        &admin,
        "select i.indexrelid::regclass::text from pg_index i join pg_class t on t.oid = i.indrelid
         where t.relnamespace = 'public'::regnamespace and t.relrowsecurity and i.indisunique
             and (select attname from pg_attribute where attrelid = t.oid and attnum = i.indkey[0]) <> 'org_id'",
    )
    .await;
    assert_eq!(unique, set(&KEYS_WITHOUT_ORG));
    let references = names(
        &admin,
        "select conname::text from pg_constraint c join pg_class t on t.oid = c.conrelid
         where c.contype = 'f' and t.relnamespace = 'public'::regnamespace
             and (select attname from pg_attribute where attrelid = t.oid and attnum = c.conkey[1]) <> 'org_id'",
    )
    .await;
    assert_eq!(references, set(&REFERENCES_WITHOUT_ORG));
}

#[tokio::test]
async fn no_service_role_has_any_power_beyond_its_grants() {
    let admin = Database::new().await.pool("postgres");
    let powerful = names(
        &admin,
        "select rolname::text from pg_roles where rolname ~ '^anchorage_'
             and (rolsuper or rolbypassrls or rolcreaterole or rolcreatedb or rolreplication)",
    )
    .await;
    assert_eq!(powerful, set(&[]));
    let members = names(
        &admin,
        "select m.rolname::text from pg_auth_members a
            join pg_roles m on m.oid = a.member join pg_roles r on r.oid = a.roleid
         where r.rolname ~ '^anchorage_'",
    )
    .await;
    assert_eq!(members, set(&["anchorage_migrator"]), "who may become the owner");
    let creators = names(
        &admin,
        "select rolname::text from pg_roles
         where rolname ~ '^anchorage_' and has_schema_privilege(rolname, 'public', 'create')",
    )
    .await;
    assert_eq!(creators, set(&["anchorage_owner"]), "who may create anything");
    let owners = names(&admin, "select distinct tableowner::text from pg_tables where schemaname = 'public'").await;
    assert_eq!(owners, set(&["anchorage_owner"]));
}
