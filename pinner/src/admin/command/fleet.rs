//! The fleet as a whole: its pause, its balance, and who is there.

use serde_json::json;

use super::Admin;
use crate::admin::{
    Pause,
    failure::Failure,
    table::fleet::{self, Maintenance, Plan, Presences},
};

impl Admin {
    pub(super) async fn maintenance(&self, pause: Pause) -> Result<(), Failure> {
        const PATH: &[&str] = &["maintenance"];
        let answer = match pause {
            Pause::On { length, reason } => {
                let mut request = json!({});
                if let Some(length) = length {
                    request["forSeconds"] = json!(length.as_secs());
                }
                if let Some(reason) = reason {
                    request["reason"] = json!(reason);
                }
                self.client.put(PATH, &request).await?
            }
            Pause::Off => self.client.delete(PATH).await?,
            Pause::Status => self.client.get(PATH).await?,
        };
        self.show(&answer, |maintenance: Maintenance| fleet::maintenance(&maintenance))
    }

    /// What is moved is what was planned: the server refuses a plan that something has overtaken.
    pub(super) async fn rebalance(&self, dry_run: bool) -> Result<(), Failure> {
        const PATH: &[&str] = &["rebalance"];
        let mut answer = self.client.get(PATH).await?;
        let plan: Plan = self.client.understand(&answer)?;
        if let Some(note) = plan.note() {
            eprintln!("{note}");
        }
        if !dry_run && !plan.moves.is_empty() {
            answer = self.client.post(PATH, &json!({"plan": plan.id})).await.map_err(with_cure)?;
        }
        self.show(&answer, |plan: Plan| fleet::plan(&plan))
    }

    pub(super) async fn presences(&self) -> Result<(), Failure> {
        let answer = self.client.get(&["presences"]).await?;
        self.show(&answer, |presences: Presences| fleet::presences(&presences))
    }
}

/// What to do about a plan that was refused.
pub(in crate::admin) fn with_cure(failure: Failure) -> Failure {
    let cure = |text: &str| match text.split(':').next() {
        Some("STALE_PLAN") => Some("nothing was moved; run `anchorage admin rebalance` again"),
        Some("MAINTENANCE") => Some("nothing was moved; run it again after `anchorage admin maintenance off`"),
        _ => None,
    };
    match failure {
        Failure::Refused(text) => match cure(&text) {
            Some(cure) => Failure::Refused(format!("{text}; {cure}")),
            None => Failure::Refused(text),
        },
        other => other,
    }
}
