-- Pins, the contents they hold, and where those are placed.
--
-- Locks are taken in one order everywhere: org, contents (by key), pins, placements, counters.

create type pin_status as enum ('queued', 'pinning', 'pinned', 'failed');
create type placement_status as enum ('queued', 'pinning', 'pinned', 'failed', 'unpinning');

create table pins (
    org_id uuid not null references orgs (id),
    id uuid primary key,
    status pin_status not null default 'queued',
    -- Unique and increasing within the org, to the millisecond, since every client pages by it: see admit().
    created timestamptz(3) not null,
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
    -- When the pin deletes itself, if the client asked for that.
    expires timestamptz,
    -- Why this pin was given up whatever becomes of its content: its org is over its limit. Such a pin stays failed.
    refused text,
    -- Pages of a list, newest first, and the guarantee that paging by time is exact.
    unique (org_id, created)
);
-- Pages by status, newest first. One index for each status, of which a row is in one: comparing an enum is not leakproof, so
-- under row-level security no index has it as a condition, but a statement that names the status may use the index made
-- for it.
create index pins_queued on pins (org_id, created desc) where status = 'queued';
create index pins_pinning on pins (org_id, created desc) where status = 'pinning';
create index pins_pinned on pins (org_id, created desc) where status = 'pinned';
create index pins_failed on pins (org_id, created desc) where status = 'failed';
-- "Which pins hold this content": for an org's ?cid= and, without the org, when a placement changes.
create index pins_by_content on pins (content, org_id);
-- Pins whose time is up.
create index pins_expiring on pins (expires) where expires is not null;
-- Pages by whole name, with or without its case; parts of names go through the org's rows.
create index pins_by_name on pins (org_id, name_folded, created desc) where name_folded is not null;

alter table pins enable row level security;
alter table pins force row level security;
create policy owner on pins to anchorage_owner using (true) with check (true);
create policy tenant on pins to anchorage_api
    using (org_id = (select current_org())) with check (org_id = (select current_org()));
-- For accept_pins: one statement for all orgs of a batch instead of one for each, every one of which would call the
-- triggers.
create policy batch on pins for insert to anchorage_api
    with check (org_id = any ((select current_orgs())::uuid[]));
grant select, insert, delete on pins to anchorage_api;

-- One row for each content that at least one pin of any org holds. No org can see it.
create table contents (
    key bytea primary key,
    partition integer not null
        generated always as (get_byte(sha256(key), 0) * 256 + get_byte(sha256(key), 1)) stored,
    -- How many pins hold it: kept by the triggers on pins.
    refs bigint not null check (refs >= 0),
    -- Whether it may be elsewhere than the placement map wants it, or on too few nodes: whoever leads the fleet looks.
    astray boolean not null default false,
    -- Size of its blocks as far as any node has reported: grows during a fetch, exact once it is pinned.
    bytes bigint not null default 0 check (bytes >= 0),
    created timestamptz not null default now()
);
-- What the leader looks at.
create index contents_astray on contents (key) where astray;
-- The contents of a partition, when the map gives that to other nodes.
create index contents_by_partition on contents (partition);
alter table contents enable row level security;
alter table contents force row level security;
create policy owner on contents to anchorage_owner using (true) with check (true);
create policy worker on contents to anchorage_worker using (true) with check (true);
grant select on contents to anchorage_worker;

-- Content × node. The job and its generation are all that a message to a pinner carries.
create table placements (
    content bytea not null references contents (key),
    node_id uuid not null references nodes (id),
    -- Names the work in messages and logs. Statements reach a row by its key, so this has no index of its own.
    job bigint not null generated always as identity,
    status placement_status not null default 'queued',
    -- Bumped whenever the work changes hands or meaning; a result for another generation is refused.
    generation bigint not null default 1,
    -- Fair queueing between orgs: a node works off new placements by turn. A placement's turn is one more than the
    -- greater of its org's last turn and its node's present one, so an org that asks for much waits behind itself.
    turn bigint not null default 0,
    lease_until timestamptz,
    -- Attempts that came to nothing. From the first on the placement is in the retry lane.
    attempts integer not null default 0,
    -- Fair queueing of the retry lane, which turns are no good for: they are as old as what failed. Shares are served in a
    -- circle. A number for the org that asked last, which tells nobody who that is; 0 for the leader's copies.
    share integer not null default 0,
    -- Since when this has been tried, by the node's own time (see nodes.idle_seconds): the deadline counts from here. The
    -- first attempt after a request sets it, so that nothing is given up for having waited for its turn, or for what
    -- somebody else asked for long ago. None under way: asked for once more since that attempt began.
    tried_since timestamptz,
    -- Infinite while an unpin waits for `after`.
    next_attempt timestamptz not null default now(),
    -- A copy that the leader asked for: it has slots of its own, and waits while the fleet is paused.
    moved boolean not null default false,
    -- The most that any attempt has seen.
    blocks bigint not null default 0,
    bytes bigint not null default 0,
    -- Why the last attempt came to nothing: in words, and as a code for programs.
    error text,
    reason text check (reason in ('NO_PROVIDERS', 'STALLED', 'DEADLINE', 'QUOTA', 'KUBO_ERROR')),
    -- A pin of this content was replaced by one of that: nothing is let go before that is fetched.
    after bytea,
    -- Kubo may have been told to let go, and may yet do it: set with the claim of an unpin.
    unpin_begun boolean not null default false,
    primary key (content, node_id)
);
-- A change of status writes to every index that still covers the row, and each pin changes status twice; so there
-- are few, and each holds no more rows than its reader asks for.
--
-- The fresh lane: claimed by turn, a share of it from the other end.
create index placements_fresh on placements (node_id, turn, job) where status = 'queued' and attempts = 0 and not moved;
-- The lane of copies.
create index placements_moved on placements (node_id, job) where status = 'queued' and attempts = 0 and moved;
-- The retry lane: all of it, and share by share.
create index placements_retry on placements (node_id, next_attempt) where status = 'queued' and attempts > 0;
create index placements_share on placements (node_id, share, next_attempt) where status = 'queued' and attempts > 0;
-- What is to be let go.
create index placements_unpin on placements (node_id, next_attempt) where status = 'unpinning';
-- What waits for another content.
create index placements_after on placements (after) where after is not null;
-- What is on a node: for drains, metrics and comparisons with its Kubo, and for the few that are leased.
create index placements_by_node on placements (node_id, status, content);

alter table placements enable row level security;
alter table placements force row level security;
create policy owner on placements to anchorage_owner using (true) with check (true);
create policy worker on placements to anchorage_worker using (true) with check (true);
create policy metrics on placements for select to anchorage_metrics using (true);
grant select on placements to anchorage_worker, anchorage_metrics;
