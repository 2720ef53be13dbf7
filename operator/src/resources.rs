//! One builder per kind of object. Builders are pure: a validated cluster in, an object as it should be out.

pub mod disruption_budget;
pub mod http_route;
pub mod ingress;
pub mod kubo_config;
pub mod migrate_job;
pub mod nats;
pub mod pin_node;
pub mod pinner;
pub mod pod;
pub mod pod_monitor;
pub mod postgres;
pub mod secret;
pub mod service;
