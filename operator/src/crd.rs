//! The two kinds that users write, and how their definitions are published as YAML.
//!
//! What the fields mean for a running cluster is decided elsewhere: see [`crate::cluster`] and [`crate::pin_node`].

pub mod anchorage_cluster;
pub mod pin_node;
pub mod publish;
pub mod shared;

pub use anchorage_cluster::{AnchorageCluster, AnchorageClusterSpec, AnchorageClusterStatus};
pub use pin_node::{PinNode, PinNodeSpec, PinNodeStatus, Scheduling};
