-- Who belongs to an org and as what. A subject is what an identity provider calls a person (the claim `sub`); nobody
-- logs in by it yet. What a program may do is in its token.

create table members (
    org_id uuid not null references orgs (id),
    -- Ordered by its bytes, so that pages of a list do not depend on the database's locale.
    subject text collate "C" not null check (octet_length(subject) between 1 and 255),
    role text not null check (role in ('member', 'admin')),
    created timestamptz not null default date_trunc('milliseconds', now()),
    primary key (org_id, subject)
);
alter table members enable row level security;
alter table members force row level security;
create policy owner on members to anchorage_owner using (true) with check (true);
create policy tenant on members to anchorage_api
    using (org_id = (select current_org())) with check (org_id = (select current_org()));
grant select, insert, update (role), delete on members to anchorage_api;
