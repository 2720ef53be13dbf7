//! What a person reads while the demo or the tests run, on standard error: one line per step with its time, notes
//! below it, and the output of commands worth seeing.

use std::io::IsTerminal as _;
use std::time::Instant;

use anyhow::Result;

/// Runs `step`, announced as `what`, and tells how long it took or that it failed.
///
/// # Errors
/// Those of `step`.
pub fn step<T>(what: &str, step: impl FnOnce() -> Result<T>) -> Result<T> {
    eprintln!("{} {what}", paint("36", "▸"));
    let start = Instant::now();
    let result = step();
    let seconds = start.elapsed().as_secs_f32();
    match &result {
        Ok(_) => eprintln!("  {} {seconds:.1} s", paint("32", "✓")),
        Err(_) => eprintln!("  {} failed after {seconds:.1} s", paint("31", "✗")),
    }
    result
}

/// One line about the step that is under way.
pub fn note(text: &str) {
    eprintln!("    {}", paint("2", text));
}

/// A command as a user would type it, and what it printed.
pub fn shown(command: &str, output: &str) {
    eprintln!("    {}", paint("1", &format!("$ {command}")));
    for line in output.lines() {
        eprintln!("      {line}");
    }
}

fn paint(code: &str, text: &str) -> String {
    if std::io::stderr().is_terminal() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}
