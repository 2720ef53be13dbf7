-- Taking tokens back before their end, and changing the key that signs them.
--
-- Every pinner keeps the denylist and the names of the keys in memory and looks at token_state about once a second: the
-- version tells whether there is anything new. It is counted up under the row's lock, so versions become visible in
-- their order and whoever has seen one has seen all before it.

create table token_state (
    is_only boolean primary key default true check (is_only),
    version bigint not null default 0
);
insert into token_state default values;
grant select on token_state to anchorage_api;

-- The denylist. A row is of use until its token ends, and thrown away after.
create table revoked_tokens (
    id uuid primary key references tokens (id),
    revoked timestamptz not null default date_trunc('milliseconds', now()),
    expires timestamptz not null,
    version bigint not null unique
);
grant select on revoked_tokens to anchorage_api;

-- How long the pinners are told of a key before anything depends on their knowing it. None accepts a token by what it
-- read more than four seconds ago.
create function key_notice() returns interval language sql immutable parallel safe return interval '15 s';

-- next: announced; signs from since + key_notice() on. active: signs. verify-only: signs no more; what it signed is
-- good. retired: nothing that it signed is good, or nothing of that is left.
alter table signing_keys add column since timestamptz not null default now();
create unique index signing_keys_next on signing_keys (state) where state = 'next';

-- Puts a token on the denylist. Gives the time when it came there, also when it was there already; null when there is
-- no such token.
create function deny_token(token uuid) returns timestamptz
language plpgsql volatile set search_path = pg_catalog, public, pg_temp
as $$
declare
    since timestamptz := (select r.revoked from public.revoked_tokens r where r.id = token);
    new_version bigint;
begin
    if since is not null or not exists (select from public.tokens t where t.id = token) then
        return since;
    end if;
    update public.token_state set version = version + 1 returning version into new_version;
    insert into public.revoked_tokens (id, expires, version)
    select t.id, t.expires, new_version from public.tokens t where t.id = token
    on conflict (id) do nothing;
    return (select r.revoked from public.revoked_tokens r where r.id = token);
end
$$;

-- Revokes a token of any org, or of the platform.
create function admin_revoke_token(token uuid)
returns table (id uuid, org_name text, scopes text[], created timestamptz, expires timestamptz, revoked timestamptz)
language sql volatile security definer set search_path = pg_catalog, public, pg_temp
as $$
    select t.id, o.name, t.scopes, t.created, t.expires, public.deny_token(t.id)
    from public.tokens t left join public.orgs o on o.id = t.org_id
    where t.id = token
$$;

-- Revokes a token of the transaction's org.
create function revoke_own_token(token uuid)
returns table (id uuid, scopes text[], created timestamptz, expires timestamptz, revoked timestamptz)
language sql volatile security definer set search_path = pg_catalog, public, pg_temp
as $$
    select t.id, t.scopes, t.created, t.expires, public.deny_token(t.id)
    from public.tokens t
    where t.id = token and t.org_id = public.current_org()
$$;

-- Throws away what denies a token that has ended by every clock. Gives how many that were.
create function admin_prune_denylist() returns bigint
language sql volatile security definer set search_path = pg_catalog, public, pg_temp
as $$
    with gone as (
        delete from public.revoked_tokens where expires < now() - interval '1 minute' returning 1
    )
    select count(*) from gone
$$;

-- Announces a new key, unless one is announced already.
create function admin_rotate_key() returns void
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp
as $$
begin
    perform from public.token_state for update;
    insert into public.signing_keys (kid, state) values (replace(gen_random_uuid()::text, '-', ''), 'next')
    on conflict (state) where state = 'next' do nothing;
    if found then
        update public.token_state set version = version + 1;
    end if;
end
$$;

-- Does what is due: an announced key signs once every pinner knows it, and a key that signs no more is retired once no
-- token that it signed is left. Any pinner may call it at any time. Gives whether anything was due.
create function admin_advance_keys() returns boolean
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp
as $$
declare
    due boolean := false;
begin
    perform from public.token_state for update;
    if exists (select from public.signing_keys where state = 'next' and since <= now() - public.key_notice()) then
        update public.signing_keys set state = 'verify-only', since = now() where state = 'active';
        update public.signing_keys set state = 'active', since = now() where state = 'next';
        due := true;
    end if;
    update public.signing_keys k set state = 'retired', since = now()
    where state = 'verify-only'
        -- A pinner that has not heard yet may still be signing with it.
        and since <= now() - public.key_notice()
        and not exists (
            select from public.tokens t where t.kid = k.kid and t.expires > now() - interval '1 minute'
        );
    due := found or due;
    if due then
        update public.token_state set version = version + 1;
    end if;
    return due;
end
$$;

-- What advancing asks about each key.
create index tokens_by_key on tokens (kid, expires);

revoke all on function
    deny_token(uuid),
    admin_revoke_token(uuid),
    revoke_own_token(uuid),
    admin_prune_denylist(),
    admin_rotate_key(),
    admin_advance_keys()
from public;
grant execute on function
    admin_revoke_token(uuid),
    revoke_own_token(uuid),
    admin_prune_denylist(),
    admin_rotate_key(),
    admin_advance_keys()
to anchorage_api;
