//! The operator: turns `AnchorageCluster` and `PinNode` objects into a running fleet of pinners.
//!
//! Two controllers work side by side. Each reconciliation is a straight line: *observe* (the only reads), *validate* and
//! *plan* (pure), *apply* (the only writes, and none for what is as it should be), *status* (pure, one write if it
//! changed). The cluster's controller makes everything that a cluster has once, and its PinNodes; the PinNode's controller
//! makes the StatefulSet of one PinNode and speaks with the pinners about it.
//!
//! In reading order: the kinds ([`crd`]), their controllers ([`cluster`], [`pin_node`]), the objects they make
//! ([`resources`]), how objects are compared and written ([`desired`], [`apply`]), what is known ([`world`]), and how it
//! all runs ([`run`]).

pub mod admin_api;
pub mod apply;
pub mod cluster;
pub mod conditions;
pub mod context;
pub mod crd;
pub mod credentials;
pub mod database_url;
pub mod desired;
pub mod health;
pub mod http;
pub mod kind;
pub mod leader;
pub mod metrics;
pub mod names;
pub mod pin_node;
pub mod quantity;
pub mod resources;
pub mod run;
pub mod secrets;
pub mod served;
pub mod settings;
pub mod triggers;
pub mod trouble;
pub mod views;
pub mod workload;
pub mod world;
