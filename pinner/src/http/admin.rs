//! `/admin/v1`: what the operator and `anchorage admin` ask for.

pub mod nodes;
pub mod orgs;
pub mod tokens;
