//! `/admin/v1`: what the operator and `anchorage admin` ask for.

pub mod caches;
pub mod keys;
pub mod maintenance;
pub mod nodes;
pub mod orgs;
pub mod presences;
pub mod rebalance;
pub mod tokens;
