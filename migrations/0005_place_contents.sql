-- How the API accepts, replaces and deletes pins, and reads how far they are.
--
-- Functions with the owner's rights are the only ways by which the API reaches contents and placements, which no org can
-- see. Each is bound to the org, or the batch's orgs, of the transaction. What writes pins has the caller's rights.
--
-- They are in plpgsql, which keeps plans: a function in SQL that is not inlined is planned anew by each call.

-- Locks contents in the order that all writers share: those of `held_keys` that the org holds, and `new_key`, for which
-- the org's row is locked first: a transaction that will also insert a pin. Gives nothing away: a content that is not
-- there is skipped in silence.
create function lock_contents(held_keys bytea[], new_key bytea) returns void
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp
as $$
declare
    org uuid := public.current_org();
    keys bytea[];
begin
    if new_key is not null then
        perform 1 from public.orgs where id = org for no key update;
    end if;
    keys := array(
        select k.key from unnest(held_keys) as k (key)
        where (select true from public.pins p where p.content = k.key and p.org_id = org limit 1)
    ) || new_key;
    perform 1 from public.contents where key = any (keys) order by key for no key update;
end
$$;

-- Brings the status of every pin of these contents up to what their placements say. The contents must be locked.
-- A pin that has been pinned stays so while some node holds its content or has yet to fetch it: losing a copy is for
-- repair, not for the client. But what no node holds and every one has given up is not pinned.
create function settle(keys bytea[]) returns void
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp
as $$
declare
    change record;
begin
    for change in
        select settled.status, array_agg(settled.place) as places
        from (
            select pin.ctid as place, pin.status as before, case
                when pin.refused is not null then 'failed'
                when placed.pinned >= pin.copies_min then 'pinned'
                when pin.status = 'pinned' and (placed.pinned > 0 or placed.open > 0 or placed.total = 0) then 'pinned'
                when pin.status = 'pinned' then 'failed'
                when placed.total = 0 then 'queued'
                when placed.open = 0 and placed.total >= pin.copies_min then 'failed'
                when placed.tried > 0 or placed.pinned > 0 then 'pinning'
                else 'queued'
            end::public.pin_status as status
            from unnest(keys) as k (key)
            cross join lateral (
                select
                    count(*) filter (where p.status = 'pinned') as pinned,
                    count(*) filter (where p.status = 'pinning' or (p.status = 'queued' and p.attempts > 0)) as tried,
                    count(*) filter (where p.status in ('queued', 'pinning')) as open,
                    count(*) as total
                from public.placements p where p.content = k.key and p.status <> 'unpinning'
                offset 0
            ) placed
            cross join lateral (
                select pins.ctid, pins.status, pins.refused, pins.copies_min from public.pins
                where pins.content = k.key
                offset 0
            ) pin
        ) settled
        where settled.status <> settled.before
        group by settled.status
    loop
        update public.pins set status = change.status where ctid = any (change.places);
    end loop;
end
$$;

-- Decides on a batch of pins in the order of its rows: `org_of` gives each one's org as a place in current_orgs(). Locks
-- the orgs until the commit. Gives for each row the time to stamp it with, or why it is refused: its org is not there
-- (no limit named), or would be over a limit ('pins' or 'bytes'), with the limit and what is in use. The pin `leaving`
-- is about to be deleted and does not count.
create function admit(
    org_of integer[], keys bytea[], leaving uuid,
    out times timestamptz[], out limit_names text[], out limits bigint[], out uses bigint[]
)
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp
as $$
declare
    orgs uuid[] := public.current_orgs();
    moment timestamptz;
    org record;
    held record;
    pin record;
    charged bytea[];
    more bigint;
begin
    perform 1 from public.orgs o where o.id = any (orgs) order by o.id for no key update;
    -- After the lock: whoever had it before us stamped no later than this.
    moment := date_trunc('milliseconds', clock_timestamp());
    select array_agg(
        case when o.id is not null then
            greatest(moment, o.last_pin_created + interval '1 ms') + (asked.place - 1) * interval '1 ms'
        end
        order by asked.n
    )
    into times
    from (
        select r.n, r.org_place, row_number() over (partition by r.org_place order by r.n) as place
        from unnest(org_of) with ordinality as r (org_place, n)
    ) asked
    left join public.orgs o on o.id = orgs[asked.org_place];

    limit_names := array_fill(null::text, array[cardinality(org_of)]);
    limits := array_fill(null::bigint, array[cardinality(org_of)]);
    uses := limits;
    for org in
        select o.id, batch.place, o.max_pins, o.max_bytes
        from unnest(orgs) with ordinality as batch (id, place) join public.orgs o on o.id = batch.id
        where o.max_pins is not null or o.max_bytes is not null
    loop
        select u.pins, u.bytes into held from public.usage_of(org.id) u;
        for pin in
            select c.bytes, exists (
                select from public.pins p
                where p.content = l.content and p.org_id = org.id and p.refused is null and p.id <> l.id
            ) or l.refused is not null as is_kept
            from public.pins l join public.contents c on c.key = l.content
            where l.id = leaving and l.org_id = org.id
        loop
            held.pins := held.pins - 1;
            if not pin.is_kept then
                held.bytes := held.bytes - pin.bytes;
            end if;
        end loop;
        charged := '{}';
        for pin in
            select r.n, r.key from unnest(org_of, keys) with ordinality as r (org_place, key, n)
            where r.org_place = org.place order by r.n
        loop
            if held.pins >= org.max_pins then
                times[pin.n] := null;
                limit_names[pin.n] := 'pins';
                limits[pin.n] := org.max_pins;
                uses[pin.n] := held.pins;
                continue;
            end if;
            if org.max_bytes is not null and pin.key <> all (charged) and not exists (
                select from public.pins p where p.content = pin.key and p.org_id = org.id and p.refused is null
            ) then
                more := coalesce((select c.bytes from public.contents c where c.key = pin.key), 0);
                if held.bytes >= org.max_bytes or held.bytes + more > org.max_bytes then
                    times[pin.n] := null;
                    limit_names[pin.n] := 'bytes';
                    limits[pin.n] := org.max_bytes;
                    uses[pin.n] := held.bytes;
                    continue;
                end if;
                held.bytes := held.bytes + more;
                charged := charged || pin.key;
            end if;
            held.pins := held.pins + 1;
        end loop;
    end loop;
end
$$;

-- How long what is asked for once more waits for its next attempt, at most: as long as after a first failure. So whoever
-- brings origins or blocks does not wait for somebody else's back-off; and a content that nobody has is, however often it
-- is asked for, tried no more often than one that is new.
create function asked_anew_wait() returns interval
language sql immutable parallel safe set search_path = pg_catalog, pg_temp
as $$ select interval '5 seconds' $$;

-- Places the contents of pins that this transaction has inserted: gives what is sought already as long as if it were new,
-- revives what had failed or was about to be unpinned,
-- fills up from the candidates of each pin (`width` for each, best first, none for no more) to its copies, settles, and
-- notes in the orgs how far their times and turns went. The first so many candidates as `homes` says are where the content
-- belongs by the map of that version; a content that is not put there, or nowhere, or is placed by another map than the
-- fleet's, is noted as astray. A pin of a content that `placed` says to be placed already is only settled. Gives a row for
-- each pin, by its place in `pin_ids`, with how far it is; and one without `n` for each node that has work by this.
--
-- Rows are looked up key by key, here and below: what a lateral join with "offset 0" and a subquery in an expression do
-- whatever the statistics say. Plans are kept for as long as a connection lives, and one made while a table was small
-- walks all of it.
create function place_pins(
    pin_ids uuid[], candidates uuid[], width integer, homes smallint[], map_versions bigint[], placed boolean
)
returns table (
    n bigint, status text, nodes uuid[], copies bigint, pinned bigint, attempts integer, blocks bigint, bytes bigint,
    next_attempt timestamptz, error text, reason text, expires timestamptz, refused text,
    node_id uuid, job bigint, generation bigint
)
language plpgsql volatile security definer set search_path = pg_catalog, public, pg_temp
as $$
#variable_conflict use_column
declare
    orgs uuid[] := public.current_orgs();
    -- Of each pin, by its place; null where there is none.
    pin_orgs uuid[];
    contents bytea[];
    wanted smallint[];
    times timestamptz[];
    -- Contents that are placed on some node, and those of them that some node was to let go.
    known bytea[];
    roused bytea[];
    current_map bigint;
begin
    -- No map is committed and no node's scheduling changes between what we read here and our commit.
    perform pg_advisory_xact_lock_shared(public.fleet_lock());
    current_map := (select f.map_version from public.fleet f);
    select array_agg(a.org_id), array_agg(a.content), array_agg(a.copies_max), array_agg(a.created)
    into pin_orgs, contents, wanted, times
    from (
        select p.* from unnest(pin_ids) with ordinality as asked (id, n)
        left join lateral (
            select pins.org_id, pins.content, pins.copies_max, pins.created from public.pins
            where pins.id = asked.id and pins.org_id = any (orgs) offset 0
        ) p on true
        order by asked.n
    ) a;
    select array_agg(k.content) into known
    from (select distinct c.content from unnest(contents) as c (content) where c.content is not null) k
    where (select true from public.placements p where p.content = k.content limit 1);

    if known is not null and not placed then
        select array_agg(k.content) into roused from unnest(known) as k (content)
        where (select true from public.placements p where p.content = k.content and p.status = 'unpinning' limit 1);
        return query
            -- A row for each content and node with the turn that the first pin to ask for it gives.
            with turns as (
                select p.content, p.node_id, min(greatest(o.turn, node.turn) + asked.n) as turn, max(o.share) as share
                from unnest(pin_orgs, contents) with ordinality as asked (org_id, content, n)
                cross join lateral (select o.turn, o.share from public.orgs o where o.id = asked.org_id offset 0) o
                cross join lateral (
                    select * from public.placements p
                    where p.content = asked.content and p.status <> 'pinned' offset 0
                ) p
                cross join lateral (select node.turn from public.nodes node where node.id = p.node_id offset 0) node
                group by p.content, p.node_id
            ), sought as (
                update public.placements p
                set turn = least(p.turn, turns.turn), tried_since = null,
                    share = case when p.moved then 0 else turns.share end,
                    next_attempt = case
                        when p.status = 'queued' and p.attempts > 0 then
                            least(p.next_attempt, now() + public.asked_anew_wait())
                        else p.next_attempt
                    end
                from turns
                where p.content = turns.content and p.node_id = turns.node_id and p.status in ('queued', 'pinning')
                    and (
                        p.tried_since is not null or (p.share <> turns.share and not p.moved)
                        or (p.status = 'queued' and p.attempts = 0 and p.turn > turns.turn)
                    )
                returning p.node_id, p.job, p.generation
            ), revived as (
                update public.placements p
                set status = 'queued', turn = turns.turn, share = turns.share, generation = p.generation + 1,
                    lease_until = null, attempts = 0, tried_since = null, next_attempt = now(), error = null, reason = null, moved = false, after = null
                from turns
                where p.content = turns.content and p.node_id = turns.node_id and p.status in ('failed', 'unpinning')
                returning p.node_id, p.job, p.generation
            )
            select distinct on (r.node_id)
                null::bigint, null, null::uuid[], null::bigint, null::bigint, null::integer, null::bigint, null::bigint,
                null::timestamptz, null, null, null::timestamptz, null, r.node_id, r.job, r.generation
            from (select * from revived union all select * from sought) r
            order by r.node_id, r.job desc;
    end if;

    -- Pins of new contents are as far as they are put here.
    return query
        with asked as (
            select a.*, row_number() over (partition by a.org_id order by a.n) as place,
                case when a.content = any (known)
                    then (select count(*) from public.placements p where p.content = a.content)
                    else 0
                end as copies_before
            from unnest(pin_orgs, contents, wanted, times) with ordinality as a (org_id, content, copies, created, n)
            where a.content is not null
        ), chosen as (
            select asked.*, case when not placed and asked.copies > asked.copies_before then array(
                select c.node_id
                from unnest(candidates[(asked.n - 1) * width + 1:asked.n * width]) with ordinality as c (node_id, rank)
                where (
                        select true from public.nodes node
                        where node.id = c.node_id and node.scheduling = 'Active' and not node.kubo_disk_full
                    )
                    and (asked.copies_before = 0 or not coalesce((
                        select true from public.placements p where p.content = asked.content and p.node_id = c.node_id
                    ), false))
                order by c.rank
                limit asked.copies - asked.copies_before
            ) else '{}' end as nodes
            from asked
        ), strays as (
            update public.contents c set astray = true
            where c.ctid = any (array(
                select held.place
                from chosen
                cross join lateral (
                    select contents.ctid as place, contents.astray from public.contents
                    where contents.key = chosen.content offset 0
                ) held
                where not placed and not held.astray and case
                    when chosen.copies_before = 0 then
                        homes[chosen.n] is null or map_versions[chosen.n] is distinct from current_map or chosen.nodes = '{}'
                        or chosen.nodes <> candidates[(chosen.n - 1) * width + 1:(chosen.n - 1) * width + homes[chosen.n]]
                    else
                        chosen.nodes <> '{}' or chosen.content = any (roused)
                        or chosen.copies_before < coalesce(homes[chosen.n], chosen.copies)
                end
            ))
        ), turns as (
            select chosen.org_id, chosen.content, c.node_id, greatest(o.turn, node.turn) + chosen.place as turn, o.share
            from chosen
            cross join lateral (select o.turn, o.share from public.orgs o where o.id = chosen.org_id offset 0) o
            cross join lateral unnest(chosen.nodes) as c (node_id)
            cross join lateral (select node.turn from public.nodes node where node.id = c.node_id offset 0) node
        ), inserted as (
            insert into public.placements as p (content, node_id, turn, share)
            select t.content, t.node_id, min(t.turn), max(t.share) from turns t group by t.content, t.node_id
            returning p.node_id, p.job, p.generation
        ), moved as (
            update public.orgs o
            set last_pin_created = last.created, turn = greatest(o.turn, last.turn)
            from (
                select l.org_id, max(l.created) as created, max(l.turn) as turn
                from (
                    select asked.org_id, asked.created, null::bigint as turn from asked
                    union all
                    select t.org_id, null, t.turn from turns t
                ) l
                group by l.org_id
            ) last
            where o.id = last.org_id
        )
        select
            c.n, 'queued', c.nodes, cardinality(c.nodes)::bigint, 0::bigint, 0, 0::bigint, 0::bigint,
            null::timestamptz, null, null, p.expires, null, null::uuid, null::bigint, null::bigint
        from chosen c
        cross join lateral (select pins.expires from public.pins where pins.id = pin_ids[c.n] offset 0) p
        where known is null or c.content <> all (known)
        union all
        (
            -- The newest: what a node was told of before it is not told of again.
            select distinct on (i.node_id)
                null, null, null, null, null, null, null, null, null, null, null, null, null, i.node_id, i.job, i.generation
            from inserted i
            order by i.node_id, i.job desc
        );

    if known is null then
        return;
    end if;
    perform public.settle(known);
    return query
        select
            a.n, p.status, p.nodes, p.copies, p.pinned, p.attempts, p.blocks, p.bytes, p.next_attempt, p.error, p.reason,
            p.expires, p.refused, null::uuid, null::bigint, null::bigint
        from unnest(pin_ids, contents) with ordinality as a (id, content, n)
        cross join lateral public.pin_progress(array[a.id]) p
        where a.content = any (known);
end
$$;

-- Accepts a batch of pins of `orgs` (distinct, ascending): all rows in one statement, one commit, each under row-level
-- security. `org_of` gives a row's org as a place in `orgs`; `width` candidates belong to each row, of which `homes` come
-- from the map of `map_versions`. Gives a row
-- for each pin, by its place `n`: when it was created and how far it is, or why it was refused; and one without `n` for
-- each node that has work now.
create function accept_pins(
    orgs uuid[], org_of integer[], pin_ids uuid[], cids text[], keys bytea[], names text[], folded text[],
    origin_lists jsonb[], metas jsonb[], mins smallint[], maxs smallint[], expiries timestamptz[],
    candidates uuid[], width integer, homes smallint[], map_versions bigint[],
    leaving uuid default null, placed_as pin_status default null
)
returns table (
    n bigint, created timestamptz, status text, limit_name text, most bigint, used bigint,
    nodes uuid[], copies bigint, pinned bigint, attempts integer, blocks bigint, bytes bigint,
    next_attempt timestamptz, error text, reason text, expires timestamptz, refused text,
    node_id uuid, job bigint, generation bigint
)
language plpgsql volatile set search_path = pg_catalog, public, pg_temp
as $$
#variable_conflict use_column
declare
    admitted record;
begin
    perform set_config('anchorage.orgs', array_to_string(orgs, ','), true);
    admitted := public.admit(org_of, keys, leaving);
    insert into public.pins (
        org_id, id, status, created, cid, content, name, name_folded, origins, meta, copies_min, copies_max, expires
    )
    select
        orgs[r.org], r.id, coalesce(placed_as, 'queued'), r.created, r.cid, r.key, r.name, r.folded,
        case when r.origins is null then '{}' else array(select jsonb_array_elements_text(r.origins)) end,
        r.meta, r.copies_min, r.copies_max, r.expires
    from unnest(
        org_of, pin_ids, admitted.times, cids, keys, names, folded, origin_lists, metas, mins, maxs, expiries
    ) as r (org, id, created, cid, key, name, folded, origins, meta, copies_min, copies_max, expires)
    where r.created is not null;
    return query
        select
            p.n, admitted.times[p.n], p.status, null, null::bigint, null::bigint,
            p.nodes, p.copies, p.pinned, p.attempts, p.blocks, p.bytes, p.next_attempt, p.error, p.reason,
            p.expires, p.refused, p.node_id, p.job, p.generation
        from public.place_pins(pin_ids, candidates, width, homes, map_versions, placed_as is not null) p;
    return query
        select
            a.n, null::timestamptz, null, a.limit_name, a.most, a.used,
            null::uuid[], null::bigint, null::bigint, null::integer, null::bigint, null::bigint, null::timestamptz, null, null,
            null::timestamptz, null, null::uuid, null::bigint, null::bigint
        from unnest(admitted.times, admitted.limit_names, admitted.limits, admitted.uses)
            with ordinality as a (created, limit_name, most, used, n)
        where a.created is null;
end
$$;

-- The jobs that this very transaction turned to unpinning by deleting the last pin of a content.
create function unpin_jobs(content_key bytea) returns table (node_id uuid, job bigint, generation bigint)
language plpgsql stable security definer set search_path = pg_catalog, public, pg_temp
as $$
#variable_conflict use_column
begin
    return query
        select node_id, job, generation from public.placements
        where content = content_key and status = 'unpinning' and xmin = pg_current_xact_id_if_assigned()::xid;
end
$$;

-- How far the caller's own pins are: the best that any node reports. Also which nodes hold them.
create function pin_progress(pin_ids uuid[])
returns table (
    pin_id uuid, status text, nodes uuid[], copies bigint, pinned bigint, attempts integer, blocks bigint, bytes bigint,
    next_attempt timestamptz, error text, reason text, expires timestamptz, refused text
)
language plpgsql stable security definer set search_path = pg_catalog, public, pg_temp
as $$
#variable_conflict use_column
declare
    -- Once: each row would read the whole setting.
    org uuid := public.current_org();
    orgs uuid[] := public.current_orgs();
begin
    return query
        select
            a.id, pin.status::text, coalesce(placed.nodes, '{}'), placed.copies, placed.pinned, placed.attempts,
            placed.blocks, placed.bytes, placed.next_attempt, placed.errors[1], placed.reasons[1], pin.expires, pin.refused
        from unnest(pin_ids) as a (id)
        cross join lateral (
            select p.status, p.content, p.expires, p.refused from public.pins p
            where p.id = a.id and (p.org_id = org or p.org_id = any (orgs))
            offset 0
        ) pin
        cross join lateral (
            select
                -- Holders first.
                array_agg(p.node_id) filter (where p.status = 'pinned')
                    || array_agg(p.node_id) filter (where p.status <> 'pinned') as nodes,
                count(*) as copies,
                count(*) filter (where p.status = 'pinned') as pinned,
                coalesce(max(p.attempts) filter (where p.status <> 'pinned'), 0) as attempts,
                coalesce(max(p.blocks), 0) as blocks,
                coalesce(max(p.bytes), 0) as bytes,
                min(p.next_attempt) filter (where p.status = 'queued' and p.attempts > 0) as next_attempt,
                array_agg(p.error) filter (where p.status in ('queued', 'failed') and p.error is not null) as errors,
                array_agg(p.reason) filter (where p.status in ('queued', 'failed') and p.error is not null) as reasons
            from public.placements p
            where p.content = pin.content and p.status <> 'unpinning'
        ) placed;
end
$$;

-- Deletes a pin and gives the jobs that this left behind, one row at least, or none when the org has no such pin. With
-- `locked`, its content was locked already.
create function delete_pin(org uuid, pin uuid, locked boolean default false)
returns table (node_id uuid, job bigint, generation bigint)
language plpgsql volatile set search_path = pg_catalog, public, pg_temp
as $$
#variable_conflict use_column
declare
    key bytea;
begin
    perform set_config('anchorage.org', org::text, true);
    select content into key from public.pins where id = pin and org_id = org;
    if key is not null and not locked then
        perform public.lock_contents(array[key], null);
    end if;
    delete from public.pins where id = pin and org_id = org;
    if found then
        return query select j.node_id, j.job, j.generation
            from (values (true)) deleted left join public.unpin_jobs(key) j on true;
    end if;
end
$$;

-- Replaces a pin by the only row of a batch as accept_pins takes it, and gives what that gives; nothing when the org
-- has no such pin. The new one comes first, so what both need is held at every moment; and when both name the same
-- content and no more copies, what is pinned stays pinned and no node hears of it, as long as one holds it.
create function replace_pin(
    org uuid, old_id uuid, pin_id uuid, cid text, key bytea, name text, folded text, origins jsonb, meta jsonb,
    copies_min smallint, copies_max smallint, expiry timestamptz, candidates uuid[], homes smallint, map_version bigint
)
returns table (
    n bigint, created timestamptz, status text, limit_name text, most bigint, used bigint,
    nodes uuid[], copies bigint, pinned bigint, attempts integer, blocks bigint, bytes bigint,
    next_attempt timestamptz, error text, reason text, expires timestamptz, refused text,
    node_id uuid, job bigint, generation bigint
)
language plpgsql volatile set search_path = pg_catalog, public, pg_temp
as $$
#variable_conflict use_column
declare
    replaced record;
    kept public.pin_status;
begin
    perform set_config('anchorage.org', org::text, true);
    select p.content into replaced from public.pins p where p.id = old_id and p.org_id = org;
    if not found then
        return;
    end if;
    perform public.lock_contents(array[replaced.content], replace_pin.key);
    -- As it is now that nobody else can change it.
    select p.content, p.status, p.copies_max into replaced from public.pins p where p.id = old_id and p.org_id = org;
    if not found then
        return;
    end if;
    if replaced.content = replace_pin.key and replaced.status = 'pinned' and replaced.copies_max >= replace_pin.copies_max
        and (select p.pinned > 0 from public.pin_progress(array[old_id]) p)
    then
        kept := replaced.status;
    end if;
    return query select * from public.accept_pins(
        array[org], array[1], array[pin_id], array[cid], array[replace_pin.key], array[name], array[folded],
        array[origins], array[meta], array[copies_min], array[copies_max], array[expiry],
        candidates, cardinality(candidates), array[homes], array[map_version], old_id, kept
    );
    -- Refused: the old one stays.
    if not exists (select from public.pins p where p.id = replace_pin.pin_id and p.org_id = org) then
        return;
    end if;
    return query
        select
            null::bigint, null::timestamptz, null, null, null::bigint, null::bigint,
            null::uuid[], null::bigint, null::bigint, null::integer, null::bigint, null::bigint, null::timestamptz, null, null,
            null::timestamptz, null, d.node_id, d.job, d.generation
        from public.delete_pin(org, old_id, true) d where d.node_id is not null;
    perform public.keep_until(replaced.content, replace_pin.key);
end
$$;

-- What an org holds, and its limits. Its own, or one of the batch.
create function usage_of(org uuid)
returns table (queued bigint, pinning bigint, pinned bigint, failed bigint, pins bigint, bytes bigint, max_pins bigint, max_bytes bigint)
language plpgsql stable security definer set search_path = pg_catalog, public, pg_temp
as $$
#variable_conflict use_column
begin
    return query
        with counted as (
            select status, sum(pins) as pins from (
                select status, pins from public.pin_counts where org_id = org and level = 33
                union all
                select status, pins from public.count_changes where org_id = org and status is not null
            ) folded_or_not
            group by status
        ), sums as (
            select
                coalesce(sum(pins) filter (where status = 'queued'), 0)::bigint as queued,
                coalesce(sum(pins) filter (where status = 'pinning'), 0)::bigint as pinning,
                coalesce(sum(pins) filter (where status = 'pinned'), 0)::bigint as pinned,
                coalesce(sum(pins) filter (where status = 'failed'), 0)::bigint as failed,
                coalesce(sum(pins), 0)::bigint as pins
            from counted
        ), used as (
            select (
                coalesce((select u.bytes from public.org_usage u where u.org_id = org), 0)
                + coalesce((select sum(c.bytes) from public.count_changes c where c.org_id = org), 0)
            )::bigint as bytes
        )
        select sums.*, used.bytes, o.max_pins, o.max_bytes
        from public.orgs o cross join sums cross join used
        where o.id = org and (org = public.current_org() or org = any (public.current_orgs()));
end
$$;

revoke all on function
    lock_contents(bytea[], bytea), settle(bytea[]), admit(integer[], bytea[], uuid),
    place_pins(uuid[], uuid[], integer, smallint[], bigint[], boolean), unpin_jobs(bytea), pin_progress(uuid[]), usage_of(uuid)
from public;
grant execute on function
    lock_contents(bytea[], bytea), admit(integer[], bytea[], uuid), place_pins(uuid[], uuid[], integer, smallint[], bigint[], boolean),
    unpin_jobs(bytea), pin_progress(uuid[]), usage_of(uuid)
to anchorage_api;
