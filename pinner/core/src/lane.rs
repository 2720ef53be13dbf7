//! Lanes: which placements a worker takes next, so that nothing keeps anything else from its turn.
//!
//! New placements, copies that the leader asked for, ones that were tried before and unpins have slots of their own. New ones are taken in the order
//! of their turns, which is fair between orgs; but an org that has asked for thousands of contents that nobody has
//! would wait behind them for hours with the next one. So every fourth is taken from the other end: the last come.
//! Placements that were tried before take turns by the org that they are for (`due_retries` in migration 0006).

/// Of so many new placements one is taken from the end of the queue.
const LAST_COME_EVERY: u64 = 4;

/// What a look has room for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Room {
    /// New placements, in the order of their turns.
    pub oldest: usize,
    /// New placements, from the other end.
    pub newest: usize,
    /// Copies that the leader asked for.
    pub copies: usize,
    /// Placements that were tried before.
    pub retries: usize,
    /// Placements to be let go.
    pub unpins: usize,
}

impl Room {
    /// Room for `fresh` new placements after `taken` were taken since the start, and for none of the others.
    pub fn fresh(taken: u64, fresh: usize) -> Self {
        let newest = (taken + fresh as u64) / LAST_COME_EVERY - taken / LAST_COME_EVERY;
        let newest = usize::try_from(newest).unwrap_or(fresh);
        Self { oldest: fresh - newest, newest, ..Self::default() }
    }

    /// How many placements that is.
    pub fn total(&self) -> usize {
        self.oldest + self.newest + self.copies + self.retries + self.unpins
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fourth_is_one_of_the_last_come_however_they_are_taken() {
        for step in [1, 2, 3, 5, 16] {
            let (mut taken, mut newest) = (0, 0);
            while taken < 240 {
                let room = Room::fresh(taken, step);
                assert_eq!(room.total(), step);
                taken += step as u64;
                newest += room.newest;
            }
            assert_eq!(newest as u64, taken / 4, "steps of {step}");
        }
    }
}
