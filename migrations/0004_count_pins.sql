-- What follows every change of a pin by itself: the references to its content, the counts, the org's usage.
--
-- Whoever changes pins only appends what changed, so no writer waits for another one because of a counter. From time to
-- time changes are folded into sums. A reader adds both up in one snapshot: exact at every moment.

-- What changed and is not folded yet.
create table count_changes (
    org_id uuid not null,
    -- None for a change of bytes alone.
    status pin_status,
    -- When the pins were created: milliseconds >> 13, the finest buckets of pin_counts.
    bucket bigint,
    pins bigint not null default 0,
    bytes bigint not null default 0
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
-- An org's own, for its readers.
create index count_changes_by_org on count_changes (org_id);

-- Pins of each org and status by when they were created, in buckets of 2^33, 2^23 and 2^13 milliseconds (three months,
-- two hours, eight seconds): a count up to a moment adds up at most 1,024 buckets of each of the finer levels and walks
-- the pins of one bucket, however many there are. A sum may be below zero while its other half is not folded yet.
create table pin_counts (
    org_id uuid not null references orgs (id),
    status pin_status not null,
    level smallint not null check (level in (33, 23, 13)),
    bucket bigint not null,
    pins bigint not null,
    -- The status last: an index condition on it would not be used under row-level security.
    primary key (org_id, level, bucket, status)
) with (fillfactor = 70);

-- Bytes of the contents that an org holds, each counted once; a content that only refused pins hold is not counted.
create table org_usage (
    org_id uuid primary key references orgs (id),
    bytes bigint not null
) with (fillfactor = 70);

alter table count_changes enable row level security;
alter table count_changes force row level security;
create policy owner on count_changes to anchorage_owner using (true) with check (true);
create policy tenant on count_changes to anchorage_api
    using (org_id = (select current_org())) with check (org_id = (select current_org()));
grant select on count_changes to anchorage_api;

alter table pin_counts enable row level security;
alter table pin_counts force row level security;
create policy owner on pin_counts to anchorage_owner using (true) with check (true);
create policy tenant on pin_counts to anchorage_api
    using (org_id = (select current_org())) with check (org_id = (select current_org()));
create policy metrics on pin_counts for select to anchorage_metrics using (true);
grant select on pin_counts to anchorage_api, anchorage_metrics;

alter table org_usage enable row level security;
alter table org_usage force row level security;
create policy owner on org_usage to anchorage_owner using (true) with check (true);
create policy tenant on org_usage to anchorage_api
    using (org_id = (select current_org())) with check (org_id = (select current_org()));
grant select on org_usage to anchorage_api;

-- One statement must not both insert and delete pins: each trigger would see what the other one's rows did.
--
-- Plans of what has no parameters are kept from the first call on, when tables may have been small. So other tables' rows
-- are looked up key by key (a lateral join with "offset 0", or a subquery in an expression), and changed by where they
-- are.
create function count_pins() returns trigger
language plpgsql security definer set search_path = pg_catalog, public, pg_temp
as $$
declare
    sized bytea[];
    sizes bigint[];
    places tid[];
    counts bigint[];
    dropped bytea[];
begin
    if tg_op = 'INSERT' then
        with held as (
            insert into public.contents as c (key, refs)
            select content, count(*) from added group by content order by content
            on conflict (key) do update set refs = c.refs + excluded.refs
            returning c.key, c.bytes
        ), counted as (
            insert into public.count_changes (org_id, status, bucket, pins)
            select org_id, status, (extract(epoch from created) * 1000)::bigint >> 13, count(*) from added group by 1, 2, 3
        )
        select array_agg(held.key), array_agg(held.bytes) into sized, sizes from held where held.bytes > 0;
        -- The org's first pins of a content whose size is known. The content is locked by now, so no other
        -- transaction decides on the same; and a statement of its own sees what the last one that did has done.
        if sized is not null then
            insert into public.count_changes (org_id, bytes)
            select a.org_id, sum(c.bytes)
            from unnest(sized, sizes) as c (key, bytes)
            join (select org_id, content, count(*) as n from added where refused is null group by 1, 2) a on a.content = c.key
            where (
                select count(*) from (
                    select from public.pins p
                    where p.content = a.content and p.org_id = a.org_id and p.refused is null
                    limit a.n + 1
                ) held
            ) <= a.n
            group by a.org_id;
        end if;
    elsif tg_op = 'DELETE' then
        -- Whoever deletes has locked the contents already, by lock_contents.
        select array_agg(c.ctid), array_agg(r.n) into places, counts
        from (select content, count(*) as n from removed group by content) r
        cross join lateral (select contents.ctid from public.contents where contents.key = r.content offset 0) c;
        with held as (
            update public.contents c set refs = c.refs - counts[array_position(places, c.ctid)]
            where c.ctid = any (places)
            returning c.key, c.refs
        )
        select array_agg(held.key) into dropped from held where held.refs = 0;
        if dropped is not null then
            update public.placements
            set status = 'unpinning', generation = generation + 1, lease_until = null, attempts = 0, moved = false,
                tried_since = null, next_attempt = now(), error = null
            where content = any (dropped) and status <> 'unpinning';
        end if;
        -- What no remaining pin asks for on as many nodes is on too many.
        update public.contents c set astray = true
        where c.ctid = any (array(
            select held.place
            from (select content, max(copies_max) as copies from removed group by content) r
            cross join lateral (
                select contents.ctid as place from public.contents
                where contents.key = r.content and contents.refs > 0 and not contents.astray offset 0
            ) held
            where r.copies > (select max(p.copies_max) from public.pins p where p.content = r.content)
        ));
        insert into public.count_changes (org_id, status, bucket, pins)
        select org_id, status, (extract(epoch from created) * 1000)::bigint >> 13, -count(*) from removed group by 1, 2, 3;
        insert into public.count_changes (org_id, bytes)
        select r.org_id, -sum(c.bytes)
        from (select distinct org_id, content from removed where refused is null) r
        cross join lateral (select contents.bytes from public.contents where contents.key = r.content offset 0) c
        where c.bytes > 0 and (
            select true from public.pins p
            where p.content = r.content and p.org_id = r.org_id and p.refused is null limit 1
        ) is null
        group by r.org_id;
        -- What no node ever took nobody lets go, either.
        delete from public.contents c
        where c.key = any (dropped)
            and (select true from public.placements p where p.content = c.key limit 1) is null;
    else
        insert into public.count_changes (org_id, status, bucket, pins)
        select org_id, status, (extract(epoch from created) * 1000)::bigint >> 13, sum(n)
        from (
            select org_id, status, created, 1 as n from added
            union all
            select org_id, status, created, -1 from removed
        ) changes
        group by 1, 2, 3 having sum(n) <> 0;
        -- Pins that were refused just now, their org's last ones that held the content. Whoever refuses has locked it.
        if exists (select from added where refused is not null) then
            insert into public.count_changes (org_id, bytes)
            select r.org_id, -sum(c.bytes)
            from (
                select distinct after.org_id, after.content
                from added after join removed before on before.id = after.id
                where before.refused is null and after.refused is not null
            ) r
            cross join lateral (select contents.bytes from public.contents where contents.key = r.content offset 0) c
            where c.bytes > 0 and (
                select true from public.pins p
                where p.content = r.content and p.org_id = r.org_id and p.refused is null limit 1
            ) is null
            group by r.org_id;
        end if;
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

-- A node reports that contents have (so far) this many bytes. Every org that holds one is charged for what it grew.
-- The contents must be locked.
create function note_bytes(keys bytea[], byte_counts bigint[]) returns void
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp
as $$
declare
    grown bytea[];
    places tid[];
    known bigint[];
    sizes bigint[];
begin
    select array_agg(r.key), array_agg(c.ctid), array_agg(c.bytes), array_agg(r.bytes)
    into grown, places, known, sizes
    from (select u.key, max(u.bytes) as bytes from unnest(keys, byte_counts) as u (key, bytes) group by u.key) r
    cross join lateral (
        select contents.ctid, contents.bytes from public.contents where contents.key = r.key offset 0
    ) c
    where c.bytes < r.bytes;
    if grown is null then
        return;
    end if;
    update public.contents c set bytes = sizes[array_position(places, c.ctid)] where c.ctid = any (places);
    insert into public.count_changes (org_id, bytes)
    select p.org_id, sum(g.size - g.known)
    from unnest(grown, known, sizes) as g (key, known, size)
    cross join lateral (
        select distinct pins.org_id from public.pins where pins.content = g.key and pins.refused is null offset 0
    ) p
    group by p.org_id;
end
$$;

-- Folds up to `max_rows` changes into the sums, and says how many those were. One transaction at a time does so;
-- for any other there is nothing to do.
create function fold_counts(max_rows integer) returns bigint
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp
    set enable_seqscan = on set plan_cache_mode = force_custom_plan
as $$
declare
    folded bigint;
    emptied_orgs uuid[];
    emptied_statuses public.pin_status[];
    emptied_levels smallint[];
    emptied_buckets bigint[];
begin
    if not pg_try_advisory_xact_lock(hashtextextended('anchorage.fold_counts', 0)) then
        return 0;
    end if;
    with taken as (
        delete from public.count_changes
        where ctid = any (array(select ctid from public.count_changes limit max_rows))
        returning org_id, status, bucket, pins, bytes
    ), counted as (
        insert into public.pin_counts as p (org_id, status, level, bucket, pins)
        select org_id, status, level, bucket >> (level - 13), sum(pins)
        from taken cross join (values (33::smallint), (23), (13)) levels (level)
        where status is not null
        group by 1, 2, 3, 4 having sum(pins) <> 0
        on conflict (org_id, level, bucket, status) do update set pins = p.pins + excluded.pins
        returning p.org_id, p.status, p.level, p.bucket, p.pins
    ), used as (
        insert into public.org_usage as u (org_id, bytes)
        select org_id, sum(bytes) from taken group by org_id having sum(bytes) <> 0
        on conflict (org_id) do update set bytes = u.bytes + excluded.bytes
    )
    select
        (select count(*) from taken), array_agg(org_id), array_agg(status), array_agg(level), array_agg(bucket)
    into folded, emptied_orgs, emptied_statuses, emptied_levels, emptied_buckets
    from counted where pins = 0;
    delete from public.pin_counts p
    using unnest(emptied_orgs, emptied_statuses, emptied_levels, emptied_buckets) e (org_id, status, level, bucket)
    where p.org_id = e.org_id and p.status = e.status and p.level = e.level and p.bucket = e.bucket;
    return folded;
end
$$;

revoke all on function count_pins(), note_bytes(bytea[], bigint[]), fold_counts(integer) from public;
grant execute on function fold_counts(integer) to anchorage_worker;
