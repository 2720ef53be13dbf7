//! What follows a failed attempt to pin: another one later, or the end.

use std::time::Duration;

/// How long attempts go on and how far apart they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The wait after the first failure; it doubles with each further one.
    pub base: Duration,
    /// The longest wait.
    pub max: Duration,
    /// How long after its first attempt began a content may still be tried.
    pub deadline: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            base: Duration::from_secs(5),
            max: Duration::from_secs(15 * 60),
            deadline: Duration::from_secs(24 * 60 * 60),
        }
    }
}

/// The verdict on a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Try again after this wait.
    After(Duration),
    /// Give up: the placement has failed.
    Fail,
}

impl RetryPolicy {
    /// Decides after the `attempts`-th failure (1 for the first), `age` after the first attempt began.
    /// `jitter` in 0.0..1.0 takes up to a fifth off the wait, so that many failures do not come back at once.
    pub fn after_failure(&self, attempts: u32, age: Duration, jitter: f64) -> Next {
        let doublings = attempts.saturating_sub(1).min(20);
        let wait = self.base.saturating_mul(1 << doublings).min(self.max);
        let wait = wait.mul_f64(1.0 - 0.2 * jitter.clamp(0.0, 1.0));
        if age + wait >= self.deadline { Next::Fail } else { Next::After(wait) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RetryPolicy =
        RetryPolicy { base: Duration::from_secs(5), max: Duration::from_secs(60), deadline: Duration::from_secs(600) };

    #[test]
    fn waits_double_up_to_the_bound() {
        let waits: Vec<_> = (1..=6).map(|n| POLICY.after_failure(n, Duration::ZERO, 0.0)).collect();
        assert_eq!(waits, [5, 10, 20, 40, 60, 60].map(|s| Next::After(Duration::from_secs(s))));
        assert_eq!(POLICY.after_failure(u32::MAX, Duration::ZERO, 0.0), Next::After(POLICY.max));
    }

    #[test]
    fn jitter_only_shortens() {
        assert_eq!(POLICY.after_failure(1, Duration::ZERO, 1.0), Next::After(Duration::from_secs(4)));
    }

    #[test]
    fn no_wait_reaches_past_the_deadline() {
        assert_eq!(POLICY.after_failure(1, Duration::from_secs(594), 0.0), Next::After(Duration::from_secs(5)));
        assert_eq!(POLICY.after_failure(1, Duration::from_secs(595), 0.0), Next::Fail);
    }
}
