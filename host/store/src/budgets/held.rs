//! What a reservation holds, as it stands in the journal: of which budgets' windows, and whether out of a slice.

use portcullis_core::BudgetId;

/// Bytes of one.
const LENGTH: usize = 25;

/// One window of one budget in which a reservation counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Held {
    pub budget: BudgetId,
    pub start_ms: u64,
    /// Its amount was taken from a slice. A soft budget only counts.
    pub sliced: bool,
}

impl Held {
    pub fn put(self, into: &mut Vec<u8>) {
        into.extend_from_slice(self.budget.as_bytes());
        into.extend_from_slice(&self.start_ms.to_le_bytes());
        into.push(u8::from(self.sliced));
    }

    /// All that were put.
    pub fn all(bytes: &[u8]) -> impl Iterator<Item = Self> {
        bytes.as_chunks::<LENGTH>().0.iter().map(|held| {
            let (budget, rest) = held.split_first_chunk::<16>().expect("16 bytes of 25");
            let (start, rest) = rest.split_first_chunk::<8>().expect("8 bytes of 9");
            Self { budget: BudgetId::from_bytes(*budget), start_ms: u64::from_le_bytes(*start), sliced: rest[0] != 0 }
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_put_is_read(held in prop::collection::vec((any::<[u8; 16]>(), any::<u64>(), any::<bool>()), 0..5)) {
            let held: Vec<Held> = held
                .into_iter()
                .map(|(id, start_ms, sliced)| Held { budget: BudgetId::from_bytes(id), start_ms, sliced })
                .collect();
            let mut bytes = Vec::new();
            held.iter().for_each(|held| held.put(&mut bytes));
            prop_assert_eq!(bytes.len(), held.len() * LENGTH);
            prop_assert_eq!(Held::all(&bytes).collect::<Vec<_>>(), held);
        }
    }
}
