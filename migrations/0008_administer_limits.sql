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

-- Every org with its limits and what it holds.
create function admin_usage()
returns table (id uuid, name text, created timestamptz, max_pins bigint, max_bytes bigint, pins bigint, bytes bigint)
language sql stable security definer set search_path = pg_catalog, public, pg_temp
as $$
    select o.id, o.name, o.created, o.max_pins, o.max_bytes, coalesce(p.pins, 0)::bigint, coalesce(b.bytes, 0)::bigint
    from public.orgs o
    left join (select org_id, sum(pins) as pins from public.pin_counts group by org_id) p on p.org_id = o.id
    left join (
        select h.org_id, sum(c.bytes) as bytes
        from (select distinct org_id, content from public.pins where refused is null) h
        join public.contents c on c.key = h.content
        group by h.org_id
    ) b on b.org_id = o.id
    order by o.name
$$;

-- What an org holds, for itself to know.
create function usage_of(org uuid)
returns table (queued bigint, pinning bigint, pinned bigint, failed bigint, pins bigint, bytes bigint, max_pins bigint, max_bytes bigint)
language sql stable security definer set search_path = pg_catalog, public, pg_temp
as $$
    select
        coalesce((select sum(pins) from public.pin_counts where org_id = org and status = 'queued'), 0)::bigint,
        coalesce((select sum(pins) from public.pin_counts where org_id = org and status = 'pinning'), 0)::bigint,
        coalesce((select sum(pins) from public.pin_counts where org_id = org and status = 'pinned'), 0)::bigint,
        coalesce((select sum(pins) from public.pin_counts where org_id = org and status = 'failed'), 0)::bigint,
        coalesce((select sum(pins) from public.pin_counts where org_id = org), 0)::bigint,
        coalesce((
            select sum(c.bytes) from public.contents c
            where c.key in (select content from public.pins where org_id = org and refused is null)
        ), 0)::bigint,
        o.max_pins, o.max_bytes
    from public.orgs o
    where o.id = org and org = public.current_org()
$$;

revoke all on function
    admin_set_limits(text, boolean, bigint, boolean, bigint), admin_usage(), usage_of(uuid)
from public;
grant execute on function
    admin_set_limits(text, boolean, bigint, boolean, bigint), admin_usage(), usage_of(uuid)
to anchorage_api;
