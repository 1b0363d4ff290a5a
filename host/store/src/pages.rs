//! Receipts in pages: those of one organisation that are written in one group, compressed together.
//!
//! A page is a version byte, its length before compression (u32, little-endian) and an LZ4 block; in it, one after the other,
//! a request's id, the receipt's length (u32) and the receipt. A receipt is found by its id and by nothing else, so that a
//! row that names a page of other receipts reads none of them.

use std::collections::BTreeMap;
use std::ops::Range;

use lz4_flex::block::{CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size};

use crate::error::StoreError;
use crate::rows::RequestRow;

const VERSION: u8 = 1;
const HEAD: usize = 5;
const LENGTH: usize = 4;
/// A page is finished once it has this many bytes: what comes back to find one receipt, and what LZ4 looks back over.
const FULL: usize = 32 << 10;
/// LZ4 makes of one byte no more than this many.
const EXPANSION: usize = 255;

/// The pages of one group.
pub(crate) struct Pages {
    /// By organisation, while they fill.
    open: BTreeMap<[u8; 16], Open>,
    full: Vec<Full>,
    /// What the full ones hold, one after the other.
    contents: Vec<u8>,
    newest: i64,
    table: CompressTable,
    /// Kept for its room.
    room: Vec<u8>,
}

struct Open {
    id: i64,
    youngest_ms: u64,
    receipts: Vec<u8>,
}

struct Full {
    id: i64,
    organisation: [u8; 16],
    youngest_ms: u64,
    content: Range<usize>,
}

/// A page as it is written.
pub(crate) struct Page<'a> {
    pub id: i64,
    pub organisation: &'a [u8; 16],
    /// When its youngest receipt's request came.
    pub youngest_ms: u64,
    pub content: &'a [u8],
}

impl Default for Pages {
    fn default() -> Self {
        Self {
            open: BTreeMap::new(),
            full: Vec::new(),
            contents: Vec::new(),
            newest: 0,
            table: CompressTable::large(),
            room: Vec::new(),
        }
    }
}

impl Pages {
    /// Begins a group, whose pages are numbered from behind `newest`.
    pub fn begin(&mut self, newest: i64) {
        self.open.clear();
        self.full.clear();
        self.contents.clear();
        self.newest = newest;
    }

    /// Puts a receipt into its organisation's page, and says which that is.
    pub fn put(&mut self, row: &RequestRow<'_>, receipt: &[u8]) -> i64 {
        let page = self.open.entry(row.organisation).or_insert_with(|| {
            self.newest += 1;
            Open { id: self.newest, youngest_ms: 0, receipts: std::mem::take(&mut self.room) }
        });
        let length = u32::try_from(receipt.len()).expect("a receipt is shorter than a segment");
        page.receipts.extend_from_slice(&row.request_id);
        page.receipts.extend_from_slice(&length.to_le_bytes());
        page.receipts.extend_from_slice(receipt);
        page.youngest_ms = page.youngest_ms.max(row.time_ms);
        let id = page.id;
        if page.receipts.len() >= FULL
            && let Some(page) = self.open.remove(&row.organisation)
        {
            self.pack(row.organisation, page);
        }
        id
    }

    /// The number of the last page that was begun.
    pub fn newest(&self) -> i64 {
        self.newest
    }

    /// The group's pages. Nothing more is put into them.
    pub fn finish(&mut self) -> impl Iterator<Item = Page<'_>> {
        while let Some((organisation, page)) = self.open.pop_first() {
            self.pack(organisation, page);
        }
        self.full.iter().map(|full| Page {
            id: full.id,
            organisation: &full.organisation,
            youngest_ms: full.youngest_ms,
            content: &self.contents[full.content.clone()],
        })
    }

    fn pack(&mut self, organisation: [u8; 16], Open { id, youngest_ms, mut receipts }: Open) {
        let length = u32::try_from(receipts.len()).expect("a page is little more than its last receipt");
        let start = self.contents.len();
        self.contents.push(VERSION);
        self.contents.extend_from_slice(&length.to_le_bytes());
        let packed = self.contents.len();
        self.contents.resize(packed + get_maximum_output_size(receipts.len()), 0);
        let written = compress_into_with_table(&receipts, &mut self.contents[packed..], &mut self.table)
            .expect("there is room for the longest output");
        self.contents.truncate(packed + written);
        self.full.push(Full { id, organisation, youngest_ms, content: start..packed + written });
        receipts.clear();
        self.room = receipts;
    }
}

/// The receipt of this request, where the page has it.
///
/// # Errors
/// [`StoreError::Corrupt`] where no version of this program wrote `content`.
pub(crate) fn find(content: &[u8], request: &[u8; 16]) -> Result<Option<Vec<u8>>, StoreError> {
    let corrupt = || StoreError::Corrupt { what: "page of receipts" };
    let (head, packed) = content.split_first_chunk::<HEAD>().ok_or_else(corrupt)?;
    let [VERSION, length @ ..] = *head else { return Err(corrupt()) };
    let length = u32::from_le_bytes(length) as usize;
    if length / EXPANSION > packed.len() {
        return Err(corrupt());
    }
    let mut receipts = vec![0; length];
    if decompress_into(packed, &mut receipts).ok() != Some(length) {
        return Err(corrupt());
    }
    let mut rest = &receipts[..];
    while !rest.is_empty() {
        let (id, behind) = rest.split_first_chunk::<16>().ok_or_else(corrupt)?;
        let (length, behind) = behind.split_first_chunk::<LENGTH>().ok_or_else(corrupt)?;
        let (receipt, behind) = behind.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or_else(corrupt)?;
        if id == request {
            return Ok(Some(receipt.to_vec()));
        }
        rest = behind;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ORGANISATIONS: [[u8; 16]; 3] = [[0; 16], [1; 16], [2; 16]];

    fn row(number: u8, organisation: [u8; 16]) -> RequestRow<'static> {
        RequestRow {
            request_id: [number; 16],
            time_ms: u64::from(number),
            key_id: [0; 16],
            organisation,
            team: None,
            environment: "production",
            end_user: None,
            requested_model: "m",
            provider: None,
            model: None,
            status: 200,
            outcome: "ok",
            usage: [0; 10],
            estimated: false,
            cost_nano: None,
            total_us: 0,
            tags: None,
            reason: None,
            policy: None,
            correlation: None,
            receipt: None,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_receipt_is_in_its_page_and_in_no_other_organisations(
            receipts in proptest::collection::vec((0usize..3, any::<u8>(), 0usize..9_000), 0..60),
        ) {
            let mut pages = Pages::default();
            pages.begin(41);
            let mut placed = vec![];
            for (number, (whose, byte, length)) in (0..).zip(&receipts) {
                let (row, receipt) = (row(number, ORGANISATIONS[*whose]), vec![*byte; *length]);
                placed.push((pages.put(&row, &receipt), row, receipt));
            }
            let mut written = BTreeMap::new();
            for page in pages.finish() {
                prop_assert!(page.id > 41);
                let one = (*page.organisation, page.youngest_ms, page.content.to_vec());
                prop_assert!(written.insert(page.id, one).is_none());
            }
            for (id, row, receipt) in placed {
                let (organisation, youngest_ms, content) = &written[&id];
                prop_assert_eq!(*organisation, row.organisation);
                prop_assert!(*youngest_ms >= row.time_ms);
                prop_assert_eq!(find(content, &row.request_id).unwrap(), Some(receipt));
                prop_assert_eq!(find(content, &[0xff; 16]).unwrap(), None);
            }
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(
            mut noise in proptest::collection::vec(any::<u8>(), 0..300), at in 0usize..200, flip in 1u8..,
        ) {
            let _ = find(&noise, &[1; 16]);
            noise.splice(0..0, [VERSION, 200, 0, 0, 0]);
            let _ = find(&noise, &[1; 16]);
            let mut pages = Pages::default();
            for number in 0..4 {
                pages.put(&row(number, [0; 16]), &[number; 40]);
            }
            let mut page = pages.finish().next().unwrap().content.to_vec();
            prop_assert!(find(&page[..page.len() - 1], &[0; 16]).is_err());
            let at = at % page.len();
            page[at] ^= flip;
            let _ = find(&page, &[3; 16]);
        }
    }

    #[test]
    fn a_length_that_cannot_be_takes_no_memory() {
        assert!(find(&[VERSION, 0xff, 0xff, 0xff, 0xff, 0], &[0; 16]).is_err());
    }

    #[test]
    fn a_group_that_failed_leaves_nothing_to_the_next() {
        let mut pages = Pages::default();
        pages.put(&row(1, [0; 16]), &[1; 2 * FULL]);
        pages.put(&row(2, [0; 16]), b"not full");
        pages.begin(7);
        assert_eq!(pages.put(&row(3, [0; 16]), b"new"), 8);
        let ids: Vec<_> = pages.finish().map(|page| page.id).collect();
        assert_eq!(ids, [8]);
    }
}
