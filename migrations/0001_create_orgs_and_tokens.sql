-- Orgs (tenants), the tokens they use, and what proves those tokens.
--
-- Everything here belongs to anchorage_owner, which nobody logs in as. Each tenant table has forced row-level
-- security; the tenant is the transaction's setting anchorage.org. The owner's own policies let through the
-- functions below that are marked "security definer"; no service role is a member of the owner.

grant usage on schema public to anchorage_api, anchorage_worker, anchorage_metrics;

-- The org of this transaction, or null. Unset, empty (what is left after a commit) and malformed settings all
-- give null, and null is nobody's org, so every policy that asks this function fails closed.
-- Policies ask for it in every statement: the body is bound when it is made, so that it can be inlined, and is cheap.
create function current_org() returns uuid
language sql stable parallel safe
return case
    when current_setting('anchorage.org', true) like '________-____-____-____-____________'
        and translate(current_setting('anchorage.org', true), '0123456789abcdef', '') = '----'
    then current_setting('anchorage.org', true)::uuid
end;

-- The orgs of this transaction's batch of accepted pins, ascending: in one transaction, pins of several orgs are
-- written by one statement, each under row-level security. Nobody can read or delete by it. Empty unless the setting
-- anchorage.orgs is sound.
create function current_orgs() returns uuid[]
language sql stable parallel safe
set search_path = pg_catalog, pg_temp
as $$
    select case
        when current_setting('anchorage.orgs', true)
            ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(,[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})*$'
        then string_to_array(current_setting('anchorage.orgs', true), ',')::uuid[]
        else '{}'
    end
$$;

create table orgs (
    id uuid primary key,
    name text not null unique check (name ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'),
    created timestamptz not null default date_trunc('milliseconds', now()),
    -- The newest pins.created of this org. Accepting a pin locks this row until the commit, so pins of one org
    -- become visible in the order of their times and no page of a list ever misses one.
    last_pin_created timestamptz not null default 'epoch',
    -- The turn of the org's newest placement: see placements.turn. Under the same lock.
    turn bigint not null default 0,
    -- In whose name its placements are tried again: see placements.share.
    share integer not null generated always as (1 + (uuid_hash_extended(id, 0) & 1073741823)::integer) stored,
    -- The most pins, and the most bytes of content, each content counted once; none for no limit.
    max_pins bigint check (max_pins >= 0),
    max_bytes bigint check (max_bytes >= 0)
);
alter table orgs enable row level security;
alter table orgs force row level security;
create policy owner on orgs to anchorage_owner using (true) with check (true);
create policy tenant on orgs to anchorage_api using (id = (select current_org())) with check (id = (select current_org()));
grant select on orgs to anchorage_api;

-- Which signing keys exist and what they are good for. The key itself is derived from the deployment's root
-- secret and the kid, so neither this table nor a backup of it can sign a token.
create table signing_keys (
    kid text primary key check (kid ~ '^[A-Za-z0-9_-]{1,32}$'),
    state text not null check (state in ('next', 'active', 'verify-only', 'retired')),
    created timestamptz not null default now()
);
-- One key signs at a time.
create unique index signing_keys_active on signing_keys (state) where state = 'active';
grant select on signing_keys to anchorage_api;

insert into signing_keys (kid, state) values (replace(gen_random_uuid()::text, '-', ''), 'active')
on conflict do nothing;

-- A record of every token that was minted; the token itself is nowhere stored. Platform tokens have no org.
create table tokens (
    org_id uuid references orgs (id),
    id uuid primary key,
    scopes text[] not null check (cardinality(scopes) > 0),
    kid text not null references signing_keys (kid),
    created timestamptz not null default now(),
    expires timestamptz not null,
    unique (org_id, id)
);
alter table tokens enable row level security;
alter table tokens force row level security;
create policy owner on tokens to anchorage_owner using (true) with check (true);
create policy tenant on tokens to anchorage_api
    using (org_id = (select current_org())) with check (org_id = (select current_org()));
grant select on tokens to anchorage_api;

-- Administration reaches across orgs through these functions only. Who may call them is decided by the API.

create function admin_create_org(org uuid, org_name text) returns table (id uuid, created timestamptz, is_new boolean)
language sql volatile security definer set search_path = pg_catalog, public, pg_temp
as $$
    with inserted as (
        insert into public.orgs (id, name) values (org, org_name)
        on conflict (name) do nothing
        returning orgs.id, orgs.created
    )
    select inserted.id, inserted.created, true from inserted
    union all
    select orgs.id, orgs.created, false from public.orgs where orgs.name = org_name
    limit 1
$$;

create function admin_record_token(token uuid, org uuid, token_scopes text[], token_kid text, token_expires timestamptz)
returns void
language sql volatile security definer set search_path = pg_catalog, public, pg_temp
as $$
    insert into public.tokens (id, org_id, scopes, kid, expires)
    values (token, org, token_scopes, token_kid, token_expires)
$$;

revoke all on function
    admin_create_org(uuid, text),
    admin_record_token(uuid, uuid, text[], text, timestamptz)
from public;
grant execute on function
    admin_create_org(uuid, text),
    admin_record_token(uuid, uuid, text[], text, timestamptz)
to anchorage_api;
