//! Receipts in pages: those of one organisation that are written in one group, compressed together.
//!
//! A page is a version byte, its length before compression (u32, little-endian) and an LZ4 block; in it, one after the other,
//! a request's id, the receipt's length (u32) and the receipt. A receipt is found by its id and by nothing else, so that a
//! row that names a page of other receipts reads none of them.

use std::collections::BTreeMap;

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

/// The pages of one group, while they fill.
pub(super) struct Pages {
    open: BTreeMap<[u8; 16], Page>,
    newest: i64,
    table: CompressTable,
    content: Vec<u8>,
    /// Kept for its room.
    room: Vec<u8>,
}

struct Page {
    id: i64,
    youngest_ms: u64,
    receipts: Vec<u8>,
}

impl Default for Pages {
    fn default() -> Self {
        Self {
            open: BTreeMap::new(),
            newest: 0,
            table: CompressTable::large(),
            content: Vec::new(),
            room: Vec::new(),
        }
    }
}

impl Pages {
    /// Forgets what an earlier group left unfinished. Pages are numbered from behind `newest`.
    pub fn begin(&mut self, newest: i64) {
        self.open.clear();
        self.newest = newest;
    }

    /// Where this organisation's next receipt goes.
    pub fn place(&mut self, organisation: &[u8; 16]) -> i64 {
        if let Some(page) = self.open.get(organisation) {
            return page.id;
        }
        self.newest += 1;
        let receipts = std::mem::take(&mut self.room);
        self.open.insert(*organisation, Page { id: self.newest, youngest_ms: 0, receipts });
        self.newest
    }

    /// Puts a receipt where [`Self::place`] said. True when the page is full.
    pub fn put(&mut self, row: &RequestRow<'_>, receipt: &[u8]) -> bool {
        let page = self.open.get_mut(&row.organisation).expect("its place was asked for");
        let length = u32::try_from(receipt.len()).expect("a receipt is shorter than a segment");
        page.receipts.extend_from_slice(&row.request_id);
        page.receipts.extend_from_slice(&length.to_le_bytes());
        page.receipts.extend_from_slice(receipt);
        page.youngest_ms = page.youngest_ms.max(row.time_ms);
        page.receipts.len() >= FULL
    }

    /// Hands an organisation's page to `insert`: its id, its organisation, its youngest receipt's time, its content.
    pub fn finish<E>(
        &mut self,
        organisation: &[u8; 16],
        insert: &mut impl FnMut(i64, &[u8; 16], u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(mut page) = self.open.remove(organisation) else { return Ok(()) };
        if !page.receipts.is_empty() {
            self.pack(&page.receipts);
            insert(page.id, organisation, page.youngest_ms, &self.content)?;
        }
        page.receipts.clear();
        self.room = page.receipts;
        Ok(())
    }

    pub fn finish_all<E>(
        &mut self,
        insert: &mut impl FnMut(i64, &[u8; 16], u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some(organisation) = self.open.first_key_value().map(|(organisation, _)| *organisation) {
            self.finish(&organisation, insert)?;
        }
        Ok(())
    }

    fn pack(&mut self, receipts: &[u8]) {
        let length = u32::try_from(receipts.len()).expect("a page is little more than its last receipt");
        self.content.resize(HEAD + get_maximum_output_size(receipts.len()), 0);
        self.content[0] = VERSION;
        self.content[1..HEAD].copy_from_slice(&length.to_le_bytes());
        let packed = compress_into_with_table(receipts, &mut self.content[HEAD..], &mut self.table)
            .expect("there is room for the longest output");
        self.content.truncate(HEAD + packed);
    }
}

/// The receipt of this request, where the page has it.
///
/// # Errors
/// [`StoreError::Corrupt`] where no version of this program wrote `content`.
pub(super) fn find(content: &[u8], request: &[u8; 16]) -> Result<Option<Vec<u8>>, StoreError> {
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
            receipt: None,
        }
    }

    struct Written {
        organisation: [u8; 16],
        youngest_ms: u64,
        content: Vec<u8>,
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_receipt_is_in_its_page_and_in_no_other_organisations(
            receipts in proptest::collection::vec((0usize..3, any::<u8>(), 0usize..9_000), 0..60),
        ) {
            let mut written: BTreeMap<i64, Written> = BTreeMap::new();
            let mut insert = |id, organisation: &[u8; 16], youngest_ms, content: &[u8]| {
                let page = Written { organisation: *organisation, youngest_ms, content: content.to_vec() };
                if written.insert(id, page).is_none() { Ok(()) } else { Err("an id was used twice") }
            };
            let mut pages = Pages::default();
            pages.begin(41);
            let mut placed = vec![];
            for (number, (whose, byte, length)) in (0..).zip(&receipts) {
                let (row, receipt) = (row(number, ORGANISATIONS[*whose]), vec![*byte; *length]);
                placed.push((pages.place(&row.organisation), row.clone(), receipt.clone()));
                if pages.put(&row, &receipt) {
                    pages.finish(&row.organisation, &mut insert).unwrap();
                }
            }
            pages.finish_all(&mut insert).unwrap();
            for (id, row, receipt) in placed {
                prop_assert!(id > 41);
                let page = &written[&id];
                prop_assert_eq!(page.organisation, row.organisation);
                prop_assert!(page.youngest_ms >= row.time_ms);
                prop_assert_eq!(find(&page.content, &row.request_id).unwrap(), Some(receipt));
                prop_assert_eq!(find(&page.content, &[0xff; 16]).unwrap(), None);
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
                pages.place(&[0; 16]);
                pages.put(&row(number, [0; 16]), &[number; 40]);
            }
            let mut page = vec![];
            pages
                .finish_all(&mut |_, _: &[u8; 16], _, content: &[u8]| {
                    page = content.to_vec();
                    Ok::<_, ()>(())
                })
                .unwrap();
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
    fn what_was_not_finished_is_forgotten() {
        let mut pages = Pages::default();
        pages.place(&[0; 16]);
        pages.put(&row(1, [0; 16]), b"of a transaction that failed");
        pages.begin(7);
        pages.finish_all(&mut |_, _: &[u8; 16], _, _: &[u8]| Err("nothing is there")).unwrap();
        assert_eq!(pages.place(&[0; 16]), 8);
    }
}
