//! A process's journal: the segments it appends to, and the order of what stands in them.
//!
//! The journal *is* the queue between requests and the database: the writer reads it behind those who append, so memory stays
//! flat however far the database falls behind. Segments grow in number up to a limit; at it new reservations are refused
//! (fail closed), while ends of those that exist still find room.
//!
//! A process owns the directory of its epoch by a file lock, which the kernel releases with the process. Whoever opens a
//! ledger writes what dead epochs left; one at a time, by another lock.

use std::collections::VecDeque;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::segment::{HEAD, Segment};

/// Empty segments kept for use again.
const SPARE: usize = 2;

/// Why nothing was appended.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The database is so far behind that the journal's segments are used up.
    #[error("the ledger's journal is full: the database is behind")]
    Full,
    #[error("a record of {0} bytes is longer than a segment of the journal")]
    TooLong(usize),
    /// The ledger was closed, and its journal is gone.
    #[error("the ledger is closed")]
    Closed,
    #[error("the ledger's journal cannot grow: {0}")]
    Io(#[from] io::Error),
}

/// Who asks for room.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// May be refused: there is none past the limit.
    New,
    /// Tells of what was sent: has a quarter more.
    Record,
    /// Ends a reservation. There are no more of these than reservations, which were limited: always has room, but for the
    /// disk's.
    End,
}

pub(crate) struct Journal {
    directory: PathBuf,
    segment_bytes: usize,
    most: usize,
    state: Mutex<State>,
    /// Held as long as this process lives.
    _lock: File,
}

struct State {
    /// Oldest first; the last is appended to.
    live: VecDeque<Live>,
    spare: Vec<Arc<Segment>>,
    next_serial: u64,
    next_file: u64,
    appended: u64,
    sealed: bool,
}

#[derive(Clone)]
pub(crate) struct Live {
    pub segment: Arc<Segment>,
    /// Up to here it is written.
    pub end: usize,
}

impl Journal {
    /// Begins an epoch's journal in `root/EPOCH`. The caller holds the root's lock.
    pub fn create(root: &Path, epoch: &str, segment_bytes: usize, most: usize) -> io::Result<Self> {
        let directory = root.join(epoch);
        DirBuilder::new().mode(0o700).create(&directory)?;
        let lock = lock_file(&directory)?;
        lock.try_lock()?;
        if let Some(boot) = this_boot() {
            let mut options = OpenOptions::new();
            options.write(true).create_new(true).mode(0o600).open(directory.join(BOOT))?.write_all(&boot)?;
        }
        let mut state = State {
            live: VecDeque::new(),
            spare: Vec::new(),
            next_serial: 1,
            next_file: 1,
            appended: 0,
            sealed: false,
        };
        let first = Segment::create(state.file_in(&directory), segment_bytes, state.serial())?;
        state.live.push_back(Live { segment: Arc::new(first), end: HEAD });
        Ok(Self { directory, segment_bytes, most: most.max(2), state: Mutex::new(state), _lock: lock })
    }

    /// Appends a record: when this returns it survives the process.
    pub fn append(&self, payload: &[u8], room: Room) -> Result<(), JournalError> {
        let mut state = self.lock();
        if state.sealed {
            return Err(JournalError::Closed);
        }
        let last = state.live.back().expect("a journal has a segment");
        let mut at = last.end;
        if !last.segment.fits(at, payload.len()) {
            if payload.len() > Segment::longest(self.segment_bytes) {
                return Err(JournalError::TooLong(payload.len()));
            }
            let segment = self.next_segment(&mut state, room)?;
            state.live.push_back(Live { segment, end: HEAD });
            at = HEAD;
        } else if room == Room::New && state.live.len() > self.most {
            return Err(JournalError::Full);
        }
        let last = state.live.back_mut().expect("a journal has a segment");
        last.end = last.segment.append(at, payload);
        state.appended += 1;
        Ok(())
    }

    fn next_segment(&self, state: &mut State, room: Room) -> Result<Arc<Segment>, JournalError> {
        let most = match room {
            Room::New => self.most,
            Room::Record => self.most + (self.most / 4).max(1),
            Room::End => usize::MAX,
        };
        if state.live.len() >= most {
            return Err(JournalError::Full);
        }
        let serial = state.serial();
        if let Some(segment) = state.spare.pop() {
            segment.restart(serial);
            return Ok(segment);
        }
        let path = state.file_in(&self.directory);
        Ok(Arc::new(Segment::create(path, self.segment_bytes, serial)?))
    }

    /// Records appended so far.
    pub fn appended(&self) -> u64 {
        self.lock().appended
    }

    /// All segments in use, oldest first, and how far each is written.
    pub fn live(&self) -> Vec<Live> {
        self.lock().live.iter().cloned().collect()
    }

    /// Gives back a segment of which nothing is needed any more. The one appended to stays.
    pub fn release(&self, serial: u64) {
        let mut state = self.lock();
        let Some(place) = state.live.iter().position(|live| live.segment.serial() == serial) else { return };
        if place + 1 == state.live.len() {
            return;
        }
        let Some(Live { segment, .. }) = state.live.remove(place) else { return };
        if state.spare.len() < SPARE {
            state.spare.push(segment);
        } else if let Err(error) = segment.remove() {
            tracing::warn!(%error, "a segment of the journal could not be removed");
        }
    }

    /// Makes a segment ahead of need, so that no request waits for one. May block.
    pub fn prepare(&self) -> io::Result<()> {
        let path = {
            let mut state = self.lock();
            if !state.spare.is_empty() {
                return Ok(());
            }
            state.file_in(&self.directory)
        };
        let segment = Segment::create(path, self.segment_bytes, 0)?;
        self.lock().spare.push(Arc::new(segment));
        Ok(())
    }

    pub fn wants_spare(&self) -> bool {
        let state = self.lock();
        let last = state.live.back().expect("a journal has a segment");
        state.spare.is_empty() && last.end > self.segment_bytes / 2
    }

    /// Refuses all further appends, if there have been no more than `read`.
    pub fn seal(&self, read: u64) -> bool {
        let mut state = self.lock();
        state.sealed |= state.appended == read;
        state.sealed
    }

    /// Removes the journal from disk. Only when nothing in it is needed any more.
    pub fn remove(&self) -> io::Result<()> {
        fs::remove_dir_all(&self.directory)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn serial(&mut self) -> u64 {
        self.next_serial += 1;
        self.next_serial - 1
    }

    fn file_in(&mut self, directory: &Path) -> PathBuf {
        self.next_file += 1;
        directory.join(format!("{:08}.journal", self.next_file - 1))
    }
}

/// What keeps two processes from writing the same dead epoch, or from taking a newborn one for dead.
pub(crate) struct RootLock(#[expect(dead_code, reason = "held, not read")] File);

impl RootLock {
    /// `None` while another process holds it.
    pub fn try_take(root: &Path) -> io::Result<Option<Self>> {
        DirBuilder::new().mode(0o700).recursive(true).create(root)?;
        let file = lock_file(root)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// An epoch whose process is gone, held so that nobody else takes it up.
pub(crate) struct DeadEpoch {
    pub directory: PathBuf,
    _lock: File,
}

impl DeadEpoch {
    /// All of them. The caller holds the root's lock.
    pub fn all(root: &Path) -> io::Result<Vec<Self>> {
        let mut dead = Vec::new();
        for entry in fs::read_dir(root)? {
            let entry = entry?;
            if !entry.file_type()?.is_dir() {
                continue;
            }
            let lock = lock_file(&entry.path())?;
            match lock.try_lock() {
                Ok(()) => dead.push(Self { directory: entry.path(), _lock: lock }),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        dead.sort_by(|a, b| a.directory.cmp(&b.directory));
        Ok(dead)
    }

    /// Its segments' files.
    pub fn files(&self) -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "journal") {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }

    pub fn remove(self) -> io::Result<()> {
        fs::remove_dir_all(&self.directory)
    }

    pub fn name(&self) -> Option<[u8; 16]> {
        epoch_of(&self.directory)
    }

    /// Whether the machine has run ever since: then the kernel has kept every record that was appended.
    pub fn is_of_this_boot(&self) -> bool {
        let written = fs::read(self.directory.join(BOOT)).ok();
        written.is_some() && written == this_boot()
    }
}

/// In an epoch's directory: which start of the machine it is of.
const BOOT: &str = "boot";

/// `None` where the system does not tell.
fn this_boot() -> Option<Vec<u8>> {
    fs::read("/proc/sys/kernel/random/boot_id").ok()
}

fn epoch_of(directory: &Path) -> Option<[u8; 16]> {
    let name = directory.file_name()?.to_str()?;
    uuid::Uuid::try_parse(name).ok().map(uuid::Uuid::into_bytes)
}

/// All epochs that have a journal, living or dead.
pub(crate) fn epochs(root: &Path) -> io::Result<Vec<[u8; 16]>> {
    let entries = fs::read_dir(root)?;
    entries.filter_map(|entry| entry.map(|entry| epoch_of(&entry.path())).transpose()).collect()
}

fn lock_file(directory: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(directory.join("lock"))
}
