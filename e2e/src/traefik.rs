//! Traefik, the ingress controller that the API is reached through.

use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::lab::Lab;
use crate::namespace::{Namespace, text};

/// Installs Traefik, or leaves it as it is, and gives the address at which it serves every Ingress.
///
/// # Errors
/// When it does not become ready within three minutes.
pub fn install(lab: &Lab) -> Result<String> {
    let namespace = Namespace::create(lab, "traefik", "restricted")?;
    namespace.apply(std::fs::read(lab.path("e2e/manifests/traefik.yaml")).context("read traefik.yaml")?)?;
    namespace.rolled_out("deployment/traefik", Duration::from_mins(3))?;
    let service = namespace.get("service/traefik")?;
    Ok(text(&service["spec"]["clusterIP"]).to_owned())
}
