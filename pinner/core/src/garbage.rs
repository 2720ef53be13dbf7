//! When garbage is collected: not while a fetch gets on that it would throw back to its beginning, unless room is needed.
//!
//! Kubo keeps no block of a fetch that has not ended, so each collection costs what was fetched so far; a fetch that takes
//! longer than the time between two collections would never end.

use std::time::Duration;

/// A fetch gets on if it got a block within this time.
const LATELY: Duration = Duration::from_secs(60);
/// From this share of what a repository may hold on, in hundredths, its garbage is collected whatever that costs.
const NEARLY_FULL: u128 = 80;

/// How full a repository is, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repo {
    /// What it holds.
    pub used: u64,
    /// What it may hold.
    pub most: u64,
}

impl Repo {
    fn is_nearly_full(self) -> bool {
        u128::from(self.used) * 100 >= u128::from(self.most) * NEARLY_FULL
    }
}

/// What a collection that is due depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Situation {
    /// How long it has been due.
    pub due_for: Duration,
    /// For so long a content is tried at most.
    pub deadline: Duration,
    /// How long ago any fetch under way got a block that was not among its first; none when none has.
    pub advanced: Option<Duration>,
    /// How full the repository is, if that is known.
    pub repo: Option<Repo>,
    /// Whether its disk is full.
    pub is_disk_full: bool,
}

impl Situation {
    /// Whether the collection waits for fetches that get on. Those that hang have nothing to lose, and whoever hands out
    /// a block now and then must not put it off for ever: it comes after a deadline at the latest. Whatever was under way
    /// when it became due has ended by then, and two that come all the same are further apart than a fetch can last, so
    /// none is thrown back twice.
    pub fn is_put_off(self) -> bool {
        let Self { due_for, deadline, advanced, repo, is_disk_full } = self;
        let has_room = !is_disk_full && repo.is_some_and(|repo| !repo.is_nearly_full());
        has_room && due_for < deadline && advanced.is_some_and(|ago| ago < LATELY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    const FETCHING: Situation = Situation {
        due_for: s(60),
        deadline: s(86_400),
        advanced: Some(s(1)),
        repo: Some(Repo { used: 79, most: 100 }),
        is_disk_full: false,
    };

    #[test]
    fn a_fetch_that_gets_on_puts_a_collection_off() {
        assert!(FETCHING.is_put_off());
        assert!(Situation { due_for: s(86_399), advanced: Some(s(59)), ..FETCHING }.is_put_off());
    }

    #[test]
    fn what_hangs_or_was_never_there_does_not() {
        for advanced in [None, Some(s(60))] {
            assert!(!Situation { advanced, ..FETCHING }.is_put_off(), "{advanced:?}");
        }
    }

    #[test]
    fn without_room_nothing_does() {
        for repo in [None, Some(Repo { used: 80, most: 100 }), Some(Repo { used: u64::MAX, most: u64::MAX })] {
            assert!(!Situation { repo, ..FETCHING }.is_put_off(), "{repo:?}");
        }
        assert!(!Situation { is_disk_full: true, ..FETCHING }.is_put_off());
        assert!(!Situation { repo: Some(Repo { used: 0, most: 0 }), ..FETCHING }.is_put_off(), "it says nothing");
    }

    #[test]
    fn a_drip_puts_it_off_for_a_deadline_only() {
        assert!(!Situation { due_for: s(86_400), advanced: Some(s(0)), ..FETCHING }.is_put_off());
    }
}
