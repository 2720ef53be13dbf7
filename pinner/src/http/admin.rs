//! `/admin/v1`: what the operator and `anchorage admin` ask for.

pub mod maintenance;
pub mod nodes;
pub mod orgs;
pub mod presences;
pub mod rebalance;
pub mod tokens;
