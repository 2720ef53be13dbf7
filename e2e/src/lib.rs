//! Anchorage on a real Kubernetes cluster: the steps that `make demo` shows and that the end-to-end tests assert.
//!
//! Everything is done as its users do it, with `kubectl`, `helm` and `ipfs`, so what runs here is what the README says.
//! [`bench`](mod@bench) measures the service on this machine, without a cluster, and [`chaos`] disturbs it there.
//!
//! The demo and the tests call the same functions; a step that does not hold fails both.

pub mod anchorage;
pub mod bench;
pub mod chaos;
pub mod demo;
pub mod fleet;
pub mod lab;
pub mod monitoring;
pub mod namespace;
pub mod node;
pub mod program;
pub mod story;
pub mod traefik;
pub mod visitor;
pub mod wait;
