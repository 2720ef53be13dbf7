//! The catalogue's part of the belt: rules on every table, policy, function, key and grant that is there, whatever it
//! is called.

use super::{Violation, lists, lists::Known};
use sqlx::PgConnection;
use std::collections::BTreeSet;

/// A rule: every fact that the query gives breaks it, but for those that are known to be right.
struct Rule {
    /// What is wrong with a fact that is not known.
    wrong: &'static str,
    facts: &'static str,
    known: &'static [Known],
}

const RULES: &[Rule] = &[
    Rule {
        wrong: "row-level security is not enabled and forced",
        facts: "select c.relname::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
            where n.nspname !~ '^(pg_|information_schema)' and c.relkind in ('r', 'p', 'm', 'f')
                and not (relrowsecurity and relforcerowsecurity)",
        known: lists::WITHOUT_ROW_SECURITY,
    },
    Rule {
        wrong: "a policy other than the owner's, or the org's on itself",
        facts:
            "select concat_ws(' ', tablename || '.' || policyname, cmd, 'to', roles, 'using', qual, 'check', with_check)
            from pg_policies
            where not coalesce(
                permissive = 'PERMISSIVE' and cmd = 'ALL' and qual = with_check and (
                    policyname = 'owner' and roles = '{anchorage_owner}' and qual = 'true'
                    or policyname = 'tenant' and roles = '{anchorage_api}' and qual = format(
                        '(%s = ( SELECT current_org() AS current_org))',
                        case tablename when 'orgs' then 'id' else 'org_id' end
                    )
                ), false)",
        known: lists::ACROSS_ORGS,
    },
    Rule {
        wrong: "a protected table without a policy for its owner, whose functions then do nothing",
        facts: "select relname::text from pg_class c
            where relrowsecurity and not exists (
                select from pg_policies p where p.tablename = c.relname and p.roles = '{anchorage_owner}'
            )",
        known: &[],
    },
    Rule {
        wrong: "a role may use a protected table and no policy says which rows",
        facts: "select rolname || ' on ' || relname from pg_class c, pg_roles r
            where relrowsecurity and rolname in ('anchorage_api', 'anchorage_worker', 'anchorage_metrics')
                and has_any_column_privilege(r.oid, c.oid, 'select, insert, update')
                and not exists (
                    select from pg_policies p where p.tablename = c.relname and r.rolname = any (p.roles)
                )",
        known: &[],
    },
    Rule {
        wrong: "a view with its owner's rights",
        facts: "select c.relname::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
            where n.nspname !~ '^(pg_|information_schema)' and (
                relkind = 'm' or relkind = 'v' and not coalesce('security_invoker=true' = any (reloptions), false)
            )",
        known: &[],
    },
    Rule {
        wrong: "a function with its owner's rights, and who may call it",
        facts: "select proname || ' for ' || coalesce((
                select string_agg(rolname, ', ' order by rolname) from pg_roles
                where rolname in ('anchorage_api', 'anchorage_worker', 'anchorage_metrics')
                    and has_function_privilege(pg_roles.oid, pg_proc.oid, 'execute')
            ), 'nobody')
            from pg_proc where pronamespace = 'public'::regnamespace and prosecdef",
        known: lists::DEFINERS,
    },
    Rule {
        wrong: "a function with its owner's rights that anybody may call",
        facts: "select proname::text from pg_proc
            where pronamespace = 'public'::regnamespace and prosecdef
                and (proacl is null or exists (select from aclexplode(proacl) where grantee = 0))",
        known: &[],
    },
    Rule {
        // A body that was bound when it was made looks nothing up.
        wrong: "a function whose search path is not pinned",
        facts: "select proname || ': ' || coalesce(array_to_string(proconfig, ', '), '') from pg_proc
            where pronamespace = 'public'::regnamespace and prosqlbody is null and not coalesce(
                proconfig && '{\"search_path=pg_catalog, public, pg_temp\",\"search_path=pg_catalog, pg_temp\"}', false
            )",
        known: &[],
    },
    Rule {
        wrong: "not the owner's",
        facts: "select relname::text from pg_class
                where relnamespace = 'public'::regnamespace and relowner <> 'anchorage_owner'::regrole
            union all
            select proname::text from pg_proc
                where pronamespace = 'public'::regnamespace and proowner <> 'anchorage_owner'::regrole",
        known: &[],
    },
    Rule {
        wrong: "a schema of its own",
        facts: "select nspname::text from pg_namespace where nspname !~ '^(pg_|information_schema$|public$)'",
        known: &[],
    },
    Rule {
        wrong: "a role with a power that steps over policies",
        facts: "select rolname::text from pg_roles where rolname ~ '^anchorage_'
            and (rolsuper or rolbypassrls or rolcreaterole or rolcreatedb or rolreplication
                or rolcanlogin and rolname = 'anchorage_owner')",
        known: &[],
    },
    Rule {
        wrong: "a member of a role",
        facts: "select m.rolname || ' in ' || r.rolname from pg_auth_members a
                join pg_roles m on m.oid = a.member join pg_roles r on r.oid = a.roleid
            where r.rolname ~ '^anchorage_' or m.rolname ~ '^anchorage_'",
        known: &[("anchorage_migrator in anchorage_owner", "it migrates")],
    },
    Rule {
        wrong: "a role may create things",
        facts: "select rolname::text from pg_roles
            where rolname ~ '^anchorage_' and has_schema_privilege(oid, 'public', 'create')",
        known: &[("anchorage_owner", "migrations run as it")],
    },
    Rule {
        wrong: "a unique key that does not begin with the org: it says whether another org has a value",
        facts: "select i.indexrelid::regclass::text from pg_index i join pg_class t on t.oid = i.indrelid
            where t.relnamespace = 'public'::regnamespace and t.relrowsecurity and i.indisunique
                and not exists (
                    select from pg_attribute where attrelid = t.oid and attnum = i.indkey[0] and attname = 'org_id'
                )",
        known: lists::KEYS_WITHOUT_ORG,
    },
    Rule {
        wrong: "a foreign key without the org: a row of one org could hang on another's",
        facts: "select conname::text from pg_constraint c join pg_class t on t.oid = c.conrelid
            where c.contype = 'f' and t.relnamespace = 'public'::regnamespace and not exists (
                select from pg_attribute where attrelid = t.oid and attnum = any (c.conkey) and attname = 'org_id'
            )",
        known: lists::REFERENCES_WITHOUT_ORG,
    },
    Rule {
        wrong: "a grant",
        facts: "select concat_ws(' ', coalesce(g.grantee::regrole::text, 'PUBLIC'), g.privilege_type, 'on', g.thing)
            from (
                select nullif(a.grantee, 0) as grantee, a.privilege_type, relname as thing, relowner as owner
                from pg_class, aclexplode(relacl) a where relnamespace = 'public'::regnamespace
                union all
                select nullif(a.grantee, 0), a.privilege_type, c.relname || '.' || attname, relowner
                from pg_attribute join pg_class c on c.oid = attrelid, aclexplode(attacl) a
                where relnamespace = 'public'::regnamespace
            ) g where g.grantee is distinct from g.owner",
        known: lists::GRANTS,
    },
    Rule {
        wrong: "a privilege that things get by default",
        facts: "select defaclrole::regrole::text from pg_default_acl",
        known: &[],
    },
];

/// Every fact of the catalogue that a rule objects to.
pub(super) async fn check(superuser: &mut PgConnection) -> Vec<Violation> {
    let mut violations = Vec::new();
    for rule in RULES {
        let facts: Vec<String> = sqlx::query_scalar(rule.facts).fetch_all(&mut *superuser).await.unwrap();
        let facts: BTreeSet<&str> = facts.iter().map(String::as_str).collect();
        let known: BTreeSet<&str> = rule.known.iter().map(|(fact, _)| *fact).collect();
        violations.extend(facts.difference(&known).map(|fact| Violation::new(rule.wrong, *fact)));
        violations
            .extend(known.difference(&facts).map(|fact| Violation::new("on the belt's lists and not there", *fact)));
    }
    violations
}
