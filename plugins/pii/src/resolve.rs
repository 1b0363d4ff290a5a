//! Makes one sorted list without overlaps of all that was found, and settles what an open text keeps.
//!
//! Invariants: of overlapping findings that change the text all bytes go, under the name of the strongest (block before
//! mask, then the longest, then the first rule); a finding is given only once nothing that may still grow touches it.

use crate::config::{Action, Rules};
use crate::find::token::Tail;

/// The host keeps at most 4 KB.
const HOLD_MAX: usize = 3584;

/// From where on a text is held.
pub type Hold = usize;

/// A value of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    pub start: usize,
    pub end: usize,
    pub rule: usize,
    /// How it goes on past the window, where it is masked as it goes.
    pub tail: Option<Tail>,
    /// False where it is taken as found although it is still growing.
    pub whole: bool,
    /// The rest of a secret that an earlier window masked the beginning of.
    pub rest: bool,
}

/// Sorts and merges `found`; moves `hold` to where the text is kept from.
pub fn resolve(rules: &Rules, found: &mut Vec<Found>, hold: &mut Option<Hold>, length: usize) {
    if found.is_empty() {
        return;
    }
    for endless in found.iter_mut().filter(|found| !found.whole) {
        match *hold {
            // Something else may grow from within: the rest is shown again, and is of both.
            Some(within) if endless.start <= within && within < endless.end => {
                endless.tail.get_or_insert(Tail::Bytes((endless.end - within) as u32));
                endless.end = within;
            }
            _ if endless.end < length => *hold = Some(hold.map_or(endless.end, |hold| hold.min(endless.end))),
            _ => {}
        }
    }
    found.retain(|found| found.start < found.end);
    found.sort_unstable_by_key(|found| (found.start, found.end, found.rule));
    merge(rules, found);
    let Some(from) = *hold else { return };
    let mut keep = from;
    while let Some(last) = found.last()
        && (last.end > keep || last.end == keep && last.whole)
        && length - last.start <= HOLD_MAX
    {
        keep = keep.min(last.start);
        found.pop();
    }
    // One too long to be held is given up to there, and the rest of it next time.
    if let Some(last) = found.last_mut()
        && last.end > keep
    {
        last.tail.get_or_insert(Tail::Bytes((last.end - keep) as u32));
        last.end = keep;
    }
    *hold = Some(keep);
}

fn merge(rules: &Rules, found: &mut Vec<Found>) {
    let action = |found: &Found| rules.rules[found.rule].action;
    let rank = |found: &Found| (action(found), found.end - found.start, std::cmp::Reverse(found.rule));
    let mut last = 0;
    for i in 1..found.len() {
        let next = found[i];
        let current = &mut found[last];
        if next.start >= current.end {
            last += 1;
            found[last] = next;
            continue;
        }
        let both = action(current) > Action::Report && action(&next) > Action::Report;
        let strongest = if rank(&next) > rank(current) { next } else { *current };
        *current = if both {
            let end = current.end.max(next.end);
            let tail = [*current, next].iter().filter(|found| found.end == end).filter_map(|found| found.tail).max();
            let whole = [*current, next].iter().filter(|found| found.end == end).all(|found| found.whole);
            Found { start: current.start, end, rule: strongest.rule, tail, whole, rest: current.rest || next.rest }
        } else {
            strongest
        };
    }
    found.truncate(last + 1);
}
