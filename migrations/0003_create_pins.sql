-- Pins, the contents they hold, and where those are placed.
--
-- Locks are taken in one order everywhere: org, contents (by key), pins, placements, counters.

create type pin_status as enum ('queued', 'pinning', 'pinned', 'failed');
create type placement_status as enum ('queued', 'pinning', 'pinned', 'failed', 'unpinning');

create table pins (
    org_id uuid not null references orgs (id),
    id uuid primary key,
    status pin_status not null default 'queued',
    -- Set by the trigger below: milliseconds, unique and increasing within the org, since every client pages by it.
    created timestamptz not null,
    -- The CID as the client spelled it, and the content that it names (binary CIDv1).
    cid text not null,
    content bytea not null,
    name text check (char_length(name) <= 255),
    -- The name without its case, as the service folds it; the database's own lower() depends on its locale.
    name_folded text,
    origins text[] not null default '{}',
    meta jsonb,
    -- On how many nodes the content must be, and on how many it is put.
    copies_min smallint not null check (copies_min >= 1),
    copies_max smallint not null check (copies_max >= copies_min),
    -- Pages of a list, newest first, and the guarantee that paging by time is exact.
    unique (org_id, created),
    unique (org_id, id)
);
-- Lists by status, newest first.
create index pins_by_status on pins (org_id, status, created desc);
-- "Which pins hold this content": for an org's ?cid= and, without the org, when a placement changes.
create index pins_by_content on pins (content, org_id);
-- Lists by exact name; the other matches go through the org's rows.
create index pins_by_name on pins (org_id, name, created desc) where name is not null;

alter table pins enable row level security;
alter table pins force row level security;
create policy owner on pins to anchorage_owner using (true) with check (true);
create policy tenant on pins to anchorage_api
    using (org_id = (select current_org())) with check (org_id = (select current_org()));
grant select, insert, delete on pins to anchorage_api;

-- One row for each content that at least one pin of any org holds. No org can see it.
create table contents (
    key bytea primary key,
    partition integer not null
        generated always as (get_byte(sha256(key), 0) * 256 + get_byte(sha256(key), 1)) stored,
    -- How many pins hold it: kept by the triggers on pins.
    refs bigint not null check (refs >= 0),
    -- Whether it is on fewer nodes than its pins ask for, because too few nodes were there to take it.
    short boolean not null default false,
    created timestamptz not null default now()
);
-- What the sweep for missing copies looks at.
create index contents_short on contents (key) where short;
alter table contents enable row level security;
alter table contents force row level security;
create policy owner on contents to anchorage_owner using (true) with check (true);
create policy worker on contents to anchorage_worker using (true) with check (true);
grant select on contents to anchorage_worker;

-- Content × node. The job and its generation are all that a message to a pinner carries.
create table placements (
    content bytea not null references contents (key),
    node_id uuid not null references nodes (id),
    job bigint not null generated always as identity unique,
    status placement_status not null default 'queued',
    -- Bumped whenever the work changes hands or meaning; a result for another generation is refused.
    generation bigint not null default 1,
    lease_until timestamptz,
    attempts integer not null default 0,
    -- Since when this has been tried: the deadline counts from here.
    placed timestamptz not null default now(),
    next_attempt timestamptz not null default now(),
    blocks bigint not null default 0,
    bytes bigint not null default 0,
    error text,
    primary key (content, node_id)
);
-- What a node has to do next.
create index placements_due on placements (node_id, next_attempt) where status in ('queued', 'unpinning');
-- Work whose holder went silent.
create index placements_leased on placements (node_id, lease_until) where status = 'pinning';
-- What is on a node: for drains and metrics.
create index placements_by_node on placements (node_id, status);

alter table placements enable row level security;
alter table placements force row level security;
create policy owner on placements to anchorage_owner using (true) with check (true);
create policy worker on placements to anchorage_worker using (true) with check (true);
create policy metrics on placements for select to anchorage_metrics using (true);
grant select on placements to anchorage_worker, anchorage_metrics;

-- Exact counts of pins for each org and status, in 16 slots so that concurrent writers rarely meet.
create table pin_counts (
    org_id uuid not null references orgs (id),
    status pin_status not null,
    slot smallint not null,
    pins bigint not null,
    primary key (org_id, status, slot)
);
alter table pin_counts enable row level security;
alter table pin_counts force row level security;
create policy owner on pin_counts to anchorage_owner using (true) with check (true);
create policy tenant on pin_counts to anchorage_api
    using (org_id = (select current_org())) with check (org_id = (select current_org()));
create policy metrics on pin_counts for select to anchorage_metrics using (true);
grant select on pin_counts to anchorage_api, anchorage_metrics;

-- ---------------------------------------------------------------- what keeps itself true

create function stamp_pin() returns trigger
language plpgsql security definer set search_path = pg_catalog, public, pg_temp
as $$
begin
    update public.orgs
    set last_pin_created = greatest(
        date_trunc('milliseconds', clock_timestamp()),
        last_pin_created + interval '1 millisecond'
    )
    where id = new.org_id
    returning last_pin_created into new.created;
    return new;
end
$$;
create trigger stamp_pin before insert on pins for each row execute function stamp_pin();

create function count_pins() returns trigger
language plpgsql security definer set search_path = pg_catalog, public, pg_temp
as $$
begin
    if tg_op = 'INSERT' then
        insert into public.contents as c (key, refs)
        select content, count(*) from added group by content order by content
        on conflict (key) do update set refs = c.refs + excluded.refs;
        insert into public.pin_counts as p (org_id, status, slot, pins)
        select org_id, status, pg_backend_pid() % 16, count(*) from added group by org_id, status order by org_id, status
        on conflict (org_id, status, slot) do update set pins = p.pins + excluded.pins;
    elsif tg_op = 'DELETE' then
        -- Whoever deletes has locked the contents already, by lock_contents.
        update public.contents c set refs = c.refs - r.n
        from (select content, count(*) as n from removed group by content) r
        where c.key = r.content;
        update public.placements p
        set status = 'unpinning', generation = p.generation + 1, lease_until = null, attempts = 0,
            placed = now(), next_attempt = now(), error = null
        from (select distinct content from removed) r join public.contents c on c.key = r.content
        where p.content = c.key and c.refs = 0 and p.status <> 'unpinning';
        insert into public.pin_counts as p (org_id, status, slot, pins)
        select org_id, status, pg_backend_pid() % 16, -count(*) from removed group by org_id, status order by org_id, status
        on conflict (org_id, status, slot) do update set pins = p.pins + excluded.pins;
    else
        insert into public.pin_counts as p (org_id, status, slot, pins)
        select org_id, status, pg_backend_pid() % 16, sum(n)
        from (
            select org_id, status, 1 as n from added
            union all
            select org_id, status, -1 from removed
        ) changes
        group by org_id, status having sum(n) <> 0 order by org_id, status
        on conflict (org_id, status, slot) do update set pins = p.pins + excluded.pins;
    end if;
    return null;
end
$$;
create trigger count_inserted after insert on pins
    referencing new table as added for each statement execute function count_pins();
create trigger count_deleted after delete on pins
    referencing old table as removed for each statement execute function count_pins();
create trigger count_updated after update on pins
    referencing old table as removed new table as added for each statement execute function count_pins();

-- ---------------------------------------------------------------- the only ways to shared tables

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

-- Brings the status of every pin of a content up to what its placements say. The content must be locked.
-- A pin that has been pinned stays so: losing a copy is for repair, not for the client.
create function settle(content_key bytea) returns void
language sql volatile security definer set search_path = pg_catalog, public, pg_temp
as $$
    with placed as (
        select
            count(*) filter (where status = 'pinned') as pinned,
            count(*) filter (where status = 'pinning' or (status = 'queued' and attempts > 0)) as tried,
            count(*) filter (where status in ('queued', 'pinning')) as open,
            count(*) as total
        from public.placements
        where content = content_key and status <> 'unpinning'
    ), settled as (
        select pins.id, case
            when placed.pinned >= pins.copies_min or pins.status = 'pinned' then 'pinned'
            when placed.total = 0 then 'queued'
            when placed.open = 0 and placed.total >= pins.copies_min then 'failed'
            when placed.tried > 0 or placed.pinned > 0 then 'pinning'
            else 'queued'
        end::public.pin_status as status
        from public.pins cross join placed
        where pins.content = content_key
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
        placed = now(), next_attempt = now(), error = null
    where p.content = content_key and p.status in ('failed', 'unpinning');
    perform public.fill_copies(content_key, copies, candidates);
    perform public.settle(content_key);
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
    next_attempt timestamptz, error text
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
        min(p.error) filter (where p.status in ('queued', 'failed'))
    from public.pins
    left join public.placements p on p.content = pins.content and p.status <> 'unpinning'
    where pins.id = any (pin_ids) and pins.org_id = public.current_org()
    group by pins.id
$$;

-- ---------------------------------------------------------------- a pinner's own work

-- Takes up to `slots` due jobs of a node, oldest first. Both kinds of work: pinning and unpinning.
create function claim(node uuid, slots integer, lease interval)
returns table (
    content bytea, job bigint, generation bigint, unpin boolean, attempts integer, age_seconds double precision
)
language sql volatile security definer set search_path = pg_catalog, public, pg_temp
as $$
    with due as (
        select p.content, p.node_id from public.placements p
        where p.node_id = node and p.status in ('queued', 'unpinning') and p.next_attempt <= now()
            and (p.lease_until is null or p.lease_until < now())
        order by p.next_attempt
        limit slots
        for no key update skip locked
    )
    update public.placements p
    set status = case p.status when 'queued' then 'pinning'::public.placement_status else p.status end,
        generation = p.generation + 1,
        lease_until = now() + lease,
        -- An unpin is asked for again after its lease, should its pinner die.
        next_attempt = case p.status when 'unpinning' then now() + lease else p.next_attempt end
    from due
    where p.content = due.content and p.node_id = due.node_id
    returning p.content, p.job, p.generation, p.status = 'unpinning', p.attempts,
        extract(epoch from now() - p.placed)::double precision
$$;

-- Puts back every job that a node had taken: at its start, when whoever took them is gone, and at its end.
create function hand_back(node uuid) returns bigint
language sql volatile security definer set search_path = pg_catalog, public, pg_temp
as $$
    with back as (
        update public.placements
        set status = case status when 'pinning' then 'queued'::public.placement_status else status end,
            generation = generation + 1, lease_until = null, next_attempt = now()
        where node_id = node and lease_until is not null and status in ('pinning', 'unpinning')
        returning 1
    )
    select count(*) from back
$$;

-- Puts back jobs whose lease ran out: their pinner was cut off from the database.
create function expire_leases(node uuid) returns bigint
language sql volatile security definer set search_path = pg_catalog, public, pg_temp
as $$
    with back as (
        update public.placements
        set status = 'queued', generation = generation + 1, lease_until = null, next_attempt = now()
        where node_id = node and status = 'pinning' and lease_until < now()
        returning 1
    )
    select count(*) from back
$$;

-- Puts one job back as it was, without counting an attempt: its pinner stops, or its Kubo is away.
create function release_job(job_id bigint, job_generation bigint, retry_in interval) returns void
language sql volatile security definer set search_path = pg_catalog, public, pg_temp
as $$
    update public.placements
    set status = case status when 'pinning' then 'queued'::public.placement_status else status end,
        generation = generation + 1, lease_until = null, next_attempt = now() + retry_in
    where job = job_id and generation = job_generation and status in ('pinning', 'unpinning')
$$;

-- Notes progress and lengthens the lease. False when the job is no longer the caller's: then it must stop.
create function report_progress(
    job_id bigint, job_generation bigint, content_key bytea, block_count bigint, byte_count bigint, lease interval
) returns boolean
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp
as $$
begin
    perform 1 from public.contents where key = content_key for no key update;
    update public.placements
    set blocks = block_count, bytes = byte_count, lease_until = now() + lease
    where job = job_id and generation = job_generation and status = 'pinning';
    if not found then
        return false;
    end if;
    perform public.settle(content_key);
    return true;
end
$$;

-- The content is pinned on the node. False when the job is no longer the caller's.
create function finish_pin(job_id bigint, job_generation bigint, content_key bytea) returns boolean
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp
as $$
begin
    perform 1 from public.contents where key = content_key for no key update;
    update public.placements
    set status = 'pinned', lease_until = null, error = null, attempts = 0
    where job = job_id and generation = job_generation and status = 'pinning';
    if not found then
        return false;
    end if;
    perform public.settle(content_key);
    return true;
end
$$;

-- An attempt failed: another one after `retry_in`, or none when that is null. False when not the caller's.
create function fail_pin(job_id bigint, job_generation bigint, content_key bytea, why text, retry_in interval)
returns boolean
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp
as $$
begin
    perform 1 from public.contents where key = content_key for no key update;
    update public.placements
    set status = case when retry_in is null then 'failed' else 'queued' end::public.placement_status,
        attempts = attempts + 1, lease_until = null, error = why, generation = generation + 1,
        next_attempt = coalesce(now() + retry_in, next_attempt)
    where job = job_id and generation = job_generation and status = 'pinning';
    if not found then
        return false;
    end if;
    perform public.settle(content_key);
    return true;
end
$$;

-- The content is unpinned on the node: the placement is gone, and with the last one the content.
-- False when the job is no longer the caller's, as when someone pinned the content again meanwhile.
create function finish_unpin(job_id bigint, job_generation bigint, content_key bytea) returns boolean
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp
as $$
begin
    perform 1 from public.contents where key = content_key for update;
    delete from public.placements where job = job_id and generation = job_generation and status = 'unpinning';
    if not found then
        return false;
    end if;
    delete from public.contents c
    where c.key = content_key and c.refs = 0
        and not exists (select from public.placements p where p.content = content_key);
    return true;
end
$$;

-- Whether an unpin is still wanted: asked right before Kubo is told.
create function may_unpin(job_id bigint, job_generation bigint) returns boolean
language sql stable security definer set search_path = pg_catalog, public, pg_temp
as $$
    select exists (
        select from public.placements p join public.contents c on c.key = p.content
        where p.job = job_id and p.generation = job_generation and p.status = 'unpinning' and c.refs = 0
    )
$$;

-- Contents behind `after` that are on fewer nodes than their pins ask for. `copies` is what the most demanding pin
-- asks for.
create function short_of_copies(after bytea, max_rows integer) returns table (content bytea, partition integer, copies integer)
language sql stable security definer set search_path = pg_catalog, public, pg_temp
as $$
    select c.key, c.partition, (select max(copies_max) from public.pins where content = c.key)::integer
    from public.contents c
    where c.short and c.refs > 0 and c.key > after
    order by c.key
    limit max_rows
$$;

-- Adds placements to a content that was short of copies. Gives the jobs to wake pinners for.
create function add_copies(content_key bytea, copies integer, candidates uuid[])
returns table (job bigint, node_id uuid, generation bigint)
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp
as $$
#variable_conflict use_column
begin
    perform 1 from public.contents where key = content_key and refs > 0 for no key update;
    if not found then
        return;
    end if;
    perform public.fill_copies(content_key, copies, candidates);
    perform public.settle(content_key);
    return query
        select p.job, p.node_id, p.generation from public.placements p
        where p.content = content_key and p.status = 'queued' and p.attempts = 0;
end
$$;

-- Origins of the pins that hold a content, newest first: hints for whoever fetches it.
create function origins_of(content_key bytea) returns text[]
language sql stable security definer set search_path = pg_catalog, public, pg_temp
as $$
    select coalesce(array_agg(distinct origin), '{}')
    from (
        select unnest(origins) as origin from (
            select origins from public.pins
            where content = content_key and cardinality(origins) > 0
            order by created desc limit 10
        ) newest limit 20
    ) hints
$$;

revoke all on function
    stamp_pin(), count_pins(), lock_contents(uuid, bytea[]), settle(bytea), fill_copies(bytea, integer, uuid[]), place(bytea, integer, uuid[]),
    unpin_jobs(bytea), pin_progress(uuid[]), claim(uuid, integer, interval), hand_back(uuid), expire_leases(uuid),
    release_job(bigint, bigint, interval),
    report_progress(bigint, bigint, bytea, bigint, bigint, interval), finish_pin(bigint, bigint, bytea),
    fail_pin(bigint, bigint, bytea, text, interval), finish_unpin(bigint, bigint, bytea), may_unpin(bigint, bigint),
    short_of_copies(bytea, integer), add_copies(bytea, integer, uuid[]), origins_of(bytea)
from public;
grant execute on function
    lock_contents(uuid, bytea[]), place(bytea, integer, uuid[]), unpin_jobs(bytea), pin_progress(uuid[])
to anchorage_api;
grant execute on function
    claim(uuid, integer, interval), hand_back(uuid), expire_leases(uuid),
    release_job(bigint, bigint, interval),
    report_progress(bigint, bigint, bytea, bigint, bigint, interval), finish_pin(bigint, bigint, bytea),
    fail_pin(bigint, bigint, bytea, text, interval), finish_unpin(bigint, bigint, bytea), may_unpin(bigint, bigint),
    short_of_copies(bytea, integer), add_copies(bytea, integer, uuid[]), origins_of(bytea)
to anchorage_worker;
