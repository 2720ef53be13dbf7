//! Which faults come when: decided by the seed alone, before anything runs.

use std::collections::BTreeMap;

use clap::ValueEnum;

use super::dice::Dice;

/// What can be done to a running service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum)]
pub enum Kind {
    /// SIGKILL of a pinner.
    KillPinner,
    /// SIGKILL of a Kubo.
    KillKubo,
    /// SIGKILL of nats-server.
    KillNats,
    /// SIGKILL of the postmaster.
    KillPostgres,
    /// Immediate shutdown of Postgres: it starts by recovering from its log.
    QuitPostgres,
    /// A pinner stands still for a while, longer than its leases; then it goes on with what it believed.
    StopPinner,
    /// A Kubo stands still for a while.
    StopKubo,
    /// Every stream and bucket of NATS is deleted while all use it.
    DropStreams,
    /// nats-server comes back with an empty disk.
    WipeNats,
    /// All sessions of the database are ended.
    CutSessions,
    /// A node is drained, and takes part again.
    Drain,
    /// A node is cordoned, and takes part again.
    Cordon,
    /// The fleet is paused for a while.
    Maintenance,
    /// A Kubo forgets all of its pins and blocks.
    LoseDisk,
    /// A pinner and NATS do not hear each other.
    PartNats,
    /// A pinner and Postgres do not hear each other.
    PartPostgres,
    /// What a pinner says is heard by Postgres, and no answer comes back.
    MutePostgres,
    /// There is no room on a Kubo's disk.
    FillKubo,
    /// There is no room on the disk of NATS.
    FillNats,
    /// There is no room on the disk of Postgres.
    FillPostgres,
}

/// A fault: its kind, on which node where it is on one, and for how many seconds where it lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// What is done.
    pub kind: Kind,
    /// To which node.
    pub node: usize,
    /// For how long.
    pub seconds: u64,
}

/// A step of the schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Milliseconds from the start of the load.
    pub at: u64,
    /// The fault.
    pub fault: Fault,
    /// Whether it ends now instead of beginning.
    pub heals: bool,
}

/// Nothing happens in the first seconds: there must be something to break.
const FIRST: u64 = 3_000;
/// Between two faults, in milliseconds.
const GAPS: (u64, u64) = (800, 4_500);
/// Between two losses of a disk: the first is to be repaired.
const BETWEEN_LOSSES: u64 = 30_000;

impl Kind {
    /// How often it is in the bag that is drawn from.
    fn weight(self) -> usize {
        match self {
            Self::KillPinner | Self::StopPinner => 3,
            Self::KillKubo | Self::StopKubo | Self::CutSessions | Self::Drain => 2,
            Self::PartNats | Self::PartPostgres => 2,
            _ => 1,
        }
    }

    /// How many seconds it lasts, if it does.
    fn lasts(self) -> Option<(u64, u64)> {
        match self {
            Self::StopPinner | Self::StopKubo => Some((1, 20)),
            Self::PartNats | Self::PartPostgres | Self::MutePostgres => Some((1, 20)),
            Self::FillKubo | Self::FillNats | Self::FillPostgres => Some((2, 10)),
            Self::Drain => Some((6, 15)),
            Self::Cordon | Self::Maintenance => Some((3, 10)),
            _ => None,
        }
    }

    /// Whether parts need disks of their own for it.
    pub fn needs_disks(self) -> bool {
        matches!(self, Self::FillKubo | Self::FillNats | Self::FillPostgres)
    }

    /// Its name on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// The schedule of a run of `seconds` with `nodes`, of these kinds or, if there are none, of all. Each kind comes as often as
/// its weight before any comes again.
pub fn schedule(seed: u64, seconds: u64, nodes: usize, only: &[Kind]) -> Vec<Step> {
    let mut dice = Dice::new(seed, 1);
    let end = seconds * 1_000;
    let kinds = Kind::value_variants().iter().filter(|kind| only.is_empty() || only.contains(kind));
    let full: Vec<Kind> = kinds.flat_map(|kind| std::iter::repeat_n(*kind, kind.weight())).collect();
    let (mut bag, mut steps, mut at) = (Vec::new(), Vec::new(), FIRST);
    let (mut busy, mut next_loss) = (BTreeMap::new(), end / 4);
    while at < end {
        if bag.is_empty() {
            bag.clone_from(&full);
        }
        let kind = bag.swap_remove(dice.place(bag.len()));
        let node = dice.place(nodes);
        let lasts = kind.lasts().map_or(0, |(least, most)| dice.between(least, most));
        // What lasts comes once at a time: two drains are one too many for three nodes.
        let is_free = busy.get(&kind).is_none_or(|until| *until < at) && (kind != Kind::LoseDisk || at >= next_loss);
        if is_free {
            let fault = Fault { kind, node, seconds: lasts };
            steps.push(Step { at, fault, heals: false });
            if lasts > 0 {
                let until = (at + lasts * 1_000).min(end);
                steps.push(Step { at: until, fault, heals: true });
                busy.insert(kind, until);
            }
            if kind == Kind::LoseDisk {
                next_loss = at + BETWEEN_LOSSES;
            }
        }
        at += dice.between(GAPS.0, GAPS.1);
    }
    steps.sort_by_key(|step| step.at);
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_schedule_and_another_has_another() {
        assert_eq!(schedule(1, 60, 3, &[]), schedule(1, 60, 3, &[]));
        assert_ne!(schedule(1, 60, 3, &[]), schedule(2, 60, 3, &[]));
    }

    #[test]
    fn whatever_begins_ends_and_one_of_a_kind_lasts_at_a_time() {
        for seed in 0..200 {
            let steps = schedule(seed, 120, 3, &[]);
            assert!(steps.is_sorted_by_key(|step| step.at) && steps.iter().all(|step| step.at <= 120_000));
            assert!(steps.iter().all(|step| step.fault.node < 3));
            for kind in Kind::value_variants().iter().filter(|kind| kind.lasts().is_some()) {
                let of_kind = steps.iter().filter(|step| step.fault.kind == *kind).map(|step| step.heals);
                let heals: Vec<bool> = of_kind.collect();
                assert!(
                    heals.len().is_multiple_of(2) && heals.iter().enumerate().all(|(n, heals)| *heals == (n % 2 == 1))
                );
            }
            let losses: Vec<u64> =
                steps.iter().filter(|step| step.fault.kind == Kind::LoseDisk).map(|step| step.at).collect();
            assert!(losses.windows(2).all(|pair| pair[1] - pair[0] >= BETWEEN_LOSSES));
        }
    }

    #[test]
    fn in_some_minutes_every_kind_comes() {
        let steps = schedule(3, 240, 3, &[]);
        for kind in Kind::value_variants() {
            assert!(steps.iter().any(|step| step.fault.kind == *kind), "{kind:?}");
        }
        let only = schedule(3, 60, 3, &[Kind::KillNats]);
        assert!(!only.is_empty() && only.iter().all(|step| step.fault.kind == Kind::KillNats));
    }
}
