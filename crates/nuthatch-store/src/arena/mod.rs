//! The arena: one reserved address range, cut into pages, cut into chunks.
//!
//! ```text
//!  base                                                             base + reserve
//!   |- page 0 ------|- page 1 ------|- page 2 ------|- … not yet committed -----|
//!   | class 3       | class 17      | free          |
//!   | chunk | chunk | chunk | …     |
//! ```
//!
//! The range is reserved without access rights and without memory behind it; a page (1 MiB) gets
//! both when it is first used. The base never moves, so that `-m` can change while running.
//!
//! A chunk is named by an [`ItemId`]: its offset in units of 8 bytes (16, 32 or 64 in arenas above
//! 32, 64 and 128 GiB), plus one. Ids, not addresses, are kept in the index, in LRU links and in
//! chunk chains: 4 bytes instead of 8, and nothing to fix up when the arena is mapped elsewhere.
//!
//! This module knows sizes and addresses. It does not know keys, expiry, LRU order or locks.
//!
//! # Invariants
//!
//! The `SAFETY:` notes here and in [`crate::item`] refer to these:
//!
//! - **A1 committed**: every [`ItemId`] in circulation names a place in a committed page, and a
//!   page stays mapped until the arena is dropped. (Ids are made by [`Arena::id`] alone, which
//!   checks it; every access checks the bound again.)
//! - **A2 quiet bytes**: the payload of a chunk changes only while nobody else can read it: while
//!   it belongs to a `Draft` or `Reservation`, or under the shard lock while the index holds the
//!   only reference.
//! - **A3 initialised**: all bytes of a committed page are initialised: the system hands out zeroes.
//! - **A4 header words**: the header of a chunk is only ever accessed as the atomics of
//!   [`Arena::word`] and [`Arena::word64`], and what lies behind it never is. Where the header ends
//!   is settled by what the chunk is (an item, a link of a chain) and changes only while one
//!   thread owns the chunk.

mod class;
mod prefetch;
mod slabs;

use std::num::NonZeroU32;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use nuthatch_types::limits::PAGE_BYTES;
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags};

pub(crate) use class::{CLASSES_MAX, ClassId, Ladder};
pub(crate) use prefetch::prefetch;
pub(crate) use slabs::Slabs;

/// The largest arena: 2^32 units of 64 bytes.
pub(crate) const RESERVE_BYTES_MAX: usize = 256 << 30;

/// What the headers of items and chunks need at most; no chunk is smaller.
pub(crate) const HEADER_BYTES_MAX: usize = 32;

/// The name of a chunk; see the module documentation.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct ItemId(NonZeroU32);

impl ItemId {
    /// How an id, or none, is written into a header word.
    pub(crate) fn to_word(id: Option<Self>) -> u32 {
        id.map_or(0, |id| id.0.get())
    }

    /// What [`to_word`](Self::to_word) wrote.
    pub(crate) fn from_word(word: u32) -> Option<Self> {
        NonZeroU32::new(word).map(Self)
    }
}

/// The reserved range and the state of its pages.
#[derive(Debug)]
pub(crate) struct Arena {
    base: NonNull<u8>,
    reserve_bytes: usize,
    /// Ids count in units of `1 << shift` bytes.
    shift: u32,
    /// Pages below this number are committed. Grows only.
    committed: AtomicUsize,
    /// The class that owns each page; 0 is nobody.
    classes: Box<[AtomicU8]>,
}

// The base pointer is to memory that is shared through atomics and, for payload, through A2.
#[expect(unsafe_code, reason = "the range is plain memory; A2 and A4 rule its sharing")]
// SAFETY: A2 and A4: nothing in the range belongs to a thread.
unsafe impl Send for Arena {}
#[expect(unsafe_code, reason = "the range is plain memory; A2 and A4 rule its sharing")]
// SAFETY: A2 and A4: header words are atomics, payload is shared only while it is quiet.
unsafe impl Sync for Arena {}

impl Arena {
    /// How many bytes an id counts in, for a memory limit.
    pub(crate) fn unit_bytes(limit: usize) -> usize {
        // Twice the limit, so that `-m` can be raised while running.
        let shift = (3..6).find(|shift| limit <= (1 << 32 << shift) / 2).unwrap_or(6);
        1 << shift
    }

    /// Reserves the address range for a memory limit.
    pub(crate) fn reserve(limit: usize) -> Result<Self, (usize, std::io::Error)> {
        let shift = Self::unit_bytes(limit).trailing_zeros();
        let all = 1usize << 32 << shift;
        // Room for one page a class beyond the limit, and all that ids can name where the address
        // space is not limited (`ulimit -v`).
        let least = limit.next_multiple_of(PAGE_BYTES) + CLASSES_MAX * PAGE_BYTES;
        let (base, reserve_bytes) = match map_reserved(all) {
            Ok(base) => (base, all),
            Err(_) => (map_reserved(least).map_err(|error| (least, error))?, least),
        };
        let pages = reserve_bytes / PAGE_BYTES;
        Ok(Self {
            base,
            reserve_bytes,
            shift,
            committed: AtomicUsize::new(0),
            classes: (0..pages).map(|_| AtomicU8::new(0)).collect(),
        })
    }

    /// How many pages the range has room for.
    pub(crate) fn pages_max(&self) -> usize {
        self.classes.len()
    }

    /// Gives memory to the lowest page that has none; its bytes are zero. `None` when the range
    /// is used up or the system refuses. The caller holds the page pool's lock.
    #[expect(unsafe_code, reason = "changes the protection of reserved memory")]
    pub(crate) fn commit_next(&self) -> Option<u32> {
        let page = self.committed.load(Ordering::Relaxed);
        // The last page is left out: the id of its last unit would not fit 32 bits.
        if page + 1 >= self.pages_max() {
            return None;
        }
        let start = self.base.as_ptr().wrapping_add(page * PAGE_BYTES);
        let flags = MprotectFlags::READ | MprotectFlags::WRITE;
        // SAFETY: `page` is inside the range this arena reserved, and nothing uses it yet (A1).
        unsafe { rustix::mm::mprotect(start.cast(), PAGE_BYTES, flags) }.ok()?;
        self.committed.store(page + 1, Ordering::Release);
        u32::try_from(page).ok()
    }

    /// The class that owns a page.
    pub(crate) fn class_of(&self, page: u32) -> Option<ClassId> {
        match self.classes[page as usize].load(Ordering::Relaxed) {
            0 => None,
            number => Some(ClassId::new(usize::from(number))),
        }
    }

    /// Hands a page that nobody owns to a class. The caller holds the page pool's lock.
    pub(crate) fn set_class(&self, page: u32, class: ClassId) {
        self.classes[page as usize].store(class.number(), Ordering::Relaxed);
    }

    /// The id of the chunk that begins `offset` bytes into a page.
    pub(crate) fn id(&self, page: u32, offset: usize) -> ItemId {
        let at = page as usize * PAGE_BYTES + offset;
        assert!(
            offset < PAGE_BYTES && (page as usize) < self.committed.load(Ordering::Acquire),
            "ids name committed memory"
        );
        debug_assert!(at.is_multiple_of(1 << self.shift));
        let units = u32::try_from(at >> self.shift).expect("the range has at most 2^32 units");
        ItemId(NonZeroU32::MIN.checked_add(units).expect("the last page is never committed"))
    }

    /// Where a chunk lies: its page, and its offset in the page.
    pub(crate) fn place(&self, id: ItemId) -> (u32, usize) {
        let at = self.offset(id);
        #[expect(clippy::cast_possible_truncation, reason = "at most 2^38 / 2^20 pages")]
        let page = (at / PAGE_BYTES) as u32;
        (page, at % PAGE_BYTES)
    }

    /// The class of the page a chunk lies in.
    pub(crate) fn class(&self, id: ItemId) -> ClassId {
        self.class_of(self.place(id).0).expect("a chunk in circulation lies in a page of a class")
    }

    /// Header word `n` (4 bytes each) of a chunk.
    #[expect(unsafe_code, reason = "makes a reference into the arena")]
    #[inline]
    pub(crate) fn word(&self, id: ItemId, n: usize) -> &AtomicU32 {
        debug_assert!(n < HEADER_BYTES_MAX / 4);
        let address = self.address(id, n * 4, 4).cast::<AtomicU32>();
        debug_assert!(address.is_aligned());
        // SAFETY: A1 and the bound that `address` checks make it mapped, A3 initialised; units are
        // at least 8 bytes, so it is aligned; A4 makes all access to it atomic.
        unsafe { &*address }
    }

    /// Header double word `n` (8 bytes each) of a chunk.
    #[expect(unsafe_code, reason = "makes a reference into the arena")]
    #[inline]
    pub(crate) fn word64(&self, id: ItemId, n: usize) -> &AtomicU64 {
        debug_assert!(n < HEADER_BYTES_MAX / 8);
        let address = self.address(id, n * 8, 8).cast::<AtomicU64>();
        debug_assert!(address.is_aligned());
        // SAFETY: as in `word`; units of 8 bytes align a double word.
        unsafe { &*address }
    }

    /// Payload bytes of a chunk.
    ///
    /// # Safety
    ///
    /// For the life of the result the caller keeps A2 for these bytes: it holds a reference to the
    /// item or its shard lock, or, for the key alone, the lock of the list it is in. `at` is behind
    /// the header.
    #[expect(unsafe_code, reason = "makes a reference into the arena")]
    #[inline]
    pub(crate) unsafe fn bytes(&self, id: ItemId, at: usize, len: usize) -> &[u8] {
        let address = self.address(id, at, len);
        // SAFETY: A1 and the bound that `address` checks, A3; the caller keeps A2; A4 keeps
        // payload apart from the atomics.
        unsafe { std::slice::from_raw_parts(address, len) }
    }

    /// Payload bytes of a chunk, to write.
    ///
    /// # Safety
    ///
    /// For the life of the result nobody else reads or writes these bytes: the caller owns the
    /// chunk (it is in no index, chain or list), or holds the shard lock while the index holds the
    /// only reference. `at` is behind the header.
    #[expect(unsafe_code, reason = "makes a reference into the arena")]
    #[expect(clippy::mut_from_ref, reason = "the contract above makes it the only one")]
    #[inline]
    pub(crate) unsafe fn bytes_mut(&self, id: ItemId, at: usize, len: usize) -> &mut [u8] {
        let address = self.address(id, at, len);
        // SAFETY: A1 and the bound that `address` checks, A3; the caller is alone (A2); A4.
        unsafe { std::slice::from_raw_parts_mut(address, len) }
    }

    fn offset(&self, id: ItemId) -> usize {
        ((id.0.get() - 1) as usize) << self.shift
    }

    /// The address of `len` bytes at `at` in a chunk.
    #[inline]
    fn address(&self, id: ItemId, at: usize, len: usize) -> *mut u8 {
        let offset = self.offset(id) + at;
        // A page is owned as a whole, so that staying below the committed ones is staying in
        // memory that is mapped; this check costs a compare and has the last word.
        assert!(
            offset + len <= self.committed.load(Ordering::Relaxed) * PAGE_BYTES,
            "an id names committed memory"
        );
        self.base.as_ptr().wrapping_add(offset)
    }
}

impl Drop for Arena {
    #[expect(unsafe_code, reason = "gives the range back")]
    fn drop(&mut self) {
        // SAFETY: this is the range `reserve` mapped; every borrow of the arena has ended.
        let done = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.reserve_bytes) };
        debug_assert!(done.is_ok(), "munmap of our own mapping");
    }
}

/// Reserves address space without rights or memory.
#[expect(unsafe_code, reason = "maps memory")]
fn map_reserved(bytes: usize) -> Result<NonNull<u8>, std::io::Error> {
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
    // SAFETY: a new anonymous mapping at an address of the system's choice touches nothing.
    let base = unsafe {
        rustix::mm::mmap_anonymous(std::ptr::null_mut(), bytes, ProtFlags::empty(), flags)
    }?;
    Ok(NonNull::new(base.cast()).expect("mmap never gives the null address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_name_places_and_back() {
        let arena = Arena::reserve(64 << 20).unwrap();
        assert_eq!(arena.commit_next(), Some(0));
        assert_eq!(arena.commit_next(), Some(1));
        for place in [(0, 0), (0, 96), (1, 0), (1, PAGE_BYTES - 8)] {
            assert_eq!(arena.place(arena.id(place.0, place.1)), place);
        }
    }

    #[test]
    #[should_panic(expected = "an id names committed memory")]
    fn reading_past_the_committed_pages_is_caught() {
        let arena = Arena::reserve(64 << 20).unwrap();
        let page = arena.commit_next().unwrap();
        arena.word(arena.id(page, PAGE_BYTES - 8), 3);
    }

    #[test]
    fn larger_limits_count_in_larger_units() {
        assert_eq!(Arena::unit_bytes(64 << 20), 8);
        assert_eq!(Arena::unit_bytes(16 << 30), 8);
        assert_eq!(Arena::unit_bytes(17 << 30), 16);
        assert_eq!(Arena::unit_bytes(64 << 30), 32);
        assert_eq!(Arena::unit_bytes(200 << 30), 64);
    }
}
