//! Runs promises one after the other, tells how each went, and closes with the line that test programs close with.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;

use crate::diagnosis;

/// What has been run so far.
#[derive(Debug)]
pub(crate) struct Tally {
    started: Instant,
    passed: u32,
    failed: u32,
}

impl Default for Tally {
    fn default() -> Self {
        Self { started: Instant::now(), passed: 0, failed: 0 }
    }
}

impl Tally {
    /// Runs a promise that others do not need.
    pub(crate) fn check(&mut self, name: &str, promise: impl FnOnce() -> Result<()>) {
        // The failure is counted and told.
        let _ = self.must(name, promise);
    }

    /// Runs a promise that the following ones build on.
    pub(crate) fn must<T>(&mut self, name: &str, promise: impl FnOnce() -> Result<T>) -> Result<T> {
        let start = Instant::now();
        let result = promise();
        let seconds = start.elapsed().as_secs_f32();
        match &result {
            Ok(_) => {
                self.passed += 1;
                println!("test {name} ... ok ({seconds:.1} s)");
            }
            Err(error) => {
                self.failed += 1;
                println!("test {name} ... FAILED ({seconds:.1} s)\n    {error:#}");
                diagnosis::print();
            }
        }
        result
    }

    /// Prints the closing line; the exit code says whether all held.
    pub(crate) fn close(self) -> ExitCode {
        let word = if self.failed == 0 { "ok" } else { "FAILED" };
        let seconds = self.started.elapsed().as_secs_f32();
        println!(
            "\ntest result: {word}. {} passed; {} failed; 0 ignored; 0 measured; 0 filtered out; finished in {seconds:.2}s",
            self.passed, self.failed
        );
        if self.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
