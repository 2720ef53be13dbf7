//! The worker's slots: some for each lane, and some for new placements that take longer than a moment.
//!
//! New placements that take but a moment would spend more time being claimed than being worked on. So as many again are
//! claimed ahead and wait here: a slot that becomes free is taken at once, and a claim brings several. But not while
//! there is so much slow work that slots may stay taken: then whoever comes last would wait behind what was claimed ahead.

use crate::db::placements::Lane;
use pinner_core::{attempt, lane::Room};
use std::{
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// How many slots there are of each kind, at least one.
#[derive(Debug, Clone, Copy)]
pub struct Slots {
    /// For new placements.
    pub fresh: usize,
    /// For new placements that take longer than a moment.
    pub slow: usize,
    /// For copies that the leader asked for.
    pub copies: usize,
    /// For placements that were tried before.
    pub retries: usize,
    /// For placements that are let go.
    pub unpins: usize,
}

/// All slots.
pub(super) struct Lanes {
    /// Places for new placements that wait for a slot, as many as there are slots.
    ahead: Arc<Semaphore>,
    places_ahead: usize,
    fresh: Arc<Semaphore>,
    slow: Arc<Semaphore>,
    copies: Arc<Semaphore>,
    retries: Arc<Semaphore>,
    unpins: Arc<Semaphore>,
    freed: Arc<Notify>,
}

/// A slot that is taken, or waited for; free again when dropped.
pub(super) struct Slot {
    lanes: Arc<Lanes>,
    lane: Lane,
    place: Mutex<Place>,
}

struct Place {
    begun: bool,
    slow: bool,
    permit: Option<OwnedSemaphorePermit>,
}

impl Lanes {
    pub(super) fn new(slots: Slots) -> Self {
        let of = |count| Arc::new(Semaphore::new(count));
        Self {
            ahead: of(slots.fresh),
            places_ahead: slots.fresh,
            fresh: of(slots.fresh),
            slow: of(slots.slow),
            copies: of(slots.copies),
            retries: of(slots.retries),
            unpins: of(slots.unpins),
            freed: Arc::default(),
        }
    }

    /// What is to be claimed, with at most `max` of each lane, after `taken` new placements were taken since the start.
    /// New ones not before half of those that were claimed ahead are worked on.
    pub(super) fn room(&self, taken: u64, max: usize) -> Room {
        let free = |slots: &Semaphore| slots.available_permits().min(max);
        let fresh = if self.slow.available_permits() == 0 {
            free(&self.fresh).saturating_sub(self.waiting())
        } else if self.has_room_ahead() {
            free(&self.ahead)
        } else {
            0
        };
        Room {
            copies: free(&self.copies),
            retries: free(&self.retries),
            unpins: free(&self.unpins),
            ..Room::fresh(taken, fresh)
        }
    }

    /// New placements that wait for a slot.
    fn waiting(&self) -> usize {
        self.places_ahead - self.ahead.available_permits()
    }

    fn has_room_ahead(&self) -> bool {
        2 * self.ahead.available_permits() >= self.places_ahead
    }

    /// A slot for new work is free: if nobody waits here, there may be somebody in the queue.
    fn fresh_freed(&self) {
        if self.waiting() == 0 {
            self.freed.notify_one();
        }
    }

    /// Takes a slot of a lane, or for a new placement a place to wait for one, that [`Self::room`] said is free.
    pub(super) fn take(self: &Arc<Self>, lane: Lane) -> Slot {
        let slots = match lane {
            Lane::Fresh => &self.ahead,
            Lane::Copy => &self.copies,
            Lane::Retry => &self.retries,
            Lane::Unpin => &self.unpins,
        };
        let permit = Arc::clone(slots).try_acquire_owned().expect("one loop takes slots, and no more than are free");
        Slot {
            lanes: Arc::clone(self),
            lane,
            place: Mutex::new(Place { begun: false, slow: false, permit: Some(permit) }),
        }
    }

    /// Has the worker look once more: there is work that nobody else tells it of.
    pub(super) fn look(&self) {
        self.freed.notify_one();
    }

    /// Waits until a slot was freed that nobody has looked after yet. Can be cancelled.
    pub(super) async fn freed(&self) {
        self.freed.notified().await;
    }
}

impl Slot {
    /// Waits until work may begin.
    pub(super) async fn begin(&self) {
        if self.lane == Lane::Fresh {
            let permit = Arc::clone(&self.lanes.fresh).acquire_owned().await.expect("never closed");
            let mut place = self.place();
            (place.begun, place.permit) = (true, Some(permit));
            if self.lanes.has_room_ahead() {
                self.lanes.freed.notify_one();
            }
        }
    }

    /// Once the work turns out to be no matter of a moment, moves to a slot for such work as soon as there is one.
    /// Never ends; to be run beside the work and cancelled with it.
    pub(super) async fn make_room(&self) {
        if self.lane == Lane::Fresh {
            tokio::time::sleep(attempt::BRIEF).await;
            let permit = Arc::clone(&self.lanes.slow).acquire_owned().await.expect("never closed");
            let mut place = self.place();
            (place.slow, place.permit) = (true, Some(permit));
            self.lanes.fresh_freed();
        }
        pending::<()>().await;
    }

    /// Whether work of this `age` has to let others have the slot: those for a moment after `patience`, the others
    /// when all are taken and it had its turn.
    pub(super) fn is_outstayed(&self, age: Duration, patience: Duration) -> bool {
        let slow = self.place().slow;
        match self.lane {
            Lane::Fresh if !slow => age >= patience,
            Lane::Fresh => age >= attempt::TURN && self.lanes.slow.available_permits() == 0,
            Lane::Retry => age >= attempt::TURN && self.lanes.retries.available_permits() == 0,
            Lane::Copy | Lane::Unpin => false,
        }
    }

    fn place(&self) -> std::sync::MutexGuard<'_, Place> {
        self.place.lock().expect("nobody panics while holding this lock")
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut place = self.place();
        place.permit = None;
        if place.begun {
            self.lanes.fresh_freed();
        } else {
            self.lanes.freed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lanes() -> Arc<Lanes> {
        Arc::new(Lanes::new(Slots { fresh: 1, slow: 1, copies: 1, retries: 1, unpins: 1 }))
    }

    #[tokio::test(start_paused = true)]
    async fn slow_work_makes_room_for_new_work_while_there_is_another_slot() {
        let lanes = lanes();
        let patience = Duration::from_secs(10);
        let first = lanes.take(Lane::Fresh);
        assert_eq!(lanes.room(0, 9), Room { copies: 1, retries: 1, unpins: 1, ..Room::default() });
        first.begin().await;
        assert_eq!(lanes.room(0, 9).oldest, 1, "to wait for the slot");
        let second = lanes.take(Lane::Fresh);
        assert!(!begins(&second).await);
        assert!(tokio::time::timeout(Duration::from_secs(2), first.make_room()).await.is_err());
        assert!(begins(&second).await);
        assert!(tokio::time::timeout(Duration::from_secs(2), second.make_room()).await.is_err());
        assert_eq!(lanes.room(0, 9).oldest, 0, "there is one slot for slow work, and nothing is claimed ahead");
        let third = lanes.take(Lane::Fresh);
        assert!(!begins(&third).await);
        assert!(!first.is_outstayed(patience, patience) && second.is_outstayed(patience, patience));
        assert!(first.is_outstayed(attempt::TURN, patience), "others wait");
        drop(second);
        assert!(begins(&third).await);
        drop((first, third));
        assert_eq!(lanes.room(0, 9).oldest, 1);
    }

    #[tokio::test]
    async fn new_placements_are_claimed_some_at_a_time() {
        let lanes = Arc::new(Lanes::new(Slots { fresh: 4, slow: 1, copies: 1, retries: 1, unpins: 1 }));
        let fresh = || {
            let room = lanes.room(0, 9);
            room.oldest + room.newest
        };
        let mut slots: Vec<_> = (0..4).map(|_| lanes.take(Lane::Fresh)).collect();
        assert_eq!(fresh(), 0);
        slots[0].begin().await;
        assert_eq!(fresh(), 0, "one is too few");
        slots[1].begin().await;
        assert_eq!(fresh(), 2);
        // Also one that never begins makes room.
        slots.truncate(2);
        assert_eq!(fresh(), 4);
    }

    async fn begins(slot: &Slot) -> bool {
        tokio::time::timeout(Duration::from_millis(1), slot.begin()).await.is_ok()
    }

    #[tokio::test]
    async fn lanes_do_not_take_from_each_other() {
        let lanes = lanes();
        let _slots = [lanes.take(Lane::Copy), lanes.take(Lane::Retry), lanes.take(Lane::Unpin)];
        assert_eq!(lanes.room(3, 9), Room { newest: 1, ..Room::default() });
    }
}
