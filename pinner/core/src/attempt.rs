//! One attempt to fetch a content: how long it may go on, and why it ends.
//!
//! Times are spans since the attempt began. What is asked of the network and what the network says is the caller's.

use std::time::Duration;

/// After this long an attempt is not one of those that are over in no time, and makes room for them where it can.
pub const BRIEF: Duration = Duration::from_secs(1);
/// After this long an attempt lets others have its slot when there is no other for them.
pub const TURN: Duration = Duration::from_secs(10 * 60);

/// Why a content is not there, as clients' programs read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Not one block came: nobody that has the content was found.
    NoProviders,
    /// Blocks came and then no more.
    Stalled,
    /// It was tried for as long as anything is tried.
    Deadline,
    /// The org is over its limit.
    Quota,
    /// Kubo could not do it, and said why.
    KuboError,
}

impl Reason {
    /// The code, as in `info.reason` and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoProviders => "NO_PROVIDERS",
            Self::Stalled => "STALLED",
            Self::Deadline => "DEADLINE",
            Self::Quota => "QUOTA",
            Self::KuboError => "KUBO_ERROR",
        }
    }
}

/// What bounds an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long a first attempt may go without a block; none for later ones, which have more patience.
    pub patience: Option<Duration>,
    /// How long blocks may stay away.
    pub stall: Duration,
    /// What is left until the content is given up for good.
    pub remaining: Duration,
}

/// What an attempt has to end for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// A first attempt found nothing quickly. Another one, with more patience, is due at once.
    Patience,
    /// It failed, for one of [`Reason::NoProviders`], [`Reason::Stalled`] and [`Reason::Deadline`].
    Failed(Reason),
}

/// A patience of its own for each attempt, up to a fifth more or less by `chance` in 0.0..1.0. Attempts that begin
/// together, as when a flood of contents comes that nobody has, would else end together, and nothing between.
pub fn spread(patience: Duration, chance: f64) -> Duration {
    patience.mul_f64(0.8 + 0.4 * chance.clamp(0.0, 1.0))
}

/// Follows an attempt.
#[derive(Debug)]
pub struct Watch {
    limits: Limits,
    blocks: u64,
    bytes: u64,
    advanced: Duration,
}

impl Watch {
    /// An attempt that begins.
    pub fn new(limits: Limits) -> Self {
        Self { limits, blocks: 0, bytes: 0, advanced: Duration::ZERO }
    }

    /// Notes at `age` how many blocks and bytes there are by now.
    pub fn note(&mut self, age: Duration, blocks: u64, bytes: u64) {
        if (blocks, bytes) != (self.blocks, self.bytes) {
            (self.blocks, self.bytes, self.advanced) = (blocks, bytes, age);
        }
    }

    /// Whether the attempt has to end at `age`. The deadline holds for one that gets on, too: a peer that hands out a
    /// block now and then must not keep a slot for ever.
    pub fn over(&self, age: Duration) -> Option<Over> {
        let still = age.saturating_sub(self.advanced);
        if age >= self.limits.remaining {
            return Some(Over::Failed(Reason::Deadline));
        }
        if still >= self.limits.stall {
            return Some(Over::Failed(if self.blocks == 0 { Reason::NoProviders } else { Reason::Stalled }));
        }
        (self.blocks == 0 && self.limits.patience.is_some_and(|patience| still >= patience)).then_some(Over::Patience)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    const FRESH: Limits = Limits { patience: Some(s(10)), stall: s(120), remaining: s(86_400) };
    const AGAIN: Limits = Limits { patience: None, ..FRESH };

    #[test]
    fn a_first_attempt_without_a_block_ends_with_its_patience_and_a_later_one_with_the_stall_time() {
        let (fresh, again) = (Watch::new(FRESH), Watch::new(AGAIN));
        assert_eq!((fresh.over(s(9)), again.over(s(9))), (None, None));
        assert_eq!((fresh.over(s(10)), again.over(s(119))), (Some(Over::Patience), None));
        assert_eq!(again.over(s(120)), Some(Over::Failed(Reason::NoProviders)));
    }

    #[test]
    fn patience_is_spread_by_a_fifth() {
        assert_eq!([0.0, 0.5, 1.0].map(|chance| spread(s(10), chance)), [s(8), s(10), s(12)]);
    }

    #[test]
    fn what_got_a_block_may_pause_for_the_stall_time() {
        let mut watch = Watch::new(FRESH);
        watch.note(s(9), 1, 100);
        watch.note(s(50), 1, 100);
        assert_eq!(watch.over(s(128)), None);
        assert_eq!(watch.over(s(129)), Some(Over::Failed(Reason::Stalled)));
    }

    #[test]
    fn a_drip_of_blocks_ends_at_the_deadline() {
        let mut watch = Watch::new(Limits { remaining: s(1_000), ..FRESH });
        for n in 1..=9 {
            watch.note(s(n * 100), n, n);
            assert_eq!(watch.over(s(n * 100 + 99)), None);
        }
        assert_eq!(watch.over(s(1_000)), Some(Over::Failed(Reason::Deadline)));
    }

    #[test]
    fn a_stall_time_shorter_than_the_patience_is_a_failure() {
        let watch = Watch::new(Limits { stall: s(1), ..FRESH });
        assert_eq!(watch.over(s(1)), Some(Over::Failed(Reason::NoProviders)));
    }
}
