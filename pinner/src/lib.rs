//! Anchorage, the service: one pinner beside each Kubo.
//!
//! `pinner-core` decides; this crate reads the world, asks, and acts. Postgres is the only truth: every worker looks
//! at the tables and not at the message that woke it, and anything may be killed at any instant and run twice. In
//! reading order:
//!
//! - [`config`]: what the program is told.
//! - [`serve`]: how the parts are put together. [`service`]: what requests share.
//! - [`http`]: the surface. [`accept`]: pins coming and going. [`tokens`]: who may.
//! - [`db`]: every statement, and the transactions that are the only way to it.
//! - [`worker`]: placements becoming pins on the [`kubo`] beside us; [`bell`], [`wake`] and [`nats`] make it quick.
//! - [`changed`]: pinners telling each other that what they keep copies of has changed; [`cache`] and [`limits`]: such copies.
//! - [`pulse`] and [`fleet`]: the other nodes. [`lead`]: who plans and moves for all of them. [`metrics`], [`count`] and [`fold`]: the numbers.
//! - [`explain`]: an error as one sentence.
//! - [`dev`]: all of it on one machine. [`admin`]: the admin API from a terminal.

pub mod accept;
pub mod admin;
pub mod bell;
pub mod cache;
pub mod changed;
pub mod config;
pub mod count;
pub mod db;
pub mod dev;
pub mod explain;
pub mod fleet;
pub mod fold;
pub mod http;
pub mod kubo;
pub mod lead;
pub mod limits;
pub mod metrics;
pub mod nats;
pub mod placed;
pub mod pulse;
pub mod serve;
pub mod service;
pub mod tokens;
pub mod wake;
pub mod worker;
