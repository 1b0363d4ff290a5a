//! The guest's allocator.
//!
//! The standard library's own takes nothing of the memory an instance starts with and grows it at the first allocation; to
//! the host that is two changes of protection for every fresh instance, and each interrupts every other core. This is the
//! same allocator in a version that begins between `__heap_base` and `__heap_end`: with enough memory from the start
//! (`--initial-memory`) a call grows nothing.

use dlmalloc::GlobalDlmalloc;

#[global_allocator]
static ALLOCATOR: GlobalDlmalloc = GlobalDlmalloc;
