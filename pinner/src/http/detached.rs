//! Work that a client cannot cut in half by hanging up.
//!
//! The server drops a handler's future when its client goes away. A transaction dropped at the wrong moment poisons
//! its connection, and one dropped after the commit leaves wake-ups unsent (HAZARDS 1). So whatever touches the
//! database runs in a task of the main runtime, which goes on whoever waits for it.

use super::error::ApiError;
use crate::service::Service;
use std::{future::Future, sync::Arc};

/// Runs `work` to its end, whether or not the caller is still there for it.
pub async fn detached<T, W>(service: &Arc<Service>, work: W) -> Result<T, ApiError>
where
    T: Send + 'static,
    W: Future<Output = Result<T, ApiError>> + Send + 'static,
{
    match service.runtime.spawn(work).await {
        Ok(result) => result,
        Err(error) => {
            tracing::error!(%error, "a request's work ended in a panic");
            Err(ApiError::Internal)
        }
    }
}
