-- What follows every change of a pin by itself: its time, the references to its content, the counts.

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

revoke all on function stamp_pin(), count_pins() from public;
