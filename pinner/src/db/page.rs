//! The statement behind a page of pins: a walk along an index, and a count that reads sums where it can.
//!
//! Which pieces it has depends on which filters are given and on the limit, never on other values: there are few
//! different texts, and each is prepared and planned once for a connection.

use pinner_core::{
    filter::{Filter, NameMatch, milliseconds_after, milliseconds_from},
    id::OrgId,
    pin::Status,
};
use sqlx::{Postgres, QueryBuilder, types::Json};
use time::OffsetDateTime;

/// The buckets of `pin_counts`: milliseconds shifted by so many bits. See migration 0004.
const COARSE: u32 = 33;
const MIDDLE: u32 = 23;
const FINE: u32 = 13;

const COLUMNS: &str = "id, status, created, cid, content, name, origins, meta";

/// A statement under construction.
pub(super) struct PageQuery<'a> {
    query: QueryBuilder<Postgres>,
    filter: &'a Filter,
}

impl<'a> PageQuery<'a> {
    /// A statement for a page of `org`.
    pub(super) fn new(org: OrgId, filter: &'a Filter) -> Self {
        let mut query = QueryBuilder::new("with org as materialized (select set_config('anchorage.org', ");
        query.push_bind(org.uuid().to_string()).push(", true)::uuid as id)");
        Self { query, filter }
    }

    /// The whole statement: rows of `count`, the columns of a pin and those of its progress.
    pub(super) fn build(mut self) -> QueryBuilder<Postgres> {
        self.query.push(", page as materialized (select p.* from org cross join lateral (");
        self.page();
        self.query.push(
            ") p), progress as materialized (select * from pin_progress(array(select id from page))),
             counted as materialized (select (",
        );
        self.count();
        self.query.push(
            ")::bigint as count from org)
             select counted.count, page.id, page.created, page.cid, page.content, page.name, page.origins, page.meta,
                progress.*
             from counted left join (page join progress on progress.pin_id = page.id) on true
             order by page.created desc",
        );
        self.query
    }

    fn page(&mut self) {
        let statuses: Vec<Status> = self.filter.statuses.iter().copied().collect();
        let several = statuses.len() > 1 && statuses.len() < Status::ALL.len();
        if self.filter.by_status_and_time() && several {
            // A walk for each status, of which the newest of all are taken: so one that is rare is not searched for
            // among the others.
            self.query.push("select * from (");
            for (n, status) in statuses.iter().enumerate() {
                self.query.push(if n == 0 { "(" } else { " union all (" });
                self.walk(&[*status]);
                self.query.push(")");
            }
            self.query.push(format!(") walks order by created desc limit {}", self.filter.limit));
        } else {
            self.walk(&statuses);
        }
    }

    fn walk(&mut self, statuses: &[Status]) {
        self.query.push(format!("select {COLUMNS} from pins where org_id = org.id"));
        self.restrict(statuses);
        // By name and not by parameter: the plan is kept, and depends on how few rows are asked for.
        self.query.push(format!(" order by created desc limit {}", self.filter.limit));
    }

    fn count(&mut self) {
        if !self.filter.by_status_and_time() {
            let statuses: Vec<Status> = self.filter.statuses.iter().copied().collect();
            self.query.push("select count(*) from pins where org_id = org.id");
            self.restrict(&statuses);
            return;
        }
        // Stored times are whole milliseconds.
        let before = self.filter.before.map(milliseconds_from);
        let from = self.filter.after.map(milliseconds_after);
        match (from, before) {
            (Some(from), Some(before)) if from >= before => drop(self.query.push("0")),
            (from, before) => {
                self.count_below(before);
                if from.is_some() {
                    self.query.push(" - ");
                    self.count_below(from);
                }
            }
        }
    }

    /// How many were created before `end`, in milliseconds; all when that is none. Whole buckets come from sums, the
    /// rest of the finest bucket from the pins.
    fn count_below(&mut self, end: Option<i64>) {
        let names = |statuses: &std::collections::BTreeSet<Status>| -> Vec<&'static str> {
            statuses.iter().map(|status| status.as_str()).collect()
        };
        let statuses = names(&self.filter.statuses);
        let query = &mut self.query;
        let sums = |query: &mut QueryBuilder<Postgres>, table: &str| {
            query
                .push(format!("(select coalesce(sum(pins), 0) from {table} where org_id = org.id and status = any ("))
                .push_bind(statuses.clone())
                .push("::pin_status[])");
        };
        query.push("(");
        sums(query, "pin_counts");
        query.push(format!(" and level = {COARSE}"));
        let Some(end) = end else {
            query.push(") + ");
            sums(query, "count_changes");
            query.push("))");
            return;
        };
        query.push(" and bucket < ").push_bind(end >> COARSE).push(")");
        for (level, coarser) in [(MIDDLE, COARSE), (FINE, MIDDLE)] {
            query.push(" + ");
            sums(query, "pin_counts");
            query.push(format!(" and level = {level} and bucket >= ")).push_bind((end >> coarser) << (coarser - level));
            query.push(" and bucket < ").push_bind(end >> level).push(")");
        }
        query.push(" + ");
        sums(query, "count_changes");
        query.push(" and bucket < ").push_bind(end >> FINE).push(")");
        query
            .push(" + (select count(*) from pins where org_id = org.id and status = any (")
            .push_bind(statuses.clone())
            .push("::pin_status[]) and created >= ")
            .push_bind(moment((end >> FINE) << FINE))
            .push(" and created < ")
            .push_bind(moment(end))
            .push("))");
    }

    /// Adds the filter's conditions to a query that ends in a `where` clause.
    fn restrict(&mut self, statuses: &[Status]) {
        let Self { query, filter } = self;
        match statuses {
            all if all.len() == Status::ALL.len() => {}
            // By name and not by parameter, so that the index of that status is seen to fit.
            [status] => drop(query.push(format!(" and status = '{status}'"))),
            some => {
                let names: Vec<_> = some.iter().map(|status| format!("'{status}'")).collect();
                query.push(format!(" and status in ({})", names.join(", ")));
            }
        }
        if !filter.contents.is_empty() {
            let keys: Vec<Vec<u8>> = filter.contents.iter().map(|key| key.as_bytes().to_vec()).collect();
            query.push(" and content = any (").push_bind(keys).push(")");
        }
        match &filter.name {
            None => {}
            Some(NameMatch::Exact(name)) => {
                // By the index of folded names; few are the same but for their case.
                query.push(" and name_folded = ").push_bind(pinner_core::pin::fold_case(name));
                query.push(" and name = ").push_bind(name.clone());
            }
            Some(NameMatch::ExactFolded(name)) => drop(query.push(" and name_folded = ").push_bind(name.clone())),
            // Not LIKE: a name may hold the signs that it gives a meaning to.
            Some(NameMatch::Partial(part)) => {
                query.push(" and position(").push_bind(part.clone()).push(" in name) > 0");
            }
            Some(NameMatch::PartialFolded(part)) => {
                query.push(" and position(").push_bind(part.clone()).push(" in name_folded) > 0");
            }
        }
        if let Some(before) = filter.before {
            query.push(" and created < ").push_bind(before);
        }
        if let Some(after) = filter.after {
            query.push(" and created > ").push_bind(after);
        }
        if !filter.meta.is_empty() {
            query.push(" and meta @> ").push_bind(Json(filter.meta.clone()));
        }
    }
}

fn moment(milliseconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(milliseconds) * 1_000_000)
        .expect("no filter reaches beyond the year 9999")
}
