//! `/api/v1`: what an org gets beyond the specification, which is frozen.

pub mod deletion;
pub mod export;
pub mod import;
mod lines;
pub mod members;
pub mod org;
pub mod tokens;
pub mod uploads;
