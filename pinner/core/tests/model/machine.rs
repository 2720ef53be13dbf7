//! The machine: a lease in a store that forgets, a leader's epoch in Postgres, jobs with generations, nodes that work.
//!
//! Nobody's clock is trusted, so time is not modelled: a lease may run out whenever its holder is late, and whoever is
//! late may go on at any later moment in the belief that nothing happened. A transaction is one step; what is read before
//! it is another. Every fault has a budget, so every history ends, and where one ends all work must be done.

use stateright::{Model, Property};

/// What keeps the machine right. Each can be left out, to see that it is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guard {
    /// A leader's transaction begins by asking whether its epoch is still the last one.
    Fence,
    /// The epoch is minted in Postgres, and not the number that the lease's store gave.
    Mint,
    /// A result counts only under the generation that its attempt claimed.
    Generation,
    /// What is queued again has another generation.
    Bump,
    /// A leader's transaction asks whether the job is still as it was looked at.
    Recheck,
    /// Only what is queued is claimed, whatever a message says.
    Claim,
    /// A job that has its result gets no other.
    Once,
    /// Nodes look for work that no message told them of.
    Sweep,
    /// What a node that is gone has claimed is queued again.
    Requeue,
}

/// How often what may go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Faults {
    /// Leases in the store that run out although the holder lives: its renewals were lost, or it was paused.
    pub(crate) expiries: u8,
    /// The store loses everything, its counter too.
    pub(crate) wipes: u8,
    /// Leaders and nodes that forget all they know.
    pub(crate) crashes: u8,
    /// Claims that run out although the node works on.
    pub(crate) lapses: u8,
    /// Attempts that fail.
    pub(crate) failures: u8,
    /// Messages and answers that are lost.
    pub(crate) losses: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Leader {
    Idle,
    /// Has the lease, as far as it knows.
    Won {
        revision: u8,
    },
    /// Has its epoch too, and may have looked at a job that seemed to be left behind.
    Leads {
        revision: u8,
        epoch: u8,
        seen: Option<(u8, u8)>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Status {
    Queued,
    Claimed,
    Finished,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Job {
    pub(crate) generation: u8,
    pub(crate) status: Status,
    /// The claim ran out.
    pub(crate) lapsed: bool,
    /// How often it was claimed, whether the last claim is in force, and whether it ever finished: what the rules speak of,
    /// known to nobody.
    claims: u8,
    in_force: bool,
    has_finished: bool,
    /// Messages about it that are on their way, one bit for each generation; each may come any number of times.
    wakes: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Work {
    job: u8,
    generation: u8,
    claim: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct State {
    /// Who holds the lease, and the store's number for that.
    lease: Option<(u8, u8)>,
    revision: u8,
    /// The leader's row in Postgres.
    epoch: u8,
    pub(crate) leaders: Vec<Leader>,
    pub(crate) jobs: Vec<Job>,
    nodes: Vec<Option<Work>>,
    left: Faults,
    /// Epoch and leader of the last write, and what must never be.
    last_write: (u8, u8),
    pub(crate) two_lead: bool,
    pub(crate) stale_result: bool,
    pub(crate) finished_twice: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// The store gives the lease; the answer may be lost.
    Take {
        leader: u8,
        told: bool,
    },
    /// Renewing shows that the lease is another's or nobody's.
    Resign(u8),
    /// Postgres gives the next epoch; the answer may be lost.
    Mint {
        leader: u8,
        told: bool,
    },
    /// Any transaction of a leader that only leaders may do.
    Write(u8),
    /// A leader looks for claims that ran out.
    Look {
        leader: u8,
        job: u8,
    },
    /// It queues again what it found.
    Requeue(u8),
    Expire,
    Wipe,
    LeaderCrash(u8),
    /// A node claims what a message names.
    Wake {
        node: u8,
        job: u8,
        generation: u8,
    },
    /// A node claims what it found by itself.
    Find {
        node: u8,
        job: u8,
    },
    Lapse(u8),
    /// The result is written; the answer may be lost.
    Finish {
        node: u8,
        told: bool,
    },
    Fail(u8),
    NodeCrash(u8),
    Lose {
        job: u8,
        generation: u8,
    },
}

#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub(crate) leaders: u8,
    pub(crate) nodes: u8,
    pub(crate) jobs: u8,
    pub(crate) faults: Faults,
    pub(crate) without: Option<Guard>,
}

impl Machine {
    fn has(&self, guard: Guard) -> bool {
        self.without != Some(guard)
    }

    /// One transaction of a leader. Whether it was let through; if not, the leader steps down.
    fn write(&self, state: &mut State, leader: u8, epoch: u8) -> bool {
        let current = match self.has(Guard::Mint) {
            true => epoch == state.epoch,
            // The greatest number that was seen wins.
            false => epoch >= state.epoch,
        };
        if self.has(Guard::Fence) && !current {
            state.leaders[usize::from(leader)] = Leader::Idle;
            return false;
        }
        if !self.has(Guard::Mint) {
            state.epoch = state.epoch.max(epoch);
        }
        let (last, writer) = state.last_write;
        state.two_lead |= epoch < last || (epoch == last && leader != writer && last > 0);
        state.last_write = (epoch, leader);
        true
    }

    fn claim(state: &mut State, node: u8, job: u8) {
        let row = &mut state.jobs[usize::from(job)];
        row.generation += 1;
        row.claims += 1;
        (row.status, row.lapsed, row.in_force) = (Status::Claimed, false, true);
        state.nodes[usize::from(node)] = Some(Work { job, generation: row.generation, claim: row.claims });
    }

    /// Whether a result is let through, and what the rules say of that.
    fn counts(&self, state: &mut State, work: Work) -> bool {
        let row = state.jobs[usize::from(work.job)];
        if self.has(Guard::Generation) && row.generation != work.generation {
            return false;
        }
        if self.has(Guard::Once) && row.status == Status::Finished {
            return false;
        }
        state.stale_result |= row.status != Status::Finished && !(row.in_force && row.claims == work.claim);
        true
    }

    fn take(budget: &mut u8) -> bool {
        budget.checked_sub(1).map(|left| *budget = left).is_some()
    }

    /// What a step comes to; nothing when it cannot be now.
    fn step(&self, state: &mut State, step: Step) -> Option<()> {
        match step {
            Step::Take { leader, told } => {
                let of = &mut state.leaders[usize::from(leader)];
                let free = state.lease.is_none() && *of == Leader::Idle;
                (free && (told || Self::take(&mut state.left.losses))).then_some(())?;
                state.revision += 1;
                state.lease = Some((leader, state.revision));
                if told {
                    *of = Leader::Won { revision: state.revision };
                }
            }
            Step::Resign(leader) => {
                let of = &mut state.leaders[usize::from(leader)];
                let (Leader::Won { revision } | Leader::Leads { revision, .. }) = *of else { return None };
                (state.lease != Some((leader, revision))).then_some(())?;
                *of = Leader::Idle;
            }
            Step::Mint { leader, told } => {
                let of = &mut state.leaders[usize::from(leader)];
                let Leader::Won { revision } = *of else { return None };
                (told || Self::take(&mut state.left.losses)).then_some(())?;
                let epoch = if self.has(Guard::Mint) { state.epoch + 1 } else { revision };
                state.epoch = state.epoch.max(epoch);
                if told {
                    *of = Leader::Leads { revision, epoch, seen: None };
                }
            }
            Step::Write(leader) => {
                let Leader::Leads { epoch, .. } = state.leaders[usize::from(leader)] else { return None };
                self.write(state, leader, epoch);
            }
            Step::Look { leader, job } => {
                let row = state.jobs[usize::from(job)];
                let Leader::Leads { seen, .. } = &mut state.leaders[usize::from(leader)] else { return None };
                let is_left = row.status == Status::Claimed && row.lapsed && self.has(Guard::Requeue);
                (is_left && seen.is_none()).then_some(())?;
                *seen = Some((job, row.generation));
            }
            Step::Requeue(leader) => {
                let Leader::Leads { epoch, seen, .. } = &mut state.leaders[usize::from(leader)] else { return None };
                let ((job, generation), epoch) = (seen.take()?, *epoch);
                let row = state.jobs[usize::from(job)];
                let same = row.generation == generation && row.status == Status::Claimed && row.lapsed;
                if self.write(state, leader, epoch) && (same || !self.has(Guard::Recheck)) {
                    let row = &mut state.jobs[usize::from(job)];
                    row.generation += u8::from(self.has(Guard::Bump));
                    (row.status, row.lapsed, row.in_force) = (Status::Queued, false, false);
                    row.wakes |= 1 << row.generation;
                }
            }
            Step::Expire => {
                let (holder, revision) = state.lease?;
                let lives = match state.leaders[usize::from(holder)] {
                    Leader::Won { revision: own } | Leader::Leads { revision: own, .. } => own == revision,
                    Leader::Idle => false,
                };
                (!lives || Self::take(&mut state.left.expiries)).then_some(())?;
                state.lease = None;
            }
            Step::Wipe => {
                Self::take(&mut state.left.wipes).then_some(())?;
                (state.lease, state.revision) = (None, 0);
                state.jobs.iter_mut().for_each(|job| job.wakes = 0);
            }
            Step::LeaderCrash(leader) => {
                let of = &mut state.leaders[usize::from(leader)];
                (*of != Leader::Idle && Self::take(&mut state.left.crashes)).then_some(())?;
                *of = Leader::Idle;
            }
            Step::Wake { node, job, generation } => {
                let row = state.jobs[usize::from(job)];
                let names = row.wakes & (1 << generation) != 0;
                let open = row.status == Status::Queued && row.generation == generation;
                let free = state.nodes[usize::from(node)].is_none();
                (names && free && (open || !self.has(Guard::Claim))).then_some(())?;
                // Without the guard a message is good for one claim, or there would be no end of them.
                if !self.has(Guard::Claim) {
                    state.jobs[usize::from(job)].wakes &= !(1 << generation);
                }
                Self::claim(state, node, job);
            }
            Step::Find { node, job } => {
                let open = state.jobs[usize::from(job)].status == Status::Queued && self.has(Guard::Sweep);
                (open && state.nodes[usize::from(node)].is_none()).then_some(())?;
                Self::claim(state, node, job);
            }
            Step::Lapse(job) => {
                let row = state.jobs[usize::from(job)];
                let work = |work: &Work| work.job == job && work.generation == row.generation;
                let lives = state.nodes.iter().flatten().any(work);
                let may = row.status == Status::Claimed && !row.lapsed;
                (may && (!lives || Self::take(&mut state.left.lapses))).then_some(())?;
                state.jobs[usize::from(job)].lapsed = true;
            }
            Step::Finish { node, told } => {
                let work = state.nodes[usize::from(node)]?;
                (told || Self::take(&mut state.left.losses)).then_some(())?;
                if self.counts(state, work) {
                    let row = &mut state.jobs[usize::from(work.job)];
                    state.finished_twice |= row.has_finished;
                    (row.status, row.in_force, row.has_finished) = (Status::Finished, false, true);
                }
                if told {
                    state.nodes[usize::from(node)] = None;
                }
            }
            Step::Fail(node) => {
                let work = state.nodes[usize::from(node)]?;
                Self::take(&mut state.left.failures).then_some(())?;
                if self.counts(state, work) {
                    let row = &mut state.jobs[usize::from(work.job)];
                    row.generation += 1;
                    (row.status, row.in_force) = (Status::Queued, false);
                    row.wakes |= 1 << row.generation;
                }
                state.nodes[usize::from(node)] = None;
            }
            Step::NodeCrash(node) => {
                let of = &mut state.nodes[usize::from(node)];
                (of.is_some() && Self::take(&mut state.left.crashes)).then_some(())?;
                *of = None;
            }
            Step::Lose { job, generation } => {
                let row = &mut state.jobs[usize::from(job)];
                let bit = 1 << generation;
                (row.wakes & bit != 0 && Self::take(&mut state.left.losses)).then_some(())?;
                row.wakes &= !bit;
            }
        }
        Some(())
    }

    fn is_over(&self, state: &State) -> bool {
        let mut steps = Vec::new();
        self.actions(state, &mut steps);
        !steps.into_iter().any(|step| self.next_state(state, step).is_some())
    }
}

impl Model for Machine {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let job = Job {
            generation: 0,
            status: Status::Queued,
            lapsed: false,
            claims: 0,
            in_force: false,
            has_finished: false,
            wakes: 1,
        };
        vec![State {
            lease: None,
            revision: 0,
            epoch: 0,
            leaders: vec![Leader::Idle; self.leaders.into()],
            jobs: vec![job; self.jobs.into()],
            nodes: vec![None; self.nodes.into()],
            left: self.faults,
            last_write: (0, 0),
            two_lead: false,
            stale_result: false,
            finished_twice: false,
        }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        steps.extend([Step::Expire, Step::Wipe]);
        for leader in 0..self.leaders {
            for told in [true, false] {
                steps.extend([Step::Take { leader, told }, Step::Mint { leader, told }]);
            }
            steps.extend([Step::Resign(leader), Step::Write(leader), Step::Requeue(leader)]);
            steps.push(Step::LeaderCrash(leader));
            steps.extend((0..self.jobs).map(|job| Step::Look { leader, job }));
        }
        for (job, row) in (0..self.jobs).zip(&state.jobs) {
            steps.push(Step::Lapse(job));
            for generation in (0..32).filter(|generation| row.wakes & (1 << generation) != 0) {
                steps.push(Step::Lose { job, generation });
                steps.extend((0..self.nodes).map(|node| Step::Wake { node, job, generation }));
            }
        }
        for node in 0..self.nodes {
            steps.extend([true, false].map(|told| Step::Finish { node, told }));
            steps.extend([Step::Fail(node), Step::NodeCrash(node)]);
            steps.extend((0..self.jobs).map(|job| Step::Find { node, job }));
        }
    }

    fn next_state(&self, last: &State, step: Step) -> Option<State> {
        let mut state = last.clone();
        self.step(&mut state, step)?;
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("one leads", |_, state: &State| !state.two_lead),
            Property::always("results count under their claim", |_, state: &State| !state.stale_result),
            Property::always("nothing is finished twice", |_, state: &State| !state.finished_twice),
            Property::always("all is finished in the end", |machine: &Self, state: &State| {
                state.jobs.iter().all(|job| job.status == Status::Finished) || !machine.is_over(state)
            }),
            Property::sometimes("a leader is refused", |_, state: &State| {
                let late =
                    |leader: &Leader| matches!(leader, Leader::Leads { epoch, .. } if *epoch < state.last_write.0);
                state.leaders.iter().any(late)
            }),
        ]
    }
}
