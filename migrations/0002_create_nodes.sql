-- The fleet: one row for each pinner with its Kubo.

create table nodes (
    id uuid primary key,
    name text not null unique,
    zone text not null default '',
    -- What was asked for, and by which request.
    scheduling text not null default 'Active' check (scheduling in ('Active', 'Cordoned', 'Drained', 'Maintenance')),
    request_token text,
    reason text,
    scheduling_since timestamptz not null default now(),
    -- Placements on the node when its drain was asked for: the whole, of which the rest is progress.
    drain_total bigint,
    -- What the pinner last said of itself and its Kubo.
    peer_id text,
    addresses text[] not null default '{}',
    kubo_ready boolean not null default false,
    kubo_disk_full boolean not null default false,
    capacity bigint not null default 1 check (capacity >= 0),
    -- How far its queue has come: the highest placements.turn that it has claimed, as its pinner said last.
    turn bigint not null default 0,
    -- Which placement map its pinner places by, and which offices of the fleet it holds.
    map_version bigint not null default 0,
    roles text[] not null default '{}',
    seen timestamptz not null default now(),
    -- When its Kubo last answered: what is on the node can be had from it. A pinner may outlive its Kubo by far.
    kubo_seen timestamptz not null default now(),
    -- The pinner's last sweep, and for how long the node could not work, all in all, because its pinner or its Kubo was
    -- away or its disk was full. Deadlines go by now() less that: what waits for the node is not to blame.
    swept timestamptz,
    idle_seconds double precision not null default 0,
    created timestamptz not null default now()
);

-- Not a tenant's table: placement and delegates need it in every request.
grant select on nodes to anchorage_api, anchorage_worker, anchorage_metrics;
grant insert, update on nodes to anchorage_worker;

-- A node that has not been seen for this long takes no new placements, and one whose Kubo has not been counts as holder of
-- nothing.
create function presence_ttl() returns interval
language sql immutable parallel safe set search_path = pg_catalog, pg_temp
as $$ select interval '30 seconds' $$;
