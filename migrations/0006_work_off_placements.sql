-- A pinner's own work: claiming placements and saying what became of them.

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
    perform public.settle(array[content_key]);
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
    perform public.settle(array[content_key]);
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
    perform public.settle(array[content_key]);
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
    perform public.settle(array[content_key]);
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
    claim(uuid, integer, interval), hand_back(uuid), expire_leases(uuid),
    release_job(bigint, bigint, interval),
    report_progress(bigint, bigint, bytea, bigint, bigint, interval), finish_pin(bigint, bigint, bytea),
    fail_pin(bigint, bigint, bytea, text, interval), finish_unpin(bigint, bigint, bytea), may_unpin(bigint, bigint),
    short_of_copies(bytea, integer), add_copies(bytea, integer, uuid[]), origins_of(bytea)
from public;
grant execute on function
    claim(uuid, integer, interval), hand_back(uuid), expire_leases(uuid),
    release_job(bigint, bigint, interval),
    report_progress(bigint, bigint, bytea, bigint, bigint, interval), finish_pin(bigint, bigint, bytea),
    fail_pin(bigint, bigint, bytea, text, interval), finish_unpin(bigint, bigint, bytea), may_unpin(bigint, bigint),
    short_of_copies(bytea, integer), add_copies(bytea, integer, uuid[]), origins_of(bytea)
to anchorage_worker;
