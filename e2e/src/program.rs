//! Runs other programs and hands back what they print. A failure carries the command line and what it said.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, bail};

/// A program about to be run.
#[derive(Debug)]
pub struct Program {
    command: Command,
    input: Option<Vec<u8>>,
}

impl Program {
    /// The program at `path`, or found on `PATH` if it is a bare name.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self { command: Command::new(path.as_ref()), input: None }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Text for its standard input, which is empty otherwise.
    #[must_use]
    pub fn input(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.input = Some(text.into());
        self
    }

    /// Runs it to its end and gives its standard output without surrounding white space.
    ///
    /// # Errors
    /// When it cannot be started or exits with another status than 0; the error holds its standard error.
    pub fn run(self) -> Result<String> {
        let line = self.line();
        let output = self.output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("{line}: {}: {}", output.status, said.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Runs it to its end, expects it to fail, and gives what it said on standard error.
    ///
    /// # Errors
    /// When it cannot be started or succeeds.
    pub fn fails(self) -> Result<String> {
        let line = self.line();
        let output = self.output()?;
        if output.status.success() {
            bail!("{line}: succeeded, but must be refused");
        }
        Ok(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }

    /// Runs it to its end with its output on this process' standard error, for steps whose progress people watch.
    ///
    /// # Errors
    /// When it cannot be started or exits with another status than 0.
    pub fn show(mut self) -> Result<()> {
        let line = self.line();
        let status = self
            .command
            .stdin(Stdio::null())
            .stdout(std::io::stderr())
            .status()
            .with_context(|| format!("start {line}"))?;
        if !status.success() {
            bail!("{line}: {status}");
        }
        Ok(())
    }

    fn output(mut self) -> Result<Output> {
        let line = self.line();
        let input = self.input.take();
        let mut child = self
            .command
            .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {line}"))?;
        if let (Some(text), Some(mut stdin)) = (input, child.stdin.take()) {
            // A program that ends without reading all of it reports its own error below.
            let _ = stdin.write_all(&text);
        }
        child.wait_with_output().with_context(|| format!("wait for {line}"))
    }

    /// The command line for messages, without the program's folder and with tokens left out.
    fn line(&self) -> String {
        let program = Path::new(self.command.get_program()).file_name().unwrap_or_default();
        let mut line = program.to_string_lossy().into_owned();
        for argument in self.command.get_args() {
            let argument = argument.to_string_lossy();
            line.push(' ');
            line.push_str(if argument.starts_with("eyJ") { "TOKEN" } else { &argument });
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_command_and_what_it_said() {
        let error = Program::new("sh").args(["-c", "echo no such thing >&2; exit 3"]).run().unwrap_err().to_string();
        assert!(
            error.contains("sh -c") && error.contains("exit status: 3") && error.contains("no such thing"),
            "{error}"
        );
    }

    #[test]
    fn tokens_never_appear_in_messages() {
        let error = Program::new("false").args(["eyJhbGciOi.secret"]).run().unwrap_err().to_string();
        assert!(error.contains("false TOKEN") && !error.contains("secret"), "{error}");
    }

    #[test]
    fn input_reaches_the_program() {
        assert_eq!(Program::new("cat").input("a pin\n").run().unwrap(), "a pin");
    }

    #[test]
    fn success_where_a_refusal_is_expected_is_an_error() {
        assert!(Program::new("true").fails().is_err());
    }
}
