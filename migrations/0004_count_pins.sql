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
create function count_pins() returns trigger
language plpgsql security definer set search_path = pg_catalog, public, pg_temp
as $$
begin
    if tg_op = 'INSERT' then
        insert into public.contents as c (key, refs)
        select content, count(*) from added group by content order by content
        on conflict (key) do update set refs = c.refs + excluded.refs;
        insert into public.count_changes (org_id, status, bucket, pins)
        select org_id, status, (extract(epoch from created) * 1000)::bigint >> 13, count(*) from added group by 1, 2, 3;
        -- The org's first pins of a content whose size is known. The content is locked by now, so no other
        -- transaction decides on the same.
        insert into public.count_changes (org_id, bytes)
        select a.org_id, sum(c.bytes)
        from (select org_id, content, count(*) as n from added where refused is null group by 1, 2) a
        join public.contents c on c.key = a.content and c.bytes > 0
        where (
            select count(*) from (
                select from public.pins p
                where p.content = a.content and p.org_id = a.org_id and p.refused is null
                limit a.n + 1
            ) held
        ) <= a.n
        group by a.org_id;
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
        insert into public.count_changes (org_id, status, bucket, pins)
        select org_id, status, (extract(epoch from created) * 1000)::bigint >> 13, -count(*) from removed group by 1, 2, 3;
        insert into public.count_changes (org_id, bytes)
        select r.org_id, -sum(c.bytes)
        from (select distinct org_id, content from removed where refused is null) r
        join public.contents c on c.key = r.content and c.bytes > 0
        where not exists (
            select from public.pins p where p.content = r.content and p.org_id = r.org_id and p.refused is null
        )
        group by r.org_id;
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
        insert into public.count_changes (org_id, bytes)
        select r.org_id, -sum(c.bytes)
        from (
            select distinct after.org_id, after.content
            from added after join removed before on before.id = after.id
            where before.refused is null and after.refused is not null
        ) r
        join public.contents c on c.key = r.content and c.bytes > 0
        where not exists (
            select from public.pins p where p.content = r.content and p.org_id = r.org_id and p.refused is null
        )
        group by r.org_id;
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

-- A node reports that a content has (so far) this many bytes. Every org that holds it is charged for what it grew.
-- The content must be locked.
create function note_bytes(content_key bytea, byte_count bigint) returns void
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp
as $$
declare
    known bigint;
begin
    select bytes into known from public.contents where key = content_key;
    if known >= byte_count or known is null then
        return;
    end if;
    update public.contents set bytes = byte_count where key = content_key;
    insert into public.count_changes (org_id, bytes)
    select distinct org_id, byte_count - known from public.pins where content = content_key and refused is null;
end
$$;

-- Folds up to `max_rows` changes into the sums, and says how many those were. One transaction at a time does so;
-- for any other there is nothing to do.
create function fold_counts(max_rows integer) returns bigint
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp
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

revoke all on function count_pins(), note_bytes(bytea, bigint), fold_counts(integer) from public;
grant execute on function fold_counts(integer) to anchorage_worker;
