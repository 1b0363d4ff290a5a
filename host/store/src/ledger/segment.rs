//! One file of a journal, mapped into memory.
//!
//! An append is a copy into the page cache: no system call, and it survives the death of the process at any instruction (a
//! power loss is another matter: nothing here is fsynced). The file's blocks are written once when it is made, so that a full
//! disk is an error then and not a fault later. Files are used again rather than made anew; every record's checksum begins
//! from the file's current serial number, so that what stood there before does not read as a record.
//!
//! Layout: a head of 64 bytes (magic, format, epoch, serial), then records: length (u32), CRC-32 (u32), payload, padding to 8.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{MmapOptions, MmapRaw};

use super::record::FORMAT;

pub(crate) const HEAD: usize = 64;
const FRAME: usize = 8;
const MAGIC: [u8; 8] = *b"PCLEDGER";
const FORMAT_AT: usize = 8;
const SERIAL_AT: usize = 32;

/// Why a file is not a segment this program can read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SegmentError {
    #[error("not a journal segment")]
    NotASegment,
    #[error("written in journal format {0}, this program reads {FORMAT}: start the program that wrote it once more")]
    Format(u32),
    #[error(transparent)]
    Io(#[from] io::Error),
}

pub(crate) struct Segment {
    path: PathBuf,
    map: MmapRaw,
    size: usize,
    serial: AtomicU64,
}

impl Segment {
    /// Makes a file of `size` bytes. It gets its name last: a file with a segment's name is whole.
    pub fn create(path: PathBuf, size: usize, serial: u64) -> io::Result<Self> {
        let unfinished = path.with_extension("new");
        let mut file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&unfinished)?;
        let block = vec![0; 1 << 16];
        let mut left = size;
        while left > 0 {
            let now = left.min(block.len());
            file.write_all(&block[..now])?;
            left -= now;
        }
        let segment = Self::map(path, &file, size, serial)?;
        segment.copy(0, &MAGIC);
        segment.copy(FORMAT_AT, &FORMAT.to_le_bytes());
        segment.restart(serial);
        fs::rename(unfinished, &segment.path)?;
        Ok(segment)
    }

    /// Opens what another process left.
    pub fn open(path: &Path) -> Result<Self, SegmentError> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let size = usize::try_from(file.metadata()?.len()).map_err(|_| SegmentError::NotASegment)?;
        if size < HEAD {
            return Err(SegmentError::NotASegment);
        }
        let segment = Self::map(path.to_owned(), &file, size, 0)?;
        if segment.bytes(0, MAGIC.len()) != MAGIC {
            return Err(SegmentError::NotASegment);
        }
        let format = u32::from_le_bytes(segment.array(FORMAT_AT));
        if format != FORMAT {
            return Err(SegmentError::Format(format));
        }
        segment.serial.store(u64::from_le_bytes(segment.array(SERIAL_AT)), Ordering::Relaxed);
        Ok(segment)
    }

    fn map(path: PathBuf, file: &File, size: usize, serial: u64) -> io::Result<Self> {
        let map = MmapOptions::new().len(size).map_raw(file)?;
        Ok(Self { path, map, size, serial: AtomicU64::new(serial) })
    }

    pub fn serial(&self) -> u64 {
        self.serial.load(Ordering::Relaxed)
    }

    /// Makes all that stands here void and begins again under a new serial number. Nobody may be reading.
    pub fn restart(&self, serial: u64) {
        self.serial.store(serial, Ordering::Relaxed);
        // Eight aligned bytes: a process that dies here leaves the old number or the new one.
        self.copy(SERIAL_AT, &serial.to_le_bytes());
    }

    /// Whether a payload of this length fits behind `at`.
    pub fn fits(&self, at: usize, length: usize) -> bool {
        self.size - at >= framed(length)
    }

    /// The longest payload a fresh segment of `size` bytes takes.
    pub const fn longest(size: usize) -> usize {
        size - HEAD - FRAME - 7
    }

    /// Writes a record at `at` and returns where the next one goes. The caller has checked that it fits and is alone in
    /// writing; nobody reads at or behind `at` yet.
    pub fn append(&self, at: usize, payload: &[u8]) -> usize {
        let length = u32::try_from(payload.len()).expect("a segment is far smaller than 4 GB");
        self.copy(at + FRAME, payload);
        let sum = self.checksum(payload);
        self.copy(at, &(u64::from(length) | u64::from(sum) << 32).to_le_bytes());
        at + framed(payload.len())
    }

    /// The record at `at`, and where the next one starts; `None` at the end or where what stands there is no whole record.
    ///
    /// The sum is checked of what this process has appended, too: it costs nothing, for whoever decodes the record then finds
    /// it in the processor's cache.
    pub fn read(&self, at: usize) -> Option<(&[u8], usize)> {
        if self.size.checked_sub(at)? < FRAME {
            return None;
        }
        let frame = u64::from_le_bytes(self.array(at));
        let (length, sum) = (frame as u32, (frame >> 32) as u32);
        if length == 0 || self.size - at - FRAME < length as usize {
            return None;
        }
        let payload = self.bytes(at + FRAME, length as usize);
        (self.checksum(payload) == sum).then(|| (payload, at + framed(payload.len())))
    }

    pub fn remove(&self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }

    /// CRC-32 of the payload, begun from the serial number and the length. One beginning leads to one sum: the same payload
    /// under another serial number always has another.
    fn checksum(&self, payload: &[u8]) -> u32 {
        let serial = self.serial();
        let begun = (serial as u32 ^ (serial >> 32) as u32).wrapping_mul(0x9e37_79b1) ^ payload.len() as u32;
        let mut hasher = crc32fast::Hasher::new_with_initial(begun);
        hasher.update(payload);
        hasher.finalize()
    }

    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        self.bytes(at, N).try_into().expect("asked for N bytes")
    }

    fn bytes(&self, at: usize, length: usize) -> &[u8] {
        assert!(at <= self.size && length <= self.size - at);
        // SAFETY: the range lies within the mapping, which lives as long as `self`; the file is never truncated while it is
        // mapped. Nobody writes what may be read: appends go behind the last published record (their place is handed out
        // under the journal's lock), `restart` comes after the one reader has finished with the segment, and a dead
        // process's files are read by whoever holds its epoch's lock.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().add(at), length) }
    }

    fn copy(&self, at: usize, bytes: &[u8]) {
        assert!(at <= self.size && bytes.len() <= self.size - at);
        // SAFETY: within the mapping; see `bytes` for why nobody reads or writes here meanwhile.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.map.as_mut_ptr().add(at), bytes.len()) }
    }
}

const fn framed(length: usize) -> usize {
    (FRAME + length).next_multiple_of(8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(segment: &Segment) -> Vec<Vec<u8>> {
        let mut found = vec![];
        let mut at = HEAD;
        while let Some((payload, next)) = segment.read(at) {
            found.push(payload.to_vec());
            at = next;
        }
        found
    }

    fn fill(segment: &Segment, payloads: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mut at = HEAD;
        let mut written = vec![];
        for payload in payloads {
            if !segment.fits(at, payload.len()) {
                break;
            }
            at = segment.append(at, payload);
            written.push(payload.clone());
        }
        written
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_was_appended_is_read_and_nothing_else(
            first in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..300), 0..40),
            second in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..300), 0..40),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("1.journal");
            let segment = Segment::create(path.clone(), 4096, 1).unwrap();
            let written = fill(&segment, &first);
            prop_assert_eq!(all(&segment), written.clone());
            prop_assert_eq!(all(&Segment::open(&path).unwrap()), written);
            segment.restart(2);
            prop_assert!(all(&segment).is_empty());
            let written = fill(&segment, &second);
            drop(segment);
            prop_assert_eq!(all(&Segment::open(&path).unwrap()), written);
        }

        #[test]
        fn a_torn_record_ends_the_segment(cut in 0usize..64, payload in proptest::collection::vec(1u8.., 56..57)) {
            let dir = tempfile::tempdir().unwrap();
            let segment = Segment::create(dir.path().join("1.journal"), 4096, 1).unwrap();
            let next = segment.append(HEAD, b"whole");
            segment.append(next, &payload);
            segment.copy(next + cut, &vec![0; 64 - cut]);
            prop_assert_eq!(all(&segment), vec![b"whole".to_vec()]);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(noise in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("1.journal");
            fs::write(&path, &noise).unwrap();
            prop_assert!(Segment::open(&path).is_err());
            let segment = Segment::create(dir.path().join("2.journal"), 4096, 1).unwrap();
            segment.copy(HEAD, &noise);
            all(&segment);
        }
    }

    #[test]
    fn another_format_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("1.journal");
        Segment::create(path.clone(), 4096, 1).unwrap().copy(FORMAT_AT, &7u32.to_le_bytes());
        assert!(matches!(Segment::open(&path), Err(SegmentError::Format(7))));
    }
}
