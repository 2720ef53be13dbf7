-- A pinner's own work: claiming placements and saying what became of them.
--
-- Whatever is told of jobs is told of many at once: arrays of the same length, one element for each job. A job is
-- the caller's as long as its generation is the one that was claimed; those that are not are passed over in
-- silence, and the answer names those that were.
--
-- What is called often keeps its plans, made while tables may have been small. So rows are looked up key by key (a
-- lateral join with "offset 0"), locked, and changed by where they are. What is called rarely is planned each time.

-- Where up to `most` due retries of a node are, for changing them in this transaction. If there are more, one of each share
-- in a circle that goes on behind `last_share`, and of each the one that has been due for longest: so what is tried again
-- for one org waits for at most one of each other's, and not for the thousands that one of them has. `reached` is the share
-- that was served last. While the fleet is paused the leader's share is passed over.
create function due_retries(node uuid, most integer, last_share integer, out places tid[], out reached integer)
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp
    set enable_sort = off
as $$
declare
    least_share integer := case when public.is_paused() then 1 else 0 end;
    upcoming integer;
    place tid;
    is_served boolean := true;
begin
    reached := greatest(last_share, least_share - 1);
    if least_share = 0 and (
        select count(*) from (
            select from public.placements p
            where p.node_id = node and p.status = 'queued' and p.attempts > 0 and p.next_attempt <= now()
            order by p.next_attempt
            limit most + 1
        ) due
    ) <= most then
        places := array(
            select p.ctid from public.placements p
            where p.node_id = node and p.status = 'queued' and p.attempts > 0 and p.next_attempt <= now()
            order by p.next_attempt
            limit most
            for no key update skip locked
        );
        return;
    end if;
    places := '{}';
    while cardinality(places) < most loop
        upcoming := (
            select p.share from public.placements p
            where p.node_id = node and p.status = 'queued' and p.attempts > 0 and p.share > reached
            order by p.share
            limit 1
        );
        if upcoming is null then
            -- Once more around, unless nothing was found the last time.
            exit when not is_served;
            is_served := false;
            reached := least_share - 1;
            continue;
        end if;
        reached := upcoming;
        select l.ctid into place from (
            -- Pairs are compared, so that no index but that of shares has the order.
            select p.ctid from public.placements p
            where p.node_id = node and p.status = 'queued' and p.attempts > 0
                and (p.share, p.next_attempt) >= (upcoming, '-infinity'::timestamptz)
                and (p.share, p.next_attempt) <= (upcoming, now())
                and p.ctid <> all (places)
            order by p.share, p.next_attempt
            limit 1
            for no key update skip locked
        ) l;
        if found then
            places := places || place;
            is_served := true;
        end if;
    end loop;
end
$$;

-- Takes due jobs of a node: new ones in the order of their turns (`oldest`) and from the other end (`newest`), copies
-- that the leader asked for (`copies`), ones that were tried before (`retries`, see due_retries) and unpins, each up to its
-- number. `turn` is the highest that was taken in order, `share` the last that was served of retries. While the fleet is
-- paused nothing of what the leader asked for is taken.
create function claim(
    node uuid, oldest integer, newest integer, copies integer, retries integer, unpins integer, lease interval,
    last_share integer
)
returns table (
    content bytea, job bigint, generation bigint, lane text, attempts integer, age_seconds double precision,
    turn bigint, share integer, unpin_begun boolean, origins text[]
)
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp
    -- The order is an index's: sorting what waits looks cheap only as long as that is little.
    set enable_sort = off
as $$
#variable_conflict use_column
declare
    due tid[] := '{}';
    reached bigint;
    again record;
    reached_share integer;
    paused boolean := public.is_paused();
    -- The node's own time.
    moment timestamptz := now() - (select make_interval(secs => n.idle_seconds) from public.nodes n where n.id = node);
begin
    if oldest > 0 then
        select array_agg(l.ctid), max(l.turn) into due, reached from (
            select p.ctid, p.turn from public.placements p
            where p.node_id = node and p.status = 'queued' and p.attempts = 0 and not p.moved and p.next_attempt <= now()
            order by p.turn, p.job
            limit oldest
            for no key update skip locked
        ) l;
    end if;
    if newest > 0 then
        due := due || array(
            select p.ctid from public.placements p
            where p.node_id = node and p.status = 'queued' and p.attempts = 0 and not p.moved and p.next_attempt <= now()
            order by p.turn desc, p.job desc
            limit newest
            for no key update skip locked
        );
    end if;
    if copies > 0 and not paused then
        due := due || array(
            select p.ctid from public.placements p
            where p.node_id = node and p.status = 'queued' and p.attempts = 0 and p.moved and p.next_attempt <= now()
            order by p.job
            limit copies
            for no key update skip locked
        );
    end if;
    if retries > 0 then
        again := public.due_retries(node, retries, last_share);
        due := due || again.places;
        reached_share := again.reached;
    end if;
    -- A claim need not outlive the database's failure: what is lost is taken once more, under the same generation and
    -- by the same node. But that an unpin has begun must never be forgotten.
    if unpins = 0 or (
        select true from public.placements p
        where p.node_id = node and p.status = 'unpinning' and p.next_attempt <= now() limit 1
    ) is null then
        perform set_config('synchronous_commit', 'off', true);
    else
        due := due || array(
            select p.ctid from public.placements p
            where p.node_id = node and p.status = 'unpinning' and p.next_attempt <= now()
            order by p.next_attempt
            limit unpins
            for no key update skip locked
        );
    end if;
    if due is null or due = '{}' then
        return;
    end if;
    return query
        update public.placements p
        set status = case p.status when 'queued' then 'pinning'::public.placement_status else p.status end,
            generation = p.generation + 1,
            lease_until = now() + lease,
            tried_since = case p.status when 'queued' then coalesce(p.tried_since, moment) end,
            -- An unpin is asked for again after its lease, should its pinner die.
            next_attempt = case p.status when 'unpinning' then now() + lease else p.next_attempt end,
            unpin_begun = p.unpin_begun or p.status = 'unpinning'
        where p.ctid = any (due)
        returning p.content, p.job, p.generation,
            case
                when p.status = 'unpinning' then 'unpin'
                when p.attempts > 0 then 'retry'
                when p.moved then 'copy'
                else 'fresh'
            end,
            p.attempts,
            coalesce(extract(epoch from moment - p.tried_since), 0)::double precision,
            reached,
            reached_share,
            p.unpin_begun,
            -- Hints for whoever fetches it: who holds it, or what the newest pins name.
            case when p.moved then array(
                select unnest(n.addresses)
                from public.placements holder join public.nodes n on n.id = holder.node_id
                where holder.content = p.content and holder.status = 'pinned' and n.kubo_ready
                limit 20
            ) else '{}' end || case when p.status = 'pinning' then array(
                select distinct unnest(named.origins)
                from (
                    select pins.origins from public.pins
                    where pins.content = p.content and pins.origins <> '{}'
                    order by pins.created desc limit 10
                ) named
                limit 20
            ) else '{}' end;
end
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

-- Puts back jobs whose lease ran out: their pinner was cut off from the database. Unpins come back by themselves.
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

-- Which of these jobs are still the caller's.
create function held_jobs(node uuid, keys bytea[], jobs bigint[], generations bigint[]) returns table (job bigint, generation bigint)
language plpgsql stable security definer set search_path = pg_catalog, public, pg_temp
as $$
#variable_conflict use_column
begin
    return query
        select r.job, r.generation
        from unnest(keys, jobs, generations) as r (key, job, generation)
        where (
            select p.job = r.job and p.generation = r.generation and p.status in ('pinning', 'unpinning')
            from public.placements p where p.content = r.key and p.node_id = node
        );
end
$$;

-- Where the placements of these jobs are that are still the caller's, for changing them in this transaction, and which
-- of the caller's arrays' elements each is. Locks them.
create function lock_jobs(
    node uuid, keys bytea[], jobs bigint[], generations bigint[], out places tid[], out numbers bigint[]
)
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp
as $$
begin
    select array_agg(l.ctid), array_agg(r.n) into places, numbers
    from unnest(keys, jobs, generations) with ordinality as r (key, job, generation, n)
    cross join lateral (
        select p.ctid, p.job, p.generation, p.status from public.placements p
        where p.content = r.key and p.node_id = node
        offset 0 for no key update
    ) l
    where l.job = r.job and l.generation = r.generation and l.status in ('pinning', 'unpinning');
end
$$;

-- Notes how large contents are by now, and gives up the unfinished pins of orgs that this takes over their limit of
-- bytes, content by content until it is kept. A content that no other pin wants is not fetched any further. The
-- contents must be locked.
create function charge(keys bytea[], byte_counts bigint[]) returns void
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp
as $$
declare
    charged record;
    used bigint;
begin
    perform public.note_bytes(keys, byte_counts);
    for charged in
        select distinct k.key as content, p.org_id, o.max_bytes
        from unnest(keys) as k (key)
        cross join lateral (
            select pins.org_id from public.pins
            where pins.content = k.key and pins.status in ('queued', 'pinning') and pins.refused is null
            offset 0
        ) p
        cross join lateral (select orgs.max_bytes from public.orgs where orgs.id = p.org_id offset 0) o
        where o.max_bytes is not null
        order by k.key, p.org_id
    loop
        -- What was summed up and what not yet, as usage_of() does for an org's own eyes.
        used := coalesce((select u.bytes from public.org_usage u where u.org_id = charged.org_id), 0)
            + coalesce((select sum(c.bytes) from public.count_changes c where c.org_id = charged.org_id), 0);
        continue when used <= charged.max_bytes;
        update public.pins
        set status = 'failed', refused = format(
            'with this content the org holds %s bytes and may hold %s; delete pins or ask for a higher limit, then pin it again',
            used, charged.max_bytes
        )
        where content = charged.content and org_id = charged.org_id
            and status in ('queued', 'pinning') and refused is null;
        update public.placements p
        set status = 'failed', generation = p.generation + 1, lease_until = null, reason = 'QUOTA',
            error = 'everybody who asked for it is over their limit'
        where p.content = charged.content and p.status in ('queued', 'pinning')
            and (select true from public.pins where content = charged.content and refused is null limit 1) is null;
    end loop;
end
$$;

-- Notes progress and lengthens the leases. Gives the jobs that are still the caller's; the others must stop.
create function report_progress(
    node uuid, keys bytea[], jobs bigint[], generations bigint[], block_counts bigint[], byte_counts bigint[],
    lease interval
) returns table (job bigint, generation bigint)
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp
as $$
#variable_conflict use_column
declare
    held record;
begin
    perform 1 from public.contents where key = any (keys) order by key for no key update;
    perform public.charge(keys, byte_counts);
    held := public.lock_jobs(node, keys, jobs, generations);
    return query
        update public.placements p
        set blocks = greatest(p.blocks, block_counts[held.numbers[array_position(held.places, p.ctid)]]),
            bytes = greatest(p.bytes, byte_counts[held.numbers[array_position(held.places, p.ctid)]]),
            lease_until = now() + lease,
            next_attempt = case p.status when 'unpinning' then now() + lease else p.next_attempt end
        where p.ctid = any (held.places)
        returning p.job, p.generation;
    perform public.settle(keys);
end
$$;

-- The contents are pinned on the node. Gives the jobs that were the caller's. One whose last bytes took everybody who
-- wanted it over their limits is not.
create function finish_pins(
    node uuid, keys bytea[], jobs bigint[], generations bigint[], block_counts bigint[], byte_counts bigint[]
) returns table (job bigint, generation bigint)
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp
as $$
#variable_conflict use_column
declare
    held record;
begin
    perform 1 from public.contents where key = any (keys) order by key for no key update;
    perform public.charge(keys, byte_counts);
    held := public.lock_jobs(node, keys, jobs, generations);
    return query
        update public.placements p
        set status = 'pinned', lease_until = null, error = null, reason = null, attempts = 0, after = null,
            unpin_begun = false, moved = false,
            blocks = greatest(p.blocks, block_counts[held.numbers[array_position(held.places, p.ctid)]]),
            bytes = greatest(p.bytes, byte_counts[held.numbers[array_position(held.places, p.ctid)]])
        where p.ctid = any (held.places) and p.status = 'pinning'
        returning p.job, p.generation;
    perform public.note_failed_copies(keys);
    perform public.settle(keys);
end
$$;

-- Has the leader look at those of these contents that a node has given up although another one holds them. The
-- contents must be locked.
create function note_failed_copies(keys bytea[]) returns void
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp
as $$
begin
    update public.contents c set astray = true
    where c.key = any (keys) and not c.astray
        and (select true from public.placements p where p.content = c.key and p.status = 'failed' limit 1)
        and (select true from public.placements p where p.content = c.key and p.status = 'pinned' limit 1);
end
$$;

-- Attempts that came to nothing: another one after so many seconds, or none where that is null. Where it does not
-- count, nothing was wrong with it but the time it took: it goes on in the retry lane. What was asked for once more
-- while it was under way is not given up by what was left to those who asked before, and does not wait for long.
-- Gives the jobs that were the caller's.
create function fail_pins(
    node uuid, keys bytea[], jobs bigint[], generations bigint[], whys text[], reasons text[], counts boolean[],
    retries_in double precision[]
) returns table (job bigint, generation bigint)
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp
as $$
#variable_conflict use_column
declare
    held record;
    n bigint;
begin
    perform 1 from public.contents where key = any (keys) order by key for no key update;
    held := public.lock_jobs(node, keys, jobs, generations);
    foreach n in array coalesce(held.numbers, '{}') loop
        return query
            update public.placements p
            set status = case
                    when retries_in[n] is null and p.tried_since is not null then 'failed' else 'queued'
                end::public.placement_status,
                attempts = case when counts[n] then p.attempts + 1 else greatest(p.attempts, 1) end,
                lease_until = null, generation = p.generation + 1,
                error = case when retries_in[n] is not null or p.tried_since is not null then whys[n] end,
                reason = case when retries_in[n] is not null or p.tried_since is not null then reasons[n] end,
                next_attempt = case
                    -- least() passes over what is null.
                    when p.tried_since is null then
                        now() + least(make_interval(secs => retries_in[n]), public.asked_anew_wait())
                    else coalesce(now() + make_interval(secs => retries_in[n]), p.next_attempt)
                end
            where p.content = keys[n] and p.node_id = node and p.generation = generations[n] and p.status = 'pinning'
            returning p.job, generations[n];
    end loop;
    perform public.note_failed_copies(keys);
    perform public.settle(keys);
end
$$;

-- Puts jobs back as they were, without counting an attempt: their pinner stops, or its Kubo is away. How long they have
-- to wait for Kubo does not bring their deadline nearer; what got no further than to ask for it was not tried at all.
create function release_jobs(
    node uuid, keys bytea[], jobs bigint[], generations bigint[], retries_in double precision[]
) returns table (job bigint, generation bigint)
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp
as $$
#variable_conflict use_column
declare
    held record := public.lock_jobs(node, keys, jobs, generations);
begin
    return query
        update public.placements p
        set status = case p.status when 'pinning' then 'queued'::public.placement_status else p.status end,
            generation = p.generation + 1, lease_until = null,
            next_attempt = now()
                + make_interval(secs => retries_in[held.numbers[array_position(held.places, p.ctid)]]),
            tried_since = case
                when p.attempts > 0 or retries_in[held.numbers[array_position(held.places, p.ctid)]] = 0 then
                    p.tried_since + make_interval(secs => retries_in[held.numbers[array_position(held.places, p.ctid)]])
            end
        where p.ctid = any (held.places)
        returning p.job, p.generation - 1;
end
$$;

-- The contents are unpinned on the node: the placements are gone, and with the last one each content. Gives the
-- jobs that were the caller's; one is not when somebody pinned the content again meanwhile.
create function finish_unpins(node uuid, keys bytea[], jobs bigint[], generations bigint[]) returns table (job bigint, generation bigint)
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp
as $$
#variable_conflict use_column
declare
    held record;
begin
    perform 1 from public.contents where key = any (keys) order by key for update;
    held := public.lock_jobs(node, keys, jobs, generations);
    return query
        delete from public.placements p
        where p.ctid = any (held.places) and p.status = 'unpinning'
        returning p.job, p.generation;
    delete from public.contents c
    where c.key = any (keys) and c.refs = 0
        and (select true from public.placements p where p.content = c.key limit 1) is null;
end
$$;

-- Whether an unpin is still wanted, asked right before Kubo is told: `yes`, because no pin holds the content or enough
-- other nodes do; `superseded`, because the job is another one by now; or `needed`, because too few others hold it.
create function may_unpin(node uuid, content_key bytea, job_id bigint, job_generation bigint) returns text
language plpgsql stable security definer set search_path = pg_catalog, public, pg_temp
as $$
begin
    if (
        select true from public.placements p
        where p.content = content_key and p.node_id = node and p.job = job_id and p.generation = job_generation
            and p.status = 'unpinning'
    ) is null then
        return 'superseded';
    end if;
    if (select c.refs = 0 from public.contents c where c.key = content_key) or (
        select count(*) from public.placements p join public.nodes n on n.id = p.node_id
        where p.content = content_key and p.node_id <> node and p.status = 'pinned'
            and n.kubo_seen > now() - public.presence_ttl()
    ) >= coalesce((select max(p.copies_min) from public.pins p where p.content = content_key and p.refused is null), 0) then
        return 'yes';
    end if;
    return 'needed';
end
$$;

-- Contents that were to be let go, that the node's Kubo holds and that too few others hold: they are pinned there after
-- all, and the leader looks at them again. Gives the jobs that were the caller's.
create function keep_needed(
    node uuid, keys bytea[], jobs bigint[], generations bigint[], block_counts bigint[], byte_counts bigint[]
) returns table (job bigint, generation bigint)
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp
as $$
#variable_conflict use_column
declare
    held record;
begin
    perform 1 from public.contents where key = any (keys) order by key for no key update;
    perform public.charge(keys, byte_counts);
    held := public.lock_jobs(node, keys, jobs, generations);
    return query
        update public.placements p
        set status = 'pinned', generation = p.generation + 1, lease_until = null, error = null, reason = null, attempts = 0,
            after = null, unpin_begun = false, moved = false,
            blocks = greatest(p.blocks, block_counts[held.numbers[array_position(held.places, p.ctid)]]),
            bytes = greatest(p.bytes, byte_counts[held.numbers[array_position(held.places, p.ctid)]])
        where p.ctid = any (held.places) and p.status = 'unpinning'
            and (select c.refs > 0 from public.contents c where c.key = p.content)
        returning p.job, p.generation - 1;
    update public.contents c set astray = true where c.key = any (keys) and c.refs > 0 and not c.astray;
    perform public.settle(keys);
end
$$;

-- Fails up to `max_rows` placements of a node that waited for another attempt past their deadline, while the node could
-- have made one.
create function fail_overdue(node uuid, deadline interval, max_rows integer) returns bigint
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp
    set plan_cache_mode = force_custom_plan
as $$
declare
    overdue bytea[];
    failed bigint;
    latest timestamptz :=
        now() - (select make_interval(secs => n.idle_seconds) from public.nodes n where n.id = node) - deadline;
begin
    select array_agg(o.content) into overdue
    from (
        select p.content from public.placements p
        where p.node_id = node and p.status = 'queued' and p.attempts > 0 and p.tried_since < latest
        order by p.next_attempt
        limit max_rows
    ) o;
    perform 1 from public.contents where key = any (overdue) order by key for no key update;
    update public.placements p
    set status = 'failed', generation = p.generation + 1, reason = 'DEADLINE'
    where p.content = any (overdue) and p.node_id = node
        and p.status = 'queued' and p.attempts > 0 and p.tried_since < latest;
    get diagnostics failed = row_count;
    perform public.note_failed_copies(overdue);
    perform public.settle(overdue);
    return failed;
end
$$;

-- Replacing a pin keeps what both contents share: the unpin of the old one, and of those that wait for it in their
-- turn, waits until the new one is fetched. Only where this very transaction has turned the old one to be let go, so
-- nobody reaches what somebody else dropped.
create function keep_until(old_content bytea, new_content bytea) returns void
language sql volatile security definer set search_path = pg_catalog, public, pg_temp
as $$
    update public.placements p
    set after = new_content, next_attempt = 'infinity'
    where p.status = 'unpinning' and p.lease_until is null and (p.content = old_content or p.after = old_content)
        and exists (
            select from public.placements o
            where o.content = old_content and o.status = 'unpinning' and o.xmin = pg_current_xact_id_if_assigned()::xid
        )
        and exists (
            select from public.placements n where n.content = new_content and n.status in ('queued', 'pinning')
        )
$$;

-- Lets the unpins of a node go on that wait for a content which is fetched, or which will not be soon: the third
-- attempt at it has begun.
create function release_kept(node uuid) returns bigint
language sql volatile security definer set search_path = pg_catalog, public, pg_temp
as $$
    with released as (
        update public.placements p
        set after = null, next_attempt = now()
        where p.after is not null and p.node_id = node and p.status = 'unpinning' and p.next_attempt = 'infinity'
            and not exists (
                select from public.placements n
                where n.content = p.after and n.status in ('queued', 'pinning') and n.attempts < 3
            )
        returning 1
    )
    select count(*) from released
$$;

-- Deletes up to `max_rows` pins whose time is up. Gives the jobs to wake pinners for: what nobody else holds.
create function expire_pins(max_rows integer) returns table (job bigint, node_id uuid, generation bigint)
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp
    set plan_cache_mode = force_custom_plan
as $$
#variable_conflict use_column
declare
    expired uuid[];
    released bytea[];
begin
    select array_agg(e.id), array_agg(distinct e.content) into expired, released
    from (
        select pins.id, pins.content from public.pins
        where pins.expires <= now() order by pins.expires limit max_rows
    ) e;
    perform 1 from public.contents where key = any (released) order by key for no key update;
    delete from public.pins where id = any (expired) and expires <= now();
    return query
        select p.job, p.node_id, p.generation from public.placements p
        where p.content = any (released) and p.status = 'unpinning' and p.lease_until is null;
end
$$;

revoke all on function
    claim(uuid, integer, integer, integer, integer, integer, interval, integer), hand_back(uuid), expire_leases(uuid),
    held_jobs(uuid, bytea[], bigint[], bigint[]), lock_jobs(uuid, bytea[], bigint[], bigint[]),
    due_retries(uuid, integer, integer), charge(bytea[], bigint[]), note_failed_copies(bytea[]),
    report_progress(uuid, bytea[], bigint[], bigint[], bigint[], bigint[], interval),
    finish_pins(uuid, bytea[], bigint[], bigint[], bigint[], bigint[]),
    fail_pins(uuid, bytea[], bigint[], bigint[], text[], text[], boolean[], double precision[]),
    release_jobs(uuid, bytea[], bigint[], bigint[], double precision[]),
    finish_unpins(uuid, bytea[], bigint[], bigint[]), may_unpin(uuid, bytea, bigint, bigint),
    keep_needed(uuid, bytea[], bigint[], bigint[], bigint[], bigint[]),
    fail_overdue(uuid, interval, integer), keep_until(bytea, bytea), release_kept(uuid), expire_pins(integer)
from public;
grant execute on function
    claim(uuid, integer, integer, integer, integer, integer, interval, integer), hand_back(uuid), expire_leases(uuid),
    held_jobs(uuid, bytea[], bigint[], bigint[]),
    report_progress(uuid, bytea[], bigint[], bigint[], bigint[], bigint[], interval),
    finish_pins(uuid, bytea[], bigint[], bigint[], bigint[], bigint[]),
    fail_pins(uuid, bytea[], bigint[], bigint[], text[], text[], boolean[], double precision[]),
    release_jobs(uuid, bytea[], bigint[], bigint[], double precision[]),
    finish_unpins(uuid, bytea[], bigint[], bigint[]), may_unpin(uuid, bytea, bigint, bigint),
    keep_needed(uuid, bytea[], bigint[], bigint[], bigint[], bigint[]),
    fail_overdue(uuid, interval, integer), release_kept(uuid), expire_pins(integer)
to anchorage_worker;
grant execute on function keep_until(bytea, bytea) to anchorage_api;
