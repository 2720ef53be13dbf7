//! What came of a run, for people.

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use anyhow::{Result, bail};

use super::{
    ChaosArgs,
    facts::Violation,
    history::{Action, Operation, Outcome},
    kept,
    schedule::Kind,
};

/// Violations that are printed; the history has the rest.
const SHOWN: usize = 20;

/// A run and its verdict.
#[derive(Debug)]
pub struct Report {
    /// What it was drawn from.
    pub seed: u64,
    /// How it was asked for.
    pub arguments: ChaosArgs,
    /// Where its history is.
    pub dir: PathBuf,
    /// Fewer acknowledged operations make it invalid.
    pub least: usize,
    /// How long the fleet took to come to rest.
    pub rest: Duration,
    /// What clients did.
    pub history: Vec<Operation>,
    /// Pins at the end.
    pub pins: usize,
    /// Every fault, and whether it took place.
    pub faults: Vec<(Kind, bool)>,
    /// How many samples were taken.
    pub samples: usize,
    /// How often the fence refused an epoch that was over.
    pub refused: usize,
    /// What must not be.
    pub violations: Vec<Violation>,
}

impl Report {
    /// Fine, or why not.
    ///
    /// # Errors
    /// When a promise is broken, or too little was done to say that none is.
    pub fn verdict(&self) -> Result<()> {
        let acknowledged = kept::acknowledged(&self.history);
        if !self.violations.is_empty() {
            bail!("{} violations; once more: {}", self.violations.len(), self.command());
        }
        if acknowledged < self.least || self.samples < self.arguments.seconds as usize {
            bail!(
                "invalid: {acknowledged} acknowledged operations of {} and {} samples are too few to say anything",
                self.least,
                self.samples
            );
        }
        Ok(())
    }

    fn command(&self) -> String {
        let ChaosArgs { seconds, nodes, faults, calm, .. } = &self.arguments;
        let mut command = format!("e2e chaos --seed {} --seconds {seconds} --nodes {nodes}", self.seed);
        if !faults.is_empty() {
            let faults: Vec<String> = faults.iter().map(|kind| kind.name()).collect();
            command += &format!(" --faults {}", faults.join(","));
        }
        if *calm {
            command += " --calm";
        }
        command
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut outcomes: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for operation in &self.history {
            let action = match operation.action {
                Action::Post { .. } => "pins",
                Action::Replace { .. } => "replacements",
                Action::Delete { .. } => "deletions",
                Action::Get { .. } => "looks",
            };
            let outcome = match operation.outcome {
                Some(Outcome::Ok(_)) => "acknowledged",
                Some(Outcome::Fail(_)) => "refused",
                Some(Outcome::Unknown(_)) | None => "unknown",
            };
            *outcomes.entry((outcome, action)).or_default() += 1;
        }
        let mut faults: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        for (kind, took_place) in &self.faults {
            let (all, done) = faults.entry(kind.name()).or_default();
            *all += 1;
            *done += usize::from(*took_place);
        }
        writeln!(f, "seed {}, {} nodes, {} s", self.seed, self.arguments.nodes, self.arguments.seconds)?;
        for outcome in ["acknowledged", "refused", "unknown"] {
            let of_outcome = outcomes.iter().filter(|((of, _), _)| *of == outcome);
            let parts: Vec<String> = of_outcome.map(|((_, action), count)| format!("{count} {action}")).collect();
            writeln!(f, "{outcome}: {}", if parts.is_empty() { "none".to_owned() } else { parts.join(", ") })?;
        }
        let done: usize = faults.values().map(|(_, done)| done).sum();
        let parts: Vec<String> = faults
            .iter()
            .map(
                |(kind, (all, done))| {
                    if all == done { format!("{done} {kind}") } else { format!("{done} of {all} {kind}") }
                },
            )
            .collect();
        writeln!(f, "{done} faults: {}", parts.join(", "))?;
        writeln!(f, "{} samples; the fence refused {} old epochs", self.samples, self.refused)?;
        writeln!(f, "{} pins at rest after {:.1} s", self.pins, self.rest.as_secs_f64())?;
        write!(f, "{} violations", self.violations.len())?;
        for violation in self.violations.iter().take(SHOWN) {
            write!(f, "\n  {violation}")?;
        }
        if !self.violations.is_empty() {
            write!(f, "\nthe history is in {}", self.dir.join("history.jsonl").display())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(operations: usize, samples: usize, violations: Vec<Violation>) -> Report {
        let action = Action::Delete { name: "p".to_owned() };
        let operation = Operation { org: "a".to_owned(), action, outcome: Some(Outcome::Ok(None)) };
        let arguments = ChaosArgs {
            seed: None,
            seconds: 60,
            nodes: 3,
            faults: vec![Kind::KillNats],
            calm: false,
            plant: Vec::new(),
        };
        Report {
            seed: 7,
            arguments,
            dir: PathBuf::from("/nowhere"),
            least: 180,
            rest: Duration::ZERO,
            history: vec![operation; operations],
            pins: 0,
            faults: vec![(Kind::KillNats, true), (Kind::KillNats, false)],
            samples,
            refused: 0,
            violations,
        }
    }

    #[test]
    fn a_run_without_load_or_samples_is_invalid() {
        assert!(report(180, 60, Vec::new()).verdict().is_ok());
        let why = report(179, 60, Vec::new()).verdict().unwrap_err().to_string();
        assert!(why.starts_with("invalid: 179 acknowledged operations of 180"), "{why}");
        assert!(report(180, 59, Vec::new()).verdict().is_err());
    }

    #[test]
    fn a_failed_run_says_how_to_repeat_it_and_where_its_history_is() {
        let report = report(500, 100, vec![Violation::new("a promise", "broken")]);
        let why = report.verdict().unwrap_err().to_string();
        assert_eq!(why, "1 violations; once more: e2e chaos --seed 7 --seconds 60 --nodes 3 --faults kill-nats");
        let text = report.to_string();
        assert!(text.contains("  a promise: broken\nthe history is in /nowhere/history.jsonl"), "{text}");
        assert!(text.contains("acknowledged: 500 deletions") && text.contains("1 faults: 1 of 2 kill-nats"), "{text}");
    }
}
