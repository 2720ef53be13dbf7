-- Leading the fleet: who leads, which placement map holds, pauses, and how contents come to be where the map wants them.
--
-- Every transaction of a leader begins with fence(). None of this is a tenant's, and none of it names an org.

-- What is true of the fleet as a whole.
create table fleet (
    is_only boolean primary key default true check (is_only),
    -- Tells it from other fleets that share its NATS.
    id uuid not null default gen_random_uuid(),
    -- The placement map that holds: placement_maps has it. 0 before the first.
    map_version bigint not null default 0,
    -- A pause: moves, repair and garbage collection wait until then.
    pause_since timestamptz,
    pause_until timestamptz,
    pause_reason text,
    pause_token text,
    -- It lasted until its end, and nobody has asked for or ended one since.
    pause_is_over boolean not null default false,
    -- Whose Kubo collects garbage, one at a time: a collection holds up all pins of its Kubo.
    gc_node uuid references nodes (id),
    gc_until timestamptz,
    check ((pause_since is null) = (pause_until is null))
);
insert into fleet default values;
grant select on fleet to anchorage_api, anchorage_worker, anchorage_metrics;

-- The lock that whoever places holds in share mode, and whoever commits a map or changes a node's scheduling holds alone:
-- so when that is committed nobody goes on by what was before.
create function fleet_lock() returns bigint
language sql immutable parallel safe set search_path = pg_catalog, pg_temp
as $$ select hashtextextended('anchorage.fleet', 0) $$;

-- Whether moves, repair and garbage collection wait.
create function is_paused() returns boolean
language sql stable set search_path = pg_catalog, pg_temp
as $$ select coalesce(f.pause_until > now(), false) from public.fleet f $$;

-- The offices of the fleet. Whoever takes one mints the next epoch; every transaction of a holder checks that its epoch is
-- the last.
create table leaders (
    role text primary key check (role in ('scheduler', 'sweeper', 'watchdog', 'pruner')),
    epoch bigint not null default 0,
    node_id uuid references nodes (id),
    since timestamptz
);
insert into leaders (role) values ('scheduler'), ('sweeper'), ('watchdog'), ('pruner');
grant select on leaders to anchorage_worker;

-- Mints an epoch: from its commit on no transaction of an earlier holder commits anything, since this waits for those
-- under way and fence() refuses the others.
create function take_office(office text, node uuid) returns bigint
language sql volatile security definer set search_path = pg_catalog, public, pg_temp
as $$
    update public.leaders set epoch = epoch + 1, node_id = node, since = now() where role = office returning epoch
$$;

-- Refuses (AN001) a leader whose office somebody else has taken.
create function fence(office text, held_epoch bigint) returns void
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp
as $$
begin
    perform 1 from public.leaders where role = office and epoch = held_epoch for share;
    if not found then
        raise exception 'another node is % of the fleet now', office using errcode = 'AN001';
    end if;
end
$$;

-- The maps, the last few of them.
create table placement_maps (
    version bigint primary key,
    -- As pinner-core writes it.
    map bytea not null,
    -- Digest of the nodes and copies that it was planned for: a fleet that is as it was before gets the map it had.
    planned_for bytea not null,
    created timestamptz not null default now()
);
grant select on placement_maps to anchorage_worker;

-- Partitions that a map gave to other nodes and whose contents were not noted as astray yet.
create table changed_partitions (partition integer primary key);
grant select on changed_partitions to anchorage_worker;

-- Commits the map that follows the present one; `partitions` are those that it changes. Refuses (AN002) a map that was
-- planned from another one.
create function commit_map(held_epoch bigint, new_version bigint, new_map bytea, nodes_digest bytea, partitions integer[])
returns void
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp
    set lock_timeout = '5s'
as $$
begin
    perform public.fence('scheduler', held_epoch);
    insert into public.changed_partitions (partition)
    select p from unnest(partitions) as p order by p on conflict do nothing;
    perform pg_advisory_xact_lock(public.fleet_lock());
    update public.fleet set map_version = new_version where map_version = new_version - 1;
    if not found then
        raise exception 'the placement map is not the one that was planned from' using errcode = 'AN002';
    end if;
    insert into public.placement_maps (version, map, planned_for) values (new_version, new_map, nodes_digest);
    delete from public.placement_maps where version <= new_version - 32;
end
$$;

-- Notes the contents of up to `max_partitions` changed partitions as astray. Gives how many partitions and contents that
-- were.
create function note_changed(held_epoch bigint, max_partitions integer, out partitions bigint, out contents bigint)
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp
    set plan_cache_mode = force_custom_plan
as $$
declare
    taken integer[];
begin
    perform public.fence('scheduler', held_epoch);
    with removed as (
        delete from public.changed_partitions
        where partition = any (array(select p.partition from public.changed_partitions p order by p.partition limit max_partitions))
        returning partition
    )
    select array_agg(removed.partition), count(*) into taken, partitions from removed;
    perform 1 from public.contents c where c.partition = any (taken) and not c.astray order by c.key for no key update;
    update public.contents c set astray = true where c.partition = any (taken) and not c.astray and c.refs > 0;
    get diagnostics contents = row_count;
end
$$;

-- Contents with what has to be known to arrange them, locked; those that no pin holds are left out. Refuses (AN002) to go
-- by another map than the fleet's. Until the caller's transaction ends no map is committed and no node's scheduling
-- changes. Contents are locked first, since whoever accepts a pin has locked them when it asks for the fleet's lock.
create function look_at(held_epoch bigint, held_version bigint, keys bytea[])
returns table (
    content bytea, partition integer, copies_min integer, copies_max integer, node_ids uuid[], statuses text[], may_retry boolean[]
)
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp
as $$
#variable_conflict use_column
begin
    perform public.fence('scheduler', held_epoch);
    perform 1 from public.contents where key = any (keys) order by key for no key update;
    perform pg_advisory_xact_lock_shared(public.fleet_lock());
    if (select f.map_version from public.fleet f) <> held_version then
        raise exception 'the placement map is another one by now' using errcode = 'AN002';
    end if;
    return query
        select c.key, c.partition, need.copies_min, need.copies_max, placed.node_ids, placed.statuses, placed.may_retry
        from unnest(keys) as k (key)
        cross join lateral (
            select contents.key, contents.partition, contents.refs from public.contents where contents.key = k.key offset 0
        ) c
        cross join lateral (
            -- A pin that was refused wants no more than what there is.
            select coalesce(max(p.copies_min) filter (where p.refused is null), 0)::integer as copies_min,
                max(p.copies_max)::integer as copies_max
            from public.pins p where p.content = k.key
        ) need
        cross join lateral (
            select
                coalesce(array_agg(p.node_id), '{}') as node_ids, coalesce(array_agg(p.status::text), '{}') as statuses,
                coalesce(array_agg(
                    -- A failure changes next_attempt last when it is told.
                    p.status = 'failed' and p.reason is distinct from 'QUOTA'
                    and p.next_attempt < now() - interval '10 minutes'
                ), '{}') as may_retry
            from public.placements p where p.content = k.key
        ) placed
        where c.refs > 0 and need.copies_max is not null;
end
$$;

-- Takes steps that were decided on by what look_at() gave in this transaction: `add`, `add failed`, `release`, `restore`,
-- `forget`, each for a content and a node. `settled` are contents that need not be looked at again. Gives the jobs to
-- wake pinners for.
create function arrange_contents(held_epoch bigint, keys bytea[], node_ids uuid[], steps text[], settled bytea[])
returns table (job bigint, node_id uuid, generation bigint)
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp
as $$
#variable_conflict use_column
begin
    perform public.fence('scheduler', held_epoch);
    return query
        insert into public.placements as p (content, node_id, status, turn, share, moved, error, reason)
        select
            s.content, s.node_id, case s.step when 'add' then 'queued' else 'failed' end::public.placement_status,
            coalesce(waiting.turn, (select n.turn + 1 from public.nodes n where n.id = s.node_id)),
            case when held.is_held then 0 else coalesce((
                select o.share from public.pins a join public.orgs o on o.id = a.org_id
                where a.content = s.content limit 1
            ), 0) end,
            coalesce(held.is_held, false), failure.error, failure.reason
        from unnest(keys, node_ids, steps) as s (content, node_id, step)
        left join lateral (
            select true as is_held from public.placements o where o.content = s.content and o.status = 'pinned' limit 1
        ) held on true
        -- What is looked for still keeps its turn.
        left join lateral (
            select min(o.turn) as turn from public.placements o where o.content = s.content and o.status in ('queued', 'pinning')
        ) waiting on true
        left join lateral (
            select o.error, o.reason from public.placements o
            where s.step = 'add failed' and o.content = s.content and o.status = 'failed' limit 1
        ) failure on true
        where s.step in ('add', 'add failed')
        returning p.job, p.node_id, p.generation;
    return query
        update public.placements p
        set status = 'unpinning', generation = p.generation + 1, lease_until = null, attempts = 0, moved = false,
            tried_since = null, next_attempt = now(), error = null, reason = null
        from unnest(keys, node_ids, steps) as s (content, node_id, step)
        where s.step = 'release' and p.content = s.content and p.node_id = s.node_id and p.status <> 'unpinning'
        returning p.job, p.node_id, p.generation;
    return query
        update public.placements p
        set status = 'queued', generation = p.generation + 1, lease_until = null, attempts = 0, moved = true, share = 0,
            tried_since = null, next_attempt = now(), error = null, reason = null, after = null
        from unnest(keys, node_ids, steps) as s (content, node_id, step)
        where s.step = 'restore' and p.content = s.content and p.node_id = s.node_id and p.status in ('unpinning', 'failed')
        returning p.job, p.node_id, p.generation;
    delete from public.placements p
    using unnest(keys, node_ids, steps) as s (content, node_id, step)
    where s.step = 'forget' and p.content = s.content and p.node_id = s.node_id and p.status = 'unpinning';
    update public.contents c set astray = false where c.key = any (settled) and c.astray;
    perform public.settle(keys);
end
$$;

-- Puts back up to `max_rows` jobs of any node whose lease ran out, under a new generation. Gives the jobs to wake pinners
-- for.
create function requeue_lost(held_epoch bigint, max_rows integer)
returns table (job bigint, node_id uuid, generation bigint)
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp
    set plan_cache_mode = force_custom_plan
as $$
#variable_conflict use_column
begin
    perform public.fence('sweeper', held_epoch);
    return query
        update public.placements p
        set status = 'queued', generation = p.generation + 1, lease_until = null, next_attempt = now()
        where p.ctid = any (array(
            select lost.place from public.nodes n
            cross join lateral (
                select o.ctid as place from public.placements o
                where o.node_id = n.id and o.status = 'pinning' and o.lease_until < now()
                limit max_rows for no key update skip locked
            ) lost
            limit max_rows
        ))
        returning p.job, p.node_id, p.generation;
end
$$;

-- Strikes out up to `max_rows` placements that a node was to let go which is to be emptied and whose Kubo is not there.
-- Should that come back, its pinner finds what it holds beyond its placements. Gives how many those were.
create function forget_unpins(held_epoch bigint, max_rows integer) returns bigint
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp
    set plan_cache_mode = force_custom_plan
as $$
declare
    forgotten bytea[];
begin
    perform public.fence('sweeper', held_epoch);
    forgotten := array(
        select p.content from public.nodes n join public.placements p on p.node_id = n.id
        where n.scheduling = 'Drained' and n.kubo_seen < now() - public.presence_ttl() and p.status = 'unpinning'
        limit max_rows
    );
    perform 1 from public.contents where key = any (forgotten) order by key for update;
    delete from public.placements p using public.nodes n
    where n.id = p.node_id and n.scheduling = 'Drained' and n.kubo_seen < now() - public.presence_ttl()
        and p.content = any (forgotten) and p.status = 'unpinning';
    delete from public.contents c
    where c.key = any (forgotten) and c.refs = 0
        and (select true from public.placements p where p.content = c.key limit 1) is null;
    return cardinality(forgotten);
end
$$;

-- Uploads whose blocks a node's Kubo has, which no node need have pinned yet: garbage collection spares them, and the
-- node is not drained before others have fetched them.
create table uploads (
    content bytea not null,
    node_id uuid not null references nodes (id),
    noted timestamptz not null default now(),
    -- When the node looks whether it has all of what the root names. For an hour the rest may come.
    look_after timestamptz not null default now() + interval '1 hour',
    primary key (node_id, content)
);

-- Notes an upload, before its pin is accepted. Not on a node that is to be emptied, which it says: so once a drain is
-- visible nothing more comes to wait for.
create function note_upload(node uuid, content_key bytea) returns boolean
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp
as $$
begin
    perform pg_advisory_xact_lock_shared(public.fleet_lock());
    if (select n.scheduling = 'Drained' from public.nodes n where n.id = node) then
        return false;
    end if;
    insert into public.uploads (content, node_id) values (content_key, node)
    on conflict (node_id, content) do update set noted = excluded.noted, look_after = excluded.look_after;
    return true;
end
$$;

-- Whether an upload's blocks may be the only ones of a content that a pin wants: neither the node itself nor another that
-- lives holds it, and it is tried still. For a moment after it was noted its pin may be about to be accepted.
create function upload_waits(node uuid, content_key bytea, noted timestamptz) returns boolean
language sql stable set search_path = pg_catalog, public, pg_temp
as $$
    select (
        select true from public.placements p join public.nodes n on n.id = p.node_id
        where p.content = content_key and p.status = 'pinned'
            and (p.node_id = node or n.kubo_seen > now() - public.presence_ttl())
        limit 1
    ) is null and (
        noted > now() - interval '1 minute'
        or (select true from public.contents c where c.key = content_key and c.refs > 0) is not null
        and coalesce((
            select bool_or(p.status <> 'failed') from public.placements p
            where p.content = content_key and p.status <> 'unpinning'
        ), true)
    )
$$;

-- Whether a node has uploads that a pin wants and no node holds, asked while none of its pins is about to be accepted.
-- Forgets those that are of no concern any more.
create function has_uploads(node uuid) returns boolean
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp
    set plan_cache_mode = force_custom_plan
as $$
begin
    delete from public.uploads u
    where u.node_id = node and not public.upload_waits(u.node_id, u.content, '-infinity');
    return exists (select from public.uploads u where u.node_id = node);
end
$$;

-- How many uploads a node has that wait for others to fetch them.
create function waiting_uploads(node uuid) returns bigint
language sql stable security definer set search_path = pg_catalog, public, pg_temp
as $$
    select count(*) from public.uploads u
    where u.node_id = node and public.upload_waits(u.node_id, u.content, u.noted)
$$;

-- Up to `max_rows` uploads that a node has had for an hour and nobody has fetched, each again after an hour: if it lacks
-- blocks of one, so does everybody.
create function overdue_uploads(node uuid, max_rows integer) returns setof bytea
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp
as $$
begin
    delete from public.uploads u
    where u.node_id = node and u.look_after < now() and not public.upload_waits(u.node_id, u.content, u.noted);
    return query
        update public.uploads u set look_after = now() + interval '1 hour'
        where u.node_id = node and u.content = any (array(
            select o.content from public.uploads o where o.node_id = node and o.look_after < now() limit max_rows
        ))
        returning u.content;
end
$$;

-- Spares an upload no longer that turned out to be less than what its root names, unless it was sent again meanwhile.
create function forget_upload(node uuid, content_key bytea) returns void
language sql volatile security definer set search_path = pg_catalog, public, pg_temp
as $$
    delete from public.uploads u
    where u.node_id = node and u.content = content_key and u.noted < now() - interval '1 hour'
$$;

-- Those of these contents that the node need not hold: it has no placement of them, and either no pin holds them or
-- enough other nodes do that live.
create function surplus(node uuid, keys bytea[]) returns setof bytea
language plpgsql stable security definer set search_path = pg_catalog, public, pg_temp
as $$
begin
    return query
        select k.key from unnest(keys) as k (key)
        where (select true from public.placements p where p.content = k.key and p.node_id = node) is null
            and (
                coalesce((select c.refs = 0 from public.contents c where c.key = k.key), true)
                or (
                    select count(*) from public.placements p join public.nodes n on n.id = p.node_id
                    where p.content = k.key and p.status = 'pinned' and n.kubo_seen > now() - public.presence_ttl()
                ) >= coalesce((select max(p.copies_min) from public.pins p where p.content = k.key and p.refused is null), 0)
            );
end
$$;

-- The node has been found not to hold these contents, which its placements say are pinned: it fetches them again. Gives
-- how many those were.
create function lose_pins(node uuid, keys bytea[]) returns bigint
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp
as $$
declare
    lost bigint;
begin
    perform 1 from public.contents where key = any (keys) order by key for no key update;
    update public.placements p
    set status = 'queued', generation = p.generation + 1, lease_until = null, attempts = 0, moved = true, share = 0,
        tried_since = null, next_attempt = now()
    where p.content = any (keys) and p.node_id = node and p.status = 'pinned';
    get diagnostics lost = row_count;
    perform public.settle(keys);
    return lost;
end
$$;

-- Pauses the fleet until `ends`. The same request again changes nothing but the end.
create function pause_fleet(token text, why text, ends timestamptz) returns void
language sql volatile security definer set search_path = pg_catalog, public, pg_temp
as $$
    update public.fleet
    set pause_since = case
            when pause_until > now() and pause_token is not distinct from token and pause_reason is not distinct from why
            then pause_since else now()
        end,
        pause_until = ends, pause_reason = why, pause_token = token, pause_is_over = false
$$;

-- Ends a pause, or forgets one that is over.
create function resume_fleet() returns void
language sql volatile security definer set search_path = pg_catalog, public, pg_temp
as $$
    update public.fleet
    set pause_since = null, pause_until = null, pause_reason = null, pause_token = null, pause_is_over = false
$$;

-- Notes that a pause has outlived its end. Gives whether it has just now.
create function end_overdue_pause(held_epoch bigint) returns boolean
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp
as $$
begin
    perform public.fence('watchdog', held_epoch);
    update public.fleet set pause_is_over = true where pause_until <= now() and not pause_is_over;
    return found;
end
$$;

-- Whether the node's Kubo may collect garbage now: for so long nobody else's does.
create function begin_gc(node uuid, lease interval) returns boolean
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp
as $$
begin
    update public.fleet set gc_node = node, gc_until = now() + lease
    where (gc_until is null or gc_until < now() or gc_node = node) and not public.is_paused();
    return found;
end
$$;

create function end_gc(node uuid) returns void
language sql volatile security definer set search_path = pg_catalog, public, pg_temp
as $$ update public.fleet set gc_node = null, gc_until = null where gc_node = node $$;

revoke all on function
    take_office(text, uuid), fence(text, bigint), commit_map(bigint, bigint, bytea, bytea, integer[]),
    note_changed(bigint, integer), look_at(bigint, bigint, bytea[]),
    arrange_contents(bigint, bytea[], uuid[], text[], bytea[]), requeue_lost(bigint, integer),
    forget_unpins(bigint, integer), has_uploads(uuid), waiting_uploads(uuid), overdue_uploads(uuid, integer),
    forget_upload(uuid, bytea), surplus(uuid, bytea[]), lose_pins(uuid, bytea[]), pause_fleet(text, text, timestamptz), resume_fleet(),
    end_overdue_pause(bigint), begin_gc(uuid, interval), end_gc(uuid)
from public;
grant execute on function
    take_office(text, uuid), fence(text, bigint), commit_map(bigint, bigint, bytea, bytea, integer[]),
    note_changed(bigint, integer), look_at(bigint, bigint, bytea[]),
    arrange_contents(bigint, bytea[], uuid[], text[], bytea[]), requeue_lost(bigint, integer),
    forget_unpins(bigint, integer), has_uploads(uuid), waiting_uploads(uuid), overdue_uploads(uuid, integer),
    forget_upload(uuid, bytea), surplus(uuid, bytea[]), lose_pins(uuid, bytea[]), pause_fleet(text, text, timestamptz), resume_fleet(),
    end_overdue_pause(bigint), begin_gc(uuid, interval), end_gc(uuid)
to anchorage_worker;
revoke all on function note_upload(uuid, bytea) from public;
grant execute on function note_upload(uuid, bytea) to anchorage_api;
