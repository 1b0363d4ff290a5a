//! A process's slice of something that several processes share: so many units that it may take without asking.
//!
//! A unit is whatever is counted: nano-USD here, requests or tokens elsewhere. `granted` is all that was ever leased less what
//! was given back, and it is what the database is told: an absolute number, so that telling it twice changes nothing.

/// Of what is left in all, a slice beyond the immediate need takes at most this part: so slices shrink to single takings near
/// the cap.
const SHARE: u64 = 8;

/// How much to lease of `available` units where `need` are needed at once and `want` would spare asking again. `None` where the
/// need cannot be met.
pub fn sized(need: u64, want: u64, available: u64) -> Option<u64> {
    (need <= available).then(|| need.max(want.min(available / SHARE)))
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    granted: u64,
    free: u64,
    /// Taken, and neither used nor returned yet.
    held: u64,
    /// Used beyond what was taken for it, and not made good yet.
    owed: u64,
}

impl Slice {
    pub fn granted(&self) -> u64 {
        self.granted
    }

    pub fn free(&self) -> u64 {
        self.free
    }

    pub fn held(&self) -> u64 {
        self.held
    }

    /// How much must be leased before `amount` can be taken.
    pub fn lacks(&self, amount: u64) -> u64 {
        amount.saturating_add(self.owed).saturating_sub(self.free)
    }

    /// How much could be taken if so much more were leased.
    pub fn room(&self, more: u64) -> u64 {
        self.free.saturating_add(more).saturating_sub(self.owed)
    }

    /// Takes `amount`, all or nothing.
    pub fn take(&mut self, amount: u64) -> bool {
        if self.lacks(amount) > 0 {
            return false;
        }
        self.free -= amount;
        self.held += amount;
        true
    }

    /// What was leased.
    pub fn grant(&mut self, amount: u64) {
        self.granted = self.granted.saturating_add(amount);
        self.free = self.free.saturating_add(amount);
        self.make_good();
    }

    /// Of `taken` units `used` were used; the rest is free again. More may have been used than was taken.
    pub fn end(&mut self, taken: u64, used: u64) {
        self.held = self.held.saturating_sub(taken);
        self.free = self.free.saturating_add(taken.saturating_sub(used));
        self.owed = self.owed.saturating_add(used.saturating_sub(taken));
        self.make_good();
    }

    /// Gives up what is free, and says how much that was.
    pub fn give_back(&mut self) -> u64 {
        self.granted = self.granted.saturating_sub(self.free);
        std::mem::take(&mut self.free)
    }

    fn make_good(&mut self) {
        let now = self.owed.min(self.free);
        self.owed -= now;
        self.free -= now;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn slices_shrink_to_single_takings_near_the_cap() {
        assert_eq!(sized(10, 1_000, 100_000), Some(1_000));
        assert_eq!(sized(10, 1_000, 800), Some(100));
        assert_eq!(sized(10, 1_000, 79), Some(10));
        assert_eq!(sized(10, 1_000, 10), Some(10));
        assert_eq!(sized(10, 1_000, 9), None);
        assert_eq!(sized(0, 0, 0), Some(0));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Lease { need: u64, want: u64 },
        Take(u64),
        End { which: usize, used: u64 },
        GiveBack,
    }

    fn any_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..100_u64, 0..1_000_u64).prop_map(|(need, want)| Step::Lease { need, want }),
            (0..100_u64).prop_map(Step::Take),
            (any::<usize>(), 0..130_u64).prop_map(|(which, used)| Step::End { which, used }),
            Just(Step::GiveBack),
        ]
    }

    proptest! {
        /// Three processes over one cap: what was used and what is held never comes to more than the cap, but for what ended
        /// dearer than it was taken for.
        #[test]
        fn the_cap_holds_over_several_slices(cap in 0..5_000_u64, steps in prop::collection::vec((0..3_usize, any_step()), 0..200)) {
            let mut slices = [Slice::default(); 3];
            let mut held: [Vec<u64>; 3] = Default::default();
            let (mut used, mut over, mut used_by) = (0, 0, [0; 3]);
            for (at, step) in steps {
                let slice = &mut slices[at];
                match step {
                    Step::Lease { need, want } => {
                        let outstanding: u64 =
                            slices.iter().zip(used_by).map(|(slice, used)| slice.granted.saturating_sub(used)).sum();
                        let available = cap.saturating_sub(used + outstanding);
                        if let Some(granted) = sized(need, want, available) {
                            prop_assert!(need <= granted && granted <= available.max(need));
                            slices[at].grant(granted);
                        }
                    }
                    Step::Take(amount) => {
                        let (lacked, before) = (slice.lacks(amount), slice.free());
                        let taken = slice.take(amount);
                        prop_assert_eq!(taken, lacked == 0);
                        prop_assert!(taken || slice.room(lacked) == amount);
                        if taken {
                            prop_assert_eq!(slice.free(), before - amount);
                            held[at].push(amount);
                        }
                    }
                    Step::End { which, used: cost } if !held[at].is_empty() => {
                        let count = held[at].len();
                        let taken = held[at].swap_remove(which % count);
                        slice.end(taken, cost);
                        used += cost;
                        used_by[at] += cost;
                        over += cost.saturating_sub(taken);
                    }
                    Step::End { .. } => {}
                    Step::GiveBack => {
                        slice.give_back();
                    }
                }
                let all_held: u64 = held.iter().flatten().sum();
                prop_assert_eq!(all_held, slices.iter().map(Slice::held).sum::<u64>());
                prop_assert!(used + all_held <= cap + over);
                for (slice, used) in slices.iter().zip(used_by) {
                    // Nothing is lost or made: what was granted is free, held or used, but for what is still owed.
                    prop_assert_eq!(slice.granted + slice.owed, slice.free + slice.held + used);
                }
            }
        }
    }
}
