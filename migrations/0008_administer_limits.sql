-- How much an org may hold is set, and how much it holds is seen, by whoever runs the platform. Who that is is decided
-- by the API.

-- Sets those limits that are to be set; null is no limit. False when there is no such org.
create function admin_set_limits(
    org_name text, set_pins boolean, new_max_pins bigint, set_bytes boolean, new_max_bytes bigint
) returns boolean
language sql volatile security definer set search_path = pg_catalog, public, pg_temp
as $$
    with changed as (
        update public.orgs
        set max_pins = case when set_pins then new_max_pins else max_pins end,
            max_bytes = case when set_bytes then new_max_bytes else max_bytes end
        where name = org_name
        returning 1
    )
    select exists (select from changed)
$$;

-- Every org with its limits and what it holds: what was summed up and what not yet.
create function admin_usage()
returns table (id uuid, name text, created timestamptz, max_pins bigint, max_bytes bigint, pins bigint, bytes bigint)
language sql stable security definer set search_path = pg_catalog, public, pg_temp
as $$
    with changes as materialized (
        select org_id, sum(c.pins) as pins, sum(c.bytes) as bytes from public.count_changes c group by org_id
    ), counts as (
        select org_id, sum(c.pins) as pins from public.pin_counts c where level = 33 group by org_id
    )
    select o.id, o.name, o.created, o.max_pins, o.max_bytes,
        (coalesce(counts.pins, 0) + coalesce(changes.pins, 0))::bigint,
        (coalesce(used.bytes, 0) + coalesce(changes.bytes, 0))::bigint
    from public.orgs o
    left join counts on counts.org_id = o.id
    left join changes on changes.org_id = o.id
    left join public.org_usage used on used.org_id = o.id
    order by o.name
$$;

revoke all on function admin_set_limits(text, boolean, bigint, boolean, bigint), admin_usage() from public;
grant execute on function admin_set_limits(text, boolean, bigint, boolean, bigint), admin_usage() to anchorage_api;
