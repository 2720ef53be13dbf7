//! The operator against a real kube-apiserver and etcd, under the chart's own permissions.
//!
//! There is no controller manager: nothing makes pods, completes Jobs or collects garbage unless a test does it. What
//! needs those belongs to the end-to-end tests on kind.

#![expect(clippy::unwrap_used, reason = "what stops a test has failed it")]

mod chart;
mod definitions;
mod drains;
mod fake_pinner;
mod history;
mod leadership;
mod lifecycle;
mod maintenance;
mod sample;
mod scaling;
mod scene;
mod server;
