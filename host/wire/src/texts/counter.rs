//! Numbers by which a protocol counts a stream's frames. A frame that is added takes the next one, and those after it move on by
//! one: they stay strictly increasing, and without a gap where there was none. Nothing is written anew in a stream that nothing
//! was added to.

use std::ops::Range;

/// The count of one stream.
#[derive(Debug, Default)]
pub(super) struct Counter {
    /// The last number that was given out.
    last: Option<u64>,
    /// Frames added so far.
    added: u64,
}

impl Counter {
    /// Counts a frame of the stream's own whose number stands at `range`. Answers with what it becomes, if that is another.
    pub(super) fn own(&mut self, data: &str, range: &Range<usize>) -> Option<String> {
        let number = data[range.clone()].parse::<u64>().ok()?.checked_add(self.added)?;
        self.last = Some(number);
        (self.added > 0).then(|| number.to_string())
    }

    /// Counts a frame that is added, and answers with its number.
    pub(super) fn add(&mut self) -> Option<String> {
        let number = self.last?.checked_add(1)?;
        self.last = Some(number);
        self.added += 1;
        Some(number.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(counter: &mut Counter, number: &str) -> Option<String> {
        counter.own(number, &(0..number.len()))
    }

    #[test]
    fn what_is_added_moves_the_rest() {
        let mut counter = Counter::default();
        assert_eq!(own(&mut counter, "7"), None);
        assert_eq!(counter.add().as_deref(), Some("8"));
        assert_eq!(counter.add().as_deref(), Some("9"));
        assert_eq!(own(&mut counter, "8").as_deref(), Some("10"));
        assert_eq!(own(&mut counter, "12").as_deref(), Some("14"), "the provider's own gaps are its own");
        assert_eq!(own(&mut counter, "\"x\""), None);
    }

    #[test]
    fn nothing_counted_has_no_number() {
        assert_eq!(Counter::default().add(), None);
    }
}
