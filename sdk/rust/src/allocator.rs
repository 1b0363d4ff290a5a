//! The guest's allocator.
//!
//! A call allocates dozens of small things, from the parameters the host puts in to the answer it takes out, and at its end
//! nearly all of them are gone. So small things are cut off one after the other from a room of their own, which begins anew
//! as soon as nothing in it is in use; large ones, and what the room cannot hold, are [`dlmalloc`]'s. What a plugin makes of its
//! configuration stays below the room's floor ([`settle`]). What it keeps beyond that (a `LazyLock`) keeps the room from
//! beginning anew: once it is full, calls cost what they cost without it.
//!
//! The standard library's own `dlmalloc` takes nothing of the memory an instance starts with and grows it at the first
//! allocation; to the host that is two changes of protection for every fresh instance, and each interrupts every other core.
//! This version begins between `__heap_base` and `__heap_end`: with enough memory from the start (`--initial-memory`) a call
//! grows nothing.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::{Cell, UnsafeCell};
use std::mem::MaybeUninit;
use std::ptr;

/// What is larger is not small.
const SMALL: usize = 16 << 10;

/// No small thing asks for more.
const ALIGN: usize = 16;

/// A room of so many bytes over another allocator.
///
/// Invariants: what is in use lies below `next`; `in_use` counts what lies at `floor` or above; when that is nothing, `next` is
/// `floor`. What lies below the floor is never given again.
pub struct Room<A, const SIZE: usize> {
    bytes: UnsafeCell<Bytes<SIZE>>,
    floor: Cell<usize>,
    next: Cell<usize>,
    in_use: Cell<usize>,
    beneath: A,
}

#[repr(C, align(16))]
struct Bytes<const SIZE: usize>([MaybeUninit<u8>; SIZE]);

impl<A, const SIZE: usize> Room<A, SIZE> {
    pub const fn over(beneath: A) -> Self {
        Room {
            bytes: UnsafeCell::new(Bytes([MaybeUninit::uninit(); SIZE])),
            floor: Cell::new(0),
            next: Cell::new(0),
            in_use: Cell::new(0),
            beneath,
        }
    }

    /// Whatever is in use now stays for good.
    pub fn settle(&self) {
        self.floor.set(self.next.get());
        self.in_use.set(0);
    }

    fn start(&self) -> *mut u8 {
        self.bytes.get().cast()
    }

    /// Where in the room something lies, if it does.
    fn offset(&self, at: *mut u8) -> Option<usize> {
        let offset = (at as usize).wrapping_sub(self.start() as usize);
        (offset < SIZE).then_some(offset)
    }

    fn cut(&self, layout: Layout) -> Option<*mut u8> {
        let begin = self.next.get().next_multiple_of(layout.align());
        let end = begin + layout.size();
        if layout.size() > SMALL || layout.align() > ALIGN || end > SIZE {
            return None;
        }
        self.next.set(end);
        self.in_use.set(self.in_use.get() + 1);
        // SAFETY: within the room.
        Some(unsafe { self.start().add(begin) })
    }

    /// Makes what lies at `offset` longer or shorter where it is.
    fn fit(&self, offset: usize, layout: Layout, size: usize) -> bool {
        let last = offset + layout.size() == self.next.get() && offset >= self.floor.get();
        if last && size <= SMALL && offset + size <= SIZE {
            self.next.set(offset + size);
            return true;
        }
        size <= layout.size()
    }
}

// SAFETY: what is cut off overlaps nothing in use, by the invariants; the rest is the other allocator's.
unsafe impl<A: GlobalAlloc, const SIZE: usize> GlobalAlloc for Room<A, SIZE> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match self.cut(layout) {
            Some(at) => at,
            // SAFETY: the caller's promise.
            None => unsafe { self.beneath.alloc(layout) },
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match self.cut(layout) {
            Some(at) => {
                // SAFETY: so many bytes have just been cut off.
                unsafe { at.write_bytes(0, layout.size()) };
                at
            }
            // SAFETY: the caller's promise.
            None => unsafe { self.beneath.alloc_zeroed(layout) },
        }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        let Some(offset) = self.offset(at) else {
            // SAFETY: the caller's promise, and it is not of the room.
            return unsafe { self.beneath.dealloc(at, layout) };
        };
        if offset < self.floor.get() {
            return;
        }
        let in_use = self.in_use.get() - 1;
        self.in_use.set(in_use);
        if in_use == 0 {
            self.next.set(self.floor.get());
        } else if offset + layout.size() == self.next.get() {
            self.next.set(offset);
        }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        match self.offset(at) {
            // SAFETY: the caller's promise, and it is not of the room.
            None => unsafe { self.beneath.realloc(at, layout, size) },
            Some(offset) if self.fit(offset, layout, size) => at,
            Some(_) => {
                // SAFETY: the caller's promise; old and new do not overlap, and the new one is longer.
                unsafe {
                    let new = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
                    if !new.is_null() {
                        ptr::copy_nonoverlapping(at, new, layout.size());
                        self.dealloc(at, layout);
                    }
                    new
                }
            }
        }
    }
}

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
mod global {
    use dlmalloc::GlobalDlmalloc;

    use super::Room;

    /// Enough for what a request of a hundred kilobytes is made of.
    const SIZE: usize = 256 << 10;

    // SAFETY: a guest of this target has one thread.
    unsafe impl Sync for Room<GlobalDlmalloc, SIZE> {}

    #[global_allocator]
    static ALLOCATOR: Room<GlobalDlmalloc, SIZE> = Room::over(GlobalDlmalloc);

    /// What is allocated now is kept for the life of the instance.
    pub fn settle() {
        ALLOCATOR.settle();
    }
}

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
pub use global::settle;

#[cfg(test)]
mod tests {
    use std::alloc::System;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Allocate { size: usize, align: usize, zeroed: bool },
        Resize(prop::sample::Index, usize),
        Free(prop::sample::Index),
        Settle,
    }

    fn step() -> impl Strategy<Value = Step> {
        let size = prop_oneof![8 => 1_usize..90, 1 => 1_usize..20_000];
        prop_oneof![
            4 => (size.clone(), 0_u32..6, any::<bool>())
                .prop_map(|(size, align, zeroed)| Step::Allocate { size, align: 1 << align, zeroed }),
            2 => (any::<prop::sample::Index>(), size).prop_map(|(index, size)| Step::Resize(index, size)),
            4 => any::<prop::sample::Index>().prop_map(Step::Free),
            1 => Just(Step::Settle),
        ]
    }

    /// Something allocated, filled with a byte of its own.
    struct Thing {
        at: *mut u8,
        layout: Layout,
        byte: u8,
    }

    impl Thing {
        fn check(&self, bytes: usize) {
            // SAFETY: allocated and filled.
            let bytes = unsafe { std::slice::from_raw_parts(self.at, bytes) };
            assert!(bytes.iter().all(|&byte| byte == self.byte), "something else was put there");
            assert_eq!(self.at as usize % self.layout.align(), 0);
        }

        fn fill(&self) {
            // SAFETY: allocated.
            unsafe { self.at.write_bytes(self.byte, self.layout.size()) };
        }
    }

    #[test]
    fn the_room_begins_anew_when_nothing_is_in_use() {
        let room: Box<Room<System, 1024>> = Box::new(Room::over(System));
        let layout = Layout::from_size_align(100, 8).expect("a layout");
        let new = || room.cut(layout).expect("room");
        let kept = new();
        room.settle();
        let (first, second) = (new(), new());
        // SAFETY: all of this was cut off with this layout.
        unsafe {
            assert_eq!(room.realloc(second, layout, 50), second);
            room.dealloc(first, layout);
            room.dealloc(second, Layout::from_size_align(50, 8).expect("a layout"));
            assert_eq!(new(), first);
            assert_ne!(room.realloc(kept, layout, 120), kept);
            room.dealloc(kept, layout);
        }
        assert_ne!(new(), kept);
        assert!(room.cut(Layout::from_size_align(900, 8).expect("a layout")).is_none());
    }

    proptest! {
        /// Nothing overlaps, moves without its content, or leaves its alignment.
        #[test]
        fn what_is_in_use_is_left_alone(steps in prop::collection::vec(step(), 0..200)) {
            let room: Box<Room<System, 2048>> = Box::new(Room::over(System));
            let mut things: Vec<Thing> = Vec::new();
            for (step, byte) in steps.into_iter().zip((1..=255).cycle()) {
                match step {
                    Step::Allocate { size, align, zeroed } => {
                        let layout = Layout::from_size_align(size, align).expect("a layout");
                        // SAFETY: the layout is not empty.
                        let at = unsafe { if zeroed { room.alloc_zeroed(layout) } else { room.alloc(layout) } };
                        if zeroed {
                            Thing { at, layout, byte: 0 }.check(size);
                        }
                        let thing = Thing { at, layout, byte };
                        thing.fill();
                        things.push(thing);
                    }
                    Step::Resize(index, size) if !things.is_empty() => {
                        let index = index.index(things.len());
                        let thing = &mut things[index];
                        let kept = thing.layout.size().min(size);
                        // SAFETY: allocated with this layout.
                        thing.at = unsafe { room.realloc(thing.at, thing.layout, size) };
                        thing.layout = Layout::from_size_align(size, thing.layout.align()).expect("a layout");
                        thing.check(kept);
                        thing.fill();
                    }
                    Step::Free(index) if !things.is_empty() => {
                        let thing = things.swap_remove(index.index(things.len()));
                        thing.check(thing.layout.size());
                        // SAFETY: allocated with this layout.
                        unsafe { room.dealloc(thing.at, thing.layout) };
                    }
                    Step::Settle => room.settle(),
                    Step::Resize(..) | Step::Free(_) => {}
                }
                things.iter().for_each(|thing| thing.check(thing.layout.size()));
            }
            for thing in things {
                // SAFETY: allocated with this layout.
                unsafe { room.dealloc(thing.at, thing.layout) };
            }
        }
    }
}
