//! Counters that each thread has to itself, and their families.

use std::any::Any;
use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use foldhash::fast::FixedState;
use portcullis_core::Name;

/// What is not told apart.
pub const OTHER: &str = "other";

/// A counter that one thread writes and any may read.
#[derive(Debug, Default)]
pub struct Cell(AtomicU64);

impl Cell {
    /// To be called by the one thread that the cell belongs to: two plain moves, and no locked bus.
    pub fn add(&self, count: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A distribution over `N` buckets whose upper bounds are given with every call, and one above them all.
#[derive(Debug)]
pub struct Distribution<const N: usize> {
    buckets: [Cell; N],
    above: Cell,
    sum: Cell,
}

impl<const N: usize> Default for Distribution<N> {
    fn default() -> Self {
        Distribution { buckets: std::array::from_fn(|_| Cell::default()), above: Cell::default(), sum: Cell::default() }
    }
}

impl<const N: usize> Distribution<N> {
    pub fn observe(&self, bounds: &[u64; N], value: u64) {
        let at = bounds.partition_point(|&bound| bound < value);
        self.buckets.get(at).unwrap_or(&self.above).add(1);
        self.sum.add(value);
    }
}

/// The same, summed over threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summed<const N: usize> {
    /// Not cumulative; the last is the one above them all in [`Summed::above`].
    pub buckets: [u64; N],
    pub above: u64,
    pub sum: u64,
}

impl<const N: usize> Default for Summed<N> {
    fn default() -> Self {
        Summed { buckets: [0; N], above: 0, sum: 0 }
    }
}

impl<const N: usize> Summed<N> {
    pub fn add(&mut self, cells: &Distribution<N>) {
        for (sum, cell) in self.buckets.iter_mut().zip(&cells.buckets) {
            *sum += cell.get();
        }
        self.above += cells.above.get();
        self.sum += cells.sum.get();
    }

    pub fn count(&self) -> u64 {
        self.buckets.iter().sum::<u64>() + self.above
    }
}

/// Adds cells up.
pub fn sum<const N: usize>(sums: &mut [u64; N], cells: &[Cell; N]) {
    for (sum, cell) in sums.iter_mut().zip(cells) {
        *sum += cell.get();
    }
}

/// The labels of a series.
type Labels<const N: usize> = [Name; N];

/// A series' cells, one set for each thread that counts for it.
type Threads<C> = Vec<Arc<C>>;

/// Series with `N` labels, and the cells of every thread that has counted for them.
pub struct Family<const N: usize, C> {
    /// Whose tables in the threads these are. Its address tells families apart while it lives.
    token: Arc<()>,
    most: usize,
    series: Mutex<HashMap<Labels<N>, Threads<C>>>,
}

/// What a thread knows of one family.
struct Table<const N: usize, C> {
    by_hash: HashMap<u64, Vec<(Labels<N>, Arc<C>)>, FixedState>,
}

/// Tables by their family's token; a weak reference keeps the address from being another family's.
type Tables = Vec<(Weak<()>, Box<dyn Any>)>;

thread_local! {
    static TABLES: RefCell<Tables> = const { RefCell::new(Vec::new()) };
}

impl<const N: usize, C: Default + Send + Sync + 'static> Family<N, C> {
    pub fn new(most: usize) -> Self {
        Family { token: Arc::new(()), most, series: Mutex::default() }
    }

    /// Counts in this thread's cells for these labels. `bounded` says, where this thread meets the labels for the first time, whether
    /// they are told apart; where not, and where the family is full, `otherwise` is counted for instead.
    pub fn count(
        &self,
        labels: [&Name; N],
        bounded: impl FnOnce() -> bool,
        otherwise: impl FnOnce() -> Labels<N>,
        count: impl FnOnce(&C),
    ) {
        TABLES.with_borrow_mut(|tables| {
            let table = self.table(tables);
            let hash = hash(&labels);
            if let Some(cells) = table.find(hash, &labels) {
                return count(cells);
            }
            let wanted = bounded().then(|| labels.map(Name::clone));
            match wanted.and_then(|labels| Some((self.join(&labels)?, labels))) {
                Some((cells, labels)) => count(table.keep(hash, labels, cells)),
                None => {
                    let labels = otherwise();
                    let hash = self::hash(&labels.each_ref());
                    if let Some(cells) = table.find(hash, &labels.each_ref()) {
                        return count(cells);
                    }
                    let cells = self.join_always(&labels);
                    count(table.keep(hash, labels, cells));
                }
            }
        });
    }

    /// Every series with all of its cells.
    pub fn each(&self, mut show: impl FnMut(&Labels<N>, &[Arc<C>])) {
        for (labels, threads) in &*self.lock() {
            show(labels, threads);
        }
    }

    fn table<'t>(&self, tables: &'t mut Vec<(Weak<()>, Box<dyn Any>)>) -> &'t mut Table<N, C> {
        let own = Arc::as_ptr(&self.token);
        let at = tables.iter().position(|(token, _)| std::ptr::eq(token.as_ptr(), own));
        let at = at.unwrap_or_else(|| {
            tables.retain(|(token, _)| token.strong_count() > 0);
            let table = Table::<N, C> { by_hash: HashMap::default() };
            tables.push((Arc::downgrade(&self.token), Box::new(table)));
            tables.len() - 1
        });
        tables[at].1.downcast_mut().expect("a token is one family's")
    }

    /// New cells for this thread, where the series is known or there is room for it.
    fn join(&self, labels: &Labels<N>) -> Option<Arc<C>> {
        let mut series = self.lock();
        if series.len() >= self.most && !series.contains_key(labels) {
            return None;
        }
        Some(Self::push(&mut series, labels))
    }

    /// The same for what has its place though the family is full.
    fn join_always(&self, labels: &Labels<N>) -> Arc<C> {
        Self::push(&mut self.lock(), labels)
    }

    fn push(series: &mut HashMap<Labels<N>, Threads<C>>, labels: &Labels<N>) -> Arc<C> {
        let cells = Arc::new(C::default());
        series.entry(labels.clone()).or_default().push(Arc::clone(&cells));
        cells
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Labels<N>, Threads<C>>> {
        self.series.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<const N: usize, C> Table<N, C> {
    fn find(&self, hash: u64, labels: &[&Name; N]) -> Option<&C> {
        let known = self.by_hash.get(&hash)?.iter();
        known
            .map(|(known, cells)| (known, &**cells))
            .find(|(known, _)| known.each_ref() == *labels)
            .map(|(_, cells)| cells)
    }

    fn keep(&mut self, hash: u64, labels: Labels<N>, cells: Arc<C>) -> &C {
        let known = self.by_hash.entry(hash).or_default();
        known.push((labels, cells));
        &known[known.len() - 1].1
    }
}

fn hash<const N: usize>(labels: &[&Name; N]) -> u64 {
    let mut hasher = FixedState::default().build_hasher();
    for label in labels {
        label.as_str().hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct One(Cell);

    fn shown(family: &Family<1, One>) -> Vec<(String, u64)> {
        let mut all = Vec::new();
        family.each(|[label], threads| {
            all.push((label.to_string(), threads.iter().map(|cells| cells.0.get()).sum()));
        });
        all.sort();
        all
    }

    fn add(family: &Family<1, One>, label: &str, bounded: bool) {
        family.count([&label.into()], || bounded, || [OTHER.into()], |cells| cells.0.add(1));
    }

    #[test]
    fn threads_count_apart_and_are_summed() {
        let family = Arc::new(Family::<1, One>::new(10));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let family = Arc::clone(&family);
                std::thread::spawn(move || (0..1000).for_each(|_| add(&family, "a", true)))
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(shown(&family), [("a".to_owned(), 4000)]);
    }

    #[test]
    fn what_is_unbounded_or_too_much_is_other() {
        let family = Family::<1, One>::new(2);
        for label in ["a", "b", "c", "a", "d"] {
            add(&family, label, true);
        }
        add(&family, "e", false);
        assert_eq!(shown(&family), [("a", 2), ("b", 1), (OTHER, 3)].map(|(label, count)| (label.to_owned(), count)));
    }

    #[test]
    fn two_families_in_one_thread_do_not_mix() {
        let (one, two) = (Family::<1, One>::new(2), Family::<1, One>::new(2));
        add(&one, "a", true);
        add(&two, "a", true);
        add(&two, "a", true);
        drop(one);
        assert_eq!(shown(&two), [("a".to_owned(), 2)]);
    }

    #[test]
    fn a_value_falls_into_the_bucket_whose_bound_it_does_not_pass() {
        let cells = Distribution::<2>::default();
        for value in [0, 10, 11, 100, 101] {
            cells.observe(&[10, 100], value);
        }
        let mut summed = Summed::default();
        summed.add(&cells);
        assert_eq!(summed, Summed { buckets: [2, 2], above: 1, sum: 222 });
        assert_eq!(summed.count(), 5);
    }
}
