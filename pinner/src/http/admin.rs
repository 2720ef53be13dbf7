//! `/admin/v1`: what the operator and `anchorage admin` ask for.

pub mod caches;
pub mod keys;
pub mod maintenance;
pub mod nodes;
pub mod orgs;
pub mod presences;
pub mod rebalance;
pub mod tokens;

use pinner_core::Invalid;

/// The longest request token and reason, in bytes: an annotation's value may be longer, a line of a table not.
const TEXT_MAX: usize = 1024;

/// What comes with a request for its asker and for people.
fn check_texts(request_token: Option<&str>, reason: Option<&str>) -> Result<(), Invalid> {
    for (field, text) in [("requestToken", request_token), ("reason", reason)] {
        if text.is_some_and(|text| text.len() > TEXT_MAX || text.contains('\0')) {
            return Err(Invalid::new(field, format!("must have at most {TEXT_MAX} bytes and no NUL character")));
        }
    }
    Ok(())
}
