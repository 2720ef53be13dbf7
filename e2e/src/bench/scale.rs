//! How much is measured.

/// How much to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Scale {
    /// In about three minutes: shows that the benches work, and gross changes.
    Small,
    /// The sizes of the goals: 10 M pins, five rounds. Takes 12 GB of disk and most of an hour.
    Full,
}

/// The sizes of a scale.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// Interleaved rounds of ours and the anchor.
    pub rounds: usize,
    /// Row 1: seconds of accepting, and of the whole sweep's every step.
    pub accept_seconds: u32,
    /// Row 1: lone accepts, one after the other.
    pub lone_accepts: usize,
    /// Row 2: pins to complete in a round, and in each step of the anchor's sweep.
    pub completions: usize,
    /// Row 3: pins in the large database.
    pub pins: u64,
    /// Row 3: requests of each kind in a round.
    pub lists: usize,
    /// Row 5: events that change the fleet.
    pub events: usize,
    /// Row 8: seconds of a quiet and of a flooded stretch.
    pub flood_seconds: u32,
    /// Row 8: pairs of stretches.
    pub floods: usize,
}

impl Scale {
    /// Its sizes.
    pub fn sizes(self) -> Sizes {
        match self {
            Self::Small => Sizes {
                rounds: 3,
                accept_seconds: 1,
                lone_accepts: 150,
                completions: 300,
                pins: 200_000,
                lists: 40,
                events: 100,
                flood_seconds: 5,
                floods: 2,
            },
            Self::Full => Sizes {
                rounds: 5,
                accept_seconds: 8,
                lone_accepts: 1000,
                completions: 4000,
                pins: 10_000_000,
                lists: 400,
                events: 1_000,
                flood_seconds: 40,
                floods: 3,
            },
        }
    }
}
