//! What tests stand on: containers, databases, the program under test and ways to disturb them.

pub(crate) mod cids;
pub(crate) mod client;
pub(crate) mod containers;
pub(crate) mod database;
pub(crate) mod described;
pub(crate) mod fake_kubo;
pub(crate) mod map;
pub(crate) mod pinner;
pub(crate) mod proxy;
pub(crate) mod truth;
pub(crate) mod wait;
mod watchdog;
