//! The arithmetic of the benches: medians, percentiles, ratios of rounds, and whether a goal is met.

/// The middle of some values: the lower of the two for an even number, so that it is a value that was measured.
///
/// # Panics
/// Without values.
pub fn median(values: &[f64]) -> f64 {
    percentile(values, 50.0)
}

/// The smallest value that `share` percent of all values do not exceed.
///
/// # Panics
/// Without values.
pub fn percentile(values: &[f64], share: f64) -> f64 {
    assert!(!values.is_empty(), "nothing was measured");
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (share / 100.0 * as_float(sorted.len())).ceil();
    let index = (1..sorted.len()).find(|index| as_float(*index) >= rank).unwrap_or(sorted.len());
    sorted[index - 1]
}

/// A number of things as a number to calculate with.
#[expect(clippy::cast_precision_loss, reason = "what is counted here stays far below 2^52")]
pub fn as_float(count: usize) -> f64 {
    count as f64
}

/// What several measurements of one thing gave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The middle one.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    /// The spread of some values.
    ///
    /// # Panics
    /// Without values.
    pub fn of(values: &[f64]) -> Self {
        Self { median: median(values), min: percentile(values, 0.0), max: percentile(values, 100.0) }
    }

    /// How far the extremes are apart, as a part of the median.
    pub fn width(&self) -> f64 {
        (self.max - self.min) / self.median
    }
}

/// What is to be reached.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Goal {
    /// This or more.
    AtLeast(f64),
    /// This or less.
    AtMost(f64),
}

impl Goal {
    /// Whether it is reached.
    pub fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(goal) => value >= goal,
            Self::AtMost(goal) => value <= goal,
        }
    }
}

/// Ours and the anchor, measured one right after the other, between two looks at how fast the disk is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Round {
    /// Synced writes a second before.
    pub disk_before: f64,
    /// The service.
    pub ours: f64,
    /// What it is compared with.
    pub anchor: f64,
    /// Synced writes a second after.
    pub disk_after: f64,
}

/// How far the disk's rate may move within a round that counts.
const STEADY: f64 = 1.15;
/// So many steady rounds are enough to leave the others out.
const ENOUGH: usize = 3;

impl Round {
    fn is_steady(&self) -> bool {
        let (low, high) = (self.disk_before.min(self.disk_after), self.disk_before.max(self.disk_after));
        high <= low * STEADY
    }
}

/// All rounds of one comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct Rounds(pub Vec<Round>);

impl Rounds {
    /// The rounds that count: those during which the disk kept its pace, or all where these are fewer than three.
    fn counted(&self) -> Vec<Round> {
        let steady: Vec<Round> = self.0.iter().copied().filter(Round::is_steady).collect();
        if steady.len() >= ENOUGH { steady } else { self.0.clone() }
    }

    fn each(&self, value: impl Fn(&Round) -> f64) -> Spread {
        Spread::of(&self.counted().iter().map(value).collect::<Vec<f64>>())
    }

    /// Ours ÷ the anchor of the same round.
    pub fn ratio(&self) -> Spread {
        self.each(|round| round.ours / round.anchor)
    }

    /// Ours.
    pub fn ours(&self) -> Spread {
        self.each(|round| round.ours)
    }

    /// The anchor.
    pub fn anchor(&self) -> Spread {
        self.each(|round| round.anchor)
    }

    /// How steady the machine was, in words.
    pub fn noise(&self) -> String {
        let disk: Vec<f64> = self.0.iter().flat_map(|round| [round.disk_before, round.disk_after]).collect();
        let disk = Spread::of(&disk);
        let steady = self.0.iter().filter(|round| round.is_steady()).count();
        let counted = if steady >= ENOUGH { "only they count" } else { "too few, so all count" };
        format!(
            "disk {:.0} to {:.0} synced writes/s, anchor's spread {:.0} %, {steady} of {} rounds steady: {counted}",
            disk.min,
            disk.max,
            self.anchor().width() * 100.0,
            self.0.len(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values = [5.0, 1.0, 4.0, 2.0, 3.0];
        assert_eq!(median(&values), 3.0);
        assert_eq!(median(&[1.0, 2.0]), 1.0);
        assert_eq!(percentile(&values, 0.0), 1.0);
        assert_eq!(percentile(&values, 80.0), 4.0);
        assert_eq!(percentile(&values, 81.0), 5.0);
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(percentile(&hundred, 99.0), 99.0);
        assert_eq!(percentile(&hundred, 100.0), 100.0);
        assert_eq!(percentile(&[7.0], 99.0), 7.0);
    }

    #[test]
    fn a_spread_has_a_width() {
        let spread = Spread::of(&[90.0, 120.0, 100.0]);
        assert_eq!(spread, Spread { median: 100.0, min: 90.0, max: 120.0 });
        assert_eq!(spread.width(), 0.3);
    }

    #[test]
    fn a_goal_is_met_at_its_bound() {
        assert!(Goal::AtLeast(3.0).is_met(3.0) && !Goal::AtLeast(3.0).is_met(2.99));
        assert!(Goal::AtMost(1.3).is_met(1.3) && !Goal::AtMost(1.3).is_met(1.31));
    }

    fn round(disk_after: f64, ours: f64, anchor: f64) -> Round {
        Round { disk_before: 1000.0, ours, anchor, disk_after }
    }

    #[test]
    fn the_ratio_is_that_of_each_round_and_not_of_the_medians() {
        let rounds = Rounds(vec![round(1000.0, 10.0, 10.0), round(1000.0, 40.0, 20.0), round(1000.0, 30.0, 10.0)]);
        assert_eq!(rounds.ratio(), Spread { median: 2.0, min: 1.0, max: 3.0 });
        assert_eq!(rounds.anchor().median, 10.0);
    }

    #[test]
    fn rounds_on_a_moving_disk_are_left_out_where_enough_others_are_there() {
        let steady = || vec![round(1100.0, 1.0, 1.0), round(900.0, 1.0, 1.0), round(1150.0, 1.0, 1.0)];
        let mut rounds = Rounds(steady());
        rounds.0.push(round(700.0, 9.0, 1.0));
        assert_eq!(rounds.ratio().max, 1.0);
        assert!(rounds.noise().contains("3 of 4 rounds steady: only they count"), "{}", rounds.noise());
        rounds.0.remove(0);
        assert_eq!(rounds.ratio().max, 9.0);
        assert!(rounds.noise().contains("2 of 3 rounds steady: too few"), "{}", rounds.noise());
    }
}
