-- The only ways by which the API reaches contents and placements, which no org can see.

-- Locks contents in the order that all writers share. With an org its row comes first: for a transaction that
-- will also insert a pin of it. Gives nothing away: a content that is not there is skipped in silence.
create function lock_contents(org uuid, keys bytea[]) returns void
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp
as $$
begin
    perform 1 from public.orgs where id = org for no key update;
    perform 1 from public.contents where key = any (keys) order by key for no key update;
end
$$;

-- Brings the status of every pin of these contents up to what their placements say. The contents must be locked.
-- A pin that has been pinned stays so: losing a copy is for repair, not for the client.
create function settle(keys bytea[]) returns void
language sql volatile security definer set search_path = pg_catalog, public, pg_temp
as $$
    with placed as (
        select
            k.key,
            count(*) filter (where p.status = 'pinned') as pinned,
            count(*) filter (where p.status = 'pinning' or (p.status = 'queued' and p.attempts > 0)) as tried,
            count(*) filter (where p.status in ('queued', 'pinning')) as open,
            count(p.content) as total
        from unnest(keys) as k (key)
        left join public.placements p on p.content = k.key and p.status <> 'unpinning'
        group by k.key
    ), settled as (
        select pins.id, case
            when pins.refused is not null then 'failed'
            when placed.pinned >= pins.copies_min or pins.status = 'pinned' then 'pinned'
            when placed.total = 0 then 'queued'
            when placed.open = 0 and placed.total >= pins.copies_min then 'failed'
            when placed.tried > 0 or placed.pinned > 0 then 'pinning'
            else 'queued'
        end::public.pin_status as status
        from public.pins join placed on pins.content = placed.key
    )
    update public.pins set status = settled.status
    from settled
    where pins.id = settled.id and pins.status <> settled.status
$$;

-- Adds placements on `candidates` (best first, nodes that take none left out) until a content has `copies`, and
-- notes whether it still has too few. The content must be locked.
create function fill_copies(content_key bytea, copies integer, candidates uuid[]) returns void
language sql volatile security definer set search_path = pg_catalog, public, pg_temp
as $$
    insert into public.placements (content, node_id)
    select content_key, c.id
    from unnest(candidates) with ordinality as c (id, rank)
    join public.nodes n on n.id = c.id and n.scheduling = 'Active'
    where not exists (select from public.placements p where p.content = content_key and p.node_id = c.id)
    order by c.rank
    limit greatest(0, copies - (select count(*) from public.placements p where p.content = content_key));
    update public.contents c
    set short = s.is_short
    from (select count(*) < copies as is_short from public.placements where content = content_key) s
    where c.key = content_key and c.short <> s.is_short;
$$;

-- Places a content that the caller's org has just pinned: revives what had failed or was about to be unpinned,
-- fills up from `candidates` (best first) to `copies`, and settles. Gives the jobs to wake pinners for.
create function place(content_key bytea, copies integer, candidates uuid[])
returns table (job bigint, node_id uuid, generation bigint)
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp
as $$
#variable_conflict use_column
begin
    if not exists (select from public.pins where content = content_key and org_id = public.current_org()) then
        raise exception 'only a content that the org has pinned can be placed' using errcode = 'insufficient_privilege';
    end if;
    update public.placements p
    set status = 'queued', generation = p.generation + 1, lease_until = null, attempts = 0,
        placed = now(), next_attempt = now(), error = null, reason = null, after = null
    where p.content = content_key and p.status in ('failed', 'unpinning');
    perform public.fill_copies(content_key, copies, candidates);
    perform public.settle(array[content_key]);
    return query
        select p.job, p.node_id, p.generation from public.placements p
        where p.content = content_key and p.status = 'queued';
end
$$;

-- The jobs that deleting the last pin of a content left behind, to wake pinners for.
create function unpin_jobs(content_key bytea) returns table (job bigint, node_id uuid, generation bigint)
language sql stable security definer set search_path = pg_catalog, public, pg_temp
as $$
    select job, node_id, generation from public.placements where content = content_key and status = 'unpinning'
$$;

-- How far the caller's own pins are: the best that any node reports. Also which nodes hold them.
create function pin_progress(pin_ids uuid[])
returns table (
    pin_id uuid, nodes uuid[], copies bigint, pinned bigint, attempts integer, blocks bigint, bytes bigint,
    next_attempt timestamptz, error text, reason text, expires timestamptz, refused text
)
language sql stable security definer set search_path = pg_catalog, public, pg_temp
as $$
    select
        pins.id,
        coalesce(array_agg(p.node_id order by p.status = 'pinned' desc, p.job) filter (where p.node_id is not null), '{}'),
        count(p.node_id),
        count(*) filter (where p.status = 'pinned'),
        coalesce(max(p.attempts) filter (where p.status <> 'pinned'), 0),
        coalesce(max(p.blocks), 0),
        coalesce(max(p.bytes), 0),
        min(p.next_attempt) filter (where p.status = 'queued' and p.attempts > 0),
        (array_agg(p.error order by p.job) filter (where p.status in ('queued', 'failed') and p.error is not null))[1],
        (array_agg(p.reason order by p.job) filter (where p.status in ('queued', 'failed') and p.error is not null))[1],
        pins.expires,
        pins.refused
    from public.pins
    left join public.placements p on p.content = pins.content and p.status <> 'unpinning'
    where pins.id = any (pin_ids) and pins.org_id = public.current_org()
    group by pins.org_id, pins.id
$$;

revoke all on function
    lock_contents(uuid, bytea[]), settle(bytea[]), fill_copies(bytea, integer, uuid[]), place(bytea, integer, uuid[]),
    unpin_jobs(bytea), pin_progress(uuid[])
from public;
grant execute on function
    lock_contents(uuid, bytea[]), place(bytea, integer, uuid[]), unpin_jobs(bytea), pin_progress(uuid[])
to anchorage_api;
