//! Waiting for a condition, with a deadline, saying what for. Nothing here or above sleeps for any other reason.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::story;

const PAUSE: Duration = Duration::from_millis(500);
/// After this long, and again after as long, the story says what is waited for and what is in the way.
const PATIENCE: Duration = Duration::from_secs(15);

/// Asks `check` until it succeeds and gives what it gave. Each error means "not yet".
///
/// # Errors
/// When `limit` has passed: what was waited for, and the last reason why not.
pub fn until<T>(what: &str, limit: Duration, mut check: impl FnMut() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    let mut next_word = PATIENCE;
    let mut told = String::new();
    loop {
        let reason = match check() {
            Ok(value) => return Ok(value),
            Err(reason) => reason,
        };
        let waited = start.elapsed();
        if waited >= limit {
            return Err(reason).with_context(|| format!("waited {} s for {what}", limit.as_secs()));
        }
        if waited >= next_word {
            let why = format!("{reason:#}");
            let news = if why == told { "still the same" } else { &why };
            story::note(&format!("waiting for {what}, {} s: {news}", waited.as_secs()));
            told = why;
            next_word += PATIENCE;
        }
        sleep(PAUSE);
    }
}

/// Watches for `duration` that `check` goes on succeeding.
///
/// # Errors
/// The first error of `check`.
pub fn throughout(duration: Duration, mut check: impl FnMut() -> Result<()>) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < duration {
        check()?;
        sleep(PAUSE);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn it_gives_the_first_success() {
        let mut tries = 0;
        let value = until("the third try", Duration::from_secs(5), || {
            tries += 1;
            if tries < 3 {
                bail!("too early");
            }
            Ok(tries)
        });
        assert_eq!(value.unwrap(), 3);
    }

    #[test]
    fn a_deadline_tells_what_for_and_why_not() {
        let error = until::<()>("rain", Duration::ZERO, || bail!("the sun shines")).unwrap_err();
        assert_eq!(format!("{error:#}"), "waited 0 s for rain: the sun shines");
    }

    #[test]
    fn a_condition_that_breaks_is_noticed() {
        assert!(throughout(Duration::from_secs(5), || bail!("broken")).is_err());
    }
}
