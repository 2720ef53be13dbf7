//! What clients asked for and what they were told, as it happened: the record that a run is judged by.
//!
//! A client does one thing at a time, and a pin is touched by the client that made it alone. An operation whose outcome
//! nobody knows may have taken effect, or may yet.

use std::{
    fs::File,
    io::{BufWriter, Write as _},
    path::Path,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use anyhow::{Context as _, Result};
use serde::Serialize;

/// An operation. A pin is called by the name that it was made with, which no other has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// A new pin.
    Post {
        /// Its name.
        name: String,
        /// What it pins.
        cid: String,
    },
    /// A pin instead of another.
    Replace {
        /// The other.
        old: String,
        /// Its name.
        name: String,
        /// What it pins.
        cid: String,
    },
    /// The end of a pin.
    Delete {
        /// Which.
        name: String,
    },
    /// A look at a pin.
    Get {
        /// Which.
        name: String,
    },
}

/// What a client was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It is done; a new pin has this id.
    Ok(Option<String>),
    /// It was refused with this status, or, with 0, never sent: nothing changed.
    Fail(u16),
    /// Nobody knows.
    Unknown(String),
}

/// One operation.
#[derive(Debug, Clone, Serialize)]
pub struct Operation {
    /// The org that asked.
    pub org: String,
    /// What it asked for.
    pub action: Action,
    /// What it was told; nothing when the run ended before.
    pub outcome: Option<Outcome>,
}

/// A line of the history's file.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    at: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    op: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    invoke: Option<(&'a str, &'a Action)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'a Outcome>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a str>,
}

/// Writes the history.
#[derive(Debug)]
pub struct Recorder {
    began: Instant,
    state: Mutex<(Vec<Operation>, BufWriter<File>)>,
}

impl Recorder {
    /// Writes to a new file.
    ///
    /// # Errors
    /// When there can be none.
    pub fn create(file: &Path) -> Result<Self> {
        let opened = File::create(file).with_context(|| format!("create {}", file.display()))?;
        Ok(Self { began: Instant::now(), state: Mutex::new((Vec::new(), BufWriter::new(opened))) })
    }

    /// Milliseconds since the start.
    pub fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Notes that an operation is about to be sent; gives its number.
    pub fn invoke(&self, org: &str, action: Action) -> usize {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let op = state.0.len();
        let line = Line { at: self.now(), op: Some(op), invoke: Some((org, &action)), outcome: None, note: None };
        write(&mut state.1, &line);
        state.0.push(Operation { org: org.to_owned(), action, outcome: None });
        op
    }

    /// Notes its outcome.
    pub fn outcome(&self, op: usize, outcome: Outcome) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let line = Line { at: self.now(), op: Some(op), invoke: None, outcome: Some(&outcome), note: None };
        write(&mut state.1, &line);
        if let Some(operation) = state.0.get_mut(op) {
            operation.outcome = Some(outcome);
        }
    }

    /// Notes a fault.
    pub fn note(&self, text: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        write(&mut state.1, &Line { at: self.now(), op: None, invoke: None, outcome: None, note: Some(text) });
        let _ = state.1.flush();
    }

    /// All operations, in the order in which they were sent.
    pub fn operations(&self) -> Vec<Operation> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = state.1.flush();
        state.0.clone()
    }
}

/// The file is for people; a run is judged by what is in memory.
fn write(file: &mut BufWriter<File>, line: &Line<'_>) {
    if serde_json::to_writer(&mut *file, line).is_ok() {
        let _ = file.write_all(b"\n");
    }
}
