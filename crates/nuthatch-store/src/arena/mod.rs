//! The arena: one reserved address range, cut into pages, cut into chunks.
//!
//! ```text
//!  base                                                             base + reserve
//!   |- page 0 ------|- page 1 ------|- page 2 ------|- … not yet committed -----|
//!   | class 3       | class 17      | free          |
//!   | chunk | chunk | chunk | …     |
//! ```
//!
//! The range is reserved without access rights and without memory behind it; a page (1 MiB, or less
//! in the lean profile) gets both when it is first used. The base never moves, so that `-m` can
//! change while running; the memory of a page that nobody needs goes back to the system, its
//! address stays.
//!
//! A chunk is named by an [`ItemId`]: its offset in units of 8 bytes (16, 32 or 64 under limits above
//! 16, 32 and 64 GiB, 128 under one of 256 GiB), plus one. Ids, not addresses, are kept in the index, in LRU links and in
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
//!   checks it; every access checks the bound again.) An id that was kept without a lock or a
//!   reference may name what is no longer the same item, but never unmapped memory.
//! - **A2 quiet bytes**: the payload of a chunk changes only while nobody else can read it: while
//!   it belongs to a `Draft` or `Reservation`, or under the shard lock while the index holds the
//!   only reference.
//! - **A3 initialised**: all bytes of a committed page are initialised: the system hands out zeroes,
//!   at first and again after a page was given back.
//! - **A4 header words**: the header of a chunk is only ever accessed as the atomics of
//!   [`Arena::word`], [`Arena::head`] and [`Arena::word64`], and what lies behind it never is. Where the header ends
//!   is settled by what the chunk is (an item, a link of a chain) and changes only while one
//!   thread owns the chunk. A page changes its grid of chunks only while all of its chunks are free.
//! - **A5 page table**: the mapping beside the arena holds a byte and a [`Page`] for each page of
//!   the range and nothing else, all of it atomics, from the making of the arena to its drop.
//! - **A6 given back**: memory is given back only of a page that no class owns, which holds no item
//!   and no free chunk, so that no reference into it exists.

mod class;
mod pages;
mod prefetch;
mod slabs;

use std::num::NonZeroU32;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags};

pub(crate) use class::{CLASSES_MAX, COMPAT_CLASSES_MAX, ClassId, Ladder};
pub(crate) use pages::{Page, PageTable};
pub(crate) use prefetch::prefetch;
pub(crate) use slabs::{ChunkUse, Slabs, Which};

/// The highest memory limit a store is built with. Its range is of 2^32 units of 128 bytes.
pub(crate) const LIMIT_BYTES_MAX: usize = 256 << 30;

/// What the headers of items and chunks need at most; no chunk is smaller.
pub(crate) const HEADER_BYTES_MAX: usize = 32;

/// The words that the header of every item has; that of a link of a chain has fewer.
pub(crate) const HEAD_WORDS: usize = 6;

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

/// The unit of transparent huge pages.
const HUGE_BYTES: usize = 2 << 20;

/// What classes may have beyond the limit, and the last page: all in pages of 1 MiB.
const BEYOND_LIMIT_BYTES_MAX: usize = (CLASSES_MAX + 1) << 20;

/// How an arena is laid out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    /// The memory limit it begins with, in bytes.
    pub(crate) limit: usize,
    /// Bytes a page: a power of two.
    pub(crate) page_bytes: usize,
    /// Ask the system for huge pages (2 MiB), which are taken as a whole.
    pub(crate) huge: bool,
    /// Reserve no more than the limit needs.
    pub(crate) least: bool,
}

/// The reserved range and the state of its pages.
#[derive(Debug)]
pub(crate) struct Arena {
    base: NonNull<u8>,
    reserve_bytes: usize,
    /// What was mapped, of which the range is the aligned part.
    mapping: (NonNull<u8>, usize),
    /// Ids count in units of `1 << shift` bytes.
    shift: u32,
    page_shift: u32,
    /// Pages are committed by so many at a time.
    commit_pages: usize,
    /// Bytes below this are committed. Grows only.
    committed: AtomicUsize,
    table: PageTable,
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
        // Twice the limit, so that `-m` can be raised while running; from 128 GiB on what there is.
        let is_room = |shift: &u32| limit <= (1 << 32 << shift) / 2;
        let most = if limit + BEYOND_LIMIT_BYTES_MAX < 1 << 38 { 6 } else { 7 };
        1 << (3..6).find(is_room).unwrap_or(most)
    }

    /// What the range must have room for at the least: the limit, the first page of each class
    /// beyond it, and the last page, which has no names.
    fn reserve_bytes_min(limit: usize, page_bytes: usize) -> usize {
        (limit + (CLASSES_MAX + 1) * page_bytes).next_multiple_of(HUGE_BYTES)
    }

    /// Reserves the address range for a memory limit.
    pub(crate) fn reserve(layout: Layout) -> Result<Self, (usize, std::io::Error)> {
        let Layout { limit, page_bytes, huge, least: only_least } = layout;
        debug_assert!(page_bytes.is_power_of_two() && page_bytes <= HUGE_BYTES);
        let shift = Self::unit_bytes(limit).trailing_zeros();
        let all = if only_least { 0 } else { 1usize << 32 << shift };
        // All that ids can name, or what there must be where the address space is limited
        // (`ulimit -v`).
        let least = Self::reserve_bytes_min(limit, page_bytes);
        // As much again as an alignment may cost.
        let map = |bytes| map_reserved(bytes + HUGE_BYTES).map(|base| (base, bytes));
        let (start, reserve_bytes) =
            map(all.max(least)).or_else(|_| map(least)).map_err(|error| (least, error))?;
        let skip = start.as_ptr().align_offset(HUGE_BYTES);
        let base = NonNull::new(start.as_ptr().wrapping_add(skip)).expect("inside the mapping");
        let n_pages = reserve_bytes / page_bytes;
        let table = match PageTable::new(n_pages) {
            Ok(table) => table,
            Err(error) => {
                unmap(start, reserve_bytes + HUGE_BYTES);
                return Err((least, error));
            }
        };
        let arena = Self {
            base,
            reserve_bytes,
            mapping: (start, reserve_bytes + HUGE_BYTES),
            shift,
            page_shift: page_bytes.trailing_zeros(),
            commit_pages: if huge { HUGE_BYTES / page_bytes } else { 1 },
            committed: AtomicUsize::new(0),
            table,
        };
        if huge {
            arena.advise_huge();
        }
        Ok(arena)
    }

    #[expect(unsafe_code, reason = "advises the system on memory")]
    fn advise_huge(&self) {
        let all = (self.base.as_ptr().cast(), self.reserve_bytes);
        // SAFETY: this range is the arena's own, and the advice changes no byte of it.
        let done = unsafe { rustix::mm::madvise(all.0, all.1, Advice::LinuxHugepage) };
        // A kernel without huge pages serves small ones: slower and just as right.
        let _ = done;
    }

    /// How many pages the range has room for.
    pub(crate) fn pages_max(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn page_bytes(&self) -> usize {
        1 << self.page_shift
    }

    /// What is known of a page's chunks; guarded by the lock of the class that owns it.
    pub(crate) fn page(&self, page: u32) -> &Page {
        self.table.page(page)
    }

    /// Gives memory to a page that has never had any; its bytes are zero. False when the range is
    /// used up or the system refuses. The caller holds the page pool's lock.
    #[expect(unsafe_code, reason = "changes the protection of reserved memory")]
    #[must_use = "a page without memory must not be used"]
    pub(crate) fn commit(&self, page: u32) -> bool {
        // The last page is left out: the id of its last unit would not fit 32 bits.
        if page as usize + 1 >= self.pages_max() {
            return false;
        }
        let committed = self.committed.load(Ordering::Relaxed);
        let end = (page as usize + 1) << self.page_shift;
        if end <= committed {
            return true;
        }
        let bytes = (end - committed).next_multiple_of(self.commit_pages << self.page_shift);
        let bytes = bytes.min(self.reserve_bytes - committed);
        let start = self.base.as_ptr().wrapping_add(committed);
        let flags = MprotectFlags::READ | MprotectFlags::WRITE;
        // SAFETY: the bytes are inside the range this arena reserved, and nothing uses them (A1).
        if unsafe { rustix::mm::mprotect(start.cast(), bytes, flags) }.is_err() {
            return false;
        }
        self.committed.store(committed + bytes, Ordering::Release);
        true
    }

    /// Gives the memory of a page back to the system; its bytes are zero from here on, and cost
    /// memory again when they are next touched. The caller holds the page pool's lock and the page
    /// belongs to nobody.
    #[expect(unsafe_code, reason = "gives memory back")]
    pub(crate) fn give_back(&self, page: u32) {
        assert!(self.class_of(page).is_none(), "a page that is given back belongs to nobody");
        let at = (page as usize) << self.page_shift;
        assert!(at + self.page_bytes() <= self.committed.load(Ordering::Relaxed));
        let start = self.base.as_ptr().wrapping_add(at);
        let give = || {
            // SAFETY: A6: nothing refers to the page; the bound above keeps it in the range (A1).
            unsafe { rustix::mm::madvise(start.cast(), self.page_bytes(), Advice::LinuxDontNeed) }
        };
        if give().is_err() {
            // Memory that is locked (`-k`) is not given back until it is unlocked.
            // SAFETY: as above, and unlocking changes no byte.
            let unlocked = unsafe { rustix::mm::munlock(start.cast(), self.page_bytes()) };
            let given = unlocked.and_then(|()| give());
            debug_assert!(given.is_ok(), "madvise on our own mapping");
        }
    }

    /// The class that owns a page.
    #[inline]
    pub(crate) fn class_of(&self, page: u32) -> Option<ClassId> {
        match self.table.classes()[page as usize].load(Ordering::Relaxed) {
            0 => None,
            number => Some(ClassId::new(usize::from(number))),
        }
    }

    /// Says which class owns a page, or that none does. The caller holds the page pool's lock, and
    /// the page has no chunk in use.
    pub(crate) fn set_class(&self, page: u32, class: Option<ClassId>) {
        let number = class.map_or(0, ClassId::number);
        self.table.classes()[page as usize].store(number, Ordering::Relaxed);
    }

    /// The id of the chunk that begins `offset` bytes into a page.
    pub(crate) fn id(&self, page: u32, offset: usize) -> ItemId {
        let at = ((page as usize) << self.page_shift) + offset;
        assert!(
            offset < self.page_bytes() && at < self.committed.load(Ordering::Acquire),
            "ids name committed memory"
        );
        debug_assert!(at.is_multiple_of(1 << self.shift));
        let units = u32::try_from(at >> self.shift).expect("the range has at most 2^32 units");
        ItemId(NonZeroU32::MIN.checked_add(units).expect("the last page is never committed"))
    }

    /// Where in its page a chunk begins, in bytes.
    pub(crate) fn offset_in_page(&self, id: ItemId) -> usize {
        self.offset(id) & (self.page_bytes() - 1)
    }

    /// The page a chunk lies in.
    #[inline]
    pub(crate) fn page_of(&self, id: ItemId) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "at most 2^39 / 2^16 pages")]
        let page = (self.offset(id) >> self.page_shift) as u32;
        page
    }

    /// The class of the page a chunk lies in.
    #[inline]
    pub(crate) fn class(&self, id: ItemId) -> ClassId {
        self.class_of(self.page_of(id)).expect("a chunk in circulation lies in a page of a class")
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

    /// The first words of an item's header, for those who read several.
    #[expect(unsafe_code, reason = "makes a reference into the arena")]
    #[inline]
    pub(crate) fn head(&self, id: ItemId) -> &[AtomicU32; HEAD_WORDS] {
        let address = self.address(id, 0, HEAD_WORDS * 4).cast::<[AtomicU32; HEAD_WORDS]>();
        debug_assert!(address.is_aligned());
        // SAFETY: as in `word`, for each of them; an item's header has no fewer (A4).
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
    /// item or its shard lock, or the lock of the list it is in: for the key, and for where a chain
    /// begins, which the page mover changes under that lock too. `at` is behind the header.
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

    #[inline]
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
            offset + len <= self.committed.load(Ordering::Relaxed),
            "an id names committed memory"
        );
        self.base.as_ptr().wrapping_add(offset)
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        unmap(self.mapping.0, self.mapping.1);
    }
}

/// Gives a mapping of ours back, when nothing refers to it any more.
#[expect(unsafe_code, reason = "gives the range back")]
fn unmap(start: NonNull<u8>, bytes: usize) {
    // SAFETY: this is a range that `map_reserved` made, given back once, by the drop of its arena
    // or before there was one: every borrow of it has ended.
    let done = unsafe { rustix::mm::munmap(start.as_ptr().cast(), bytes) };
    debug_assert!(done.is_ok(), "munmap of our own mapping");
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
pub(crate) mod tests {
    use nuthatch_types::limits::PAGE_BYTES;

    use super::*;

    /// An arena of 1 MiB pages.
    pub(crate) fn arena(limit: usize) -> Arena {
        let page_bytes = PAGE_BYTES;
        Arena::reserve(Layout { limit, page_bytes, huge: false, least: false }).unwrap()
    }

    #[test]
    fn ids_name_places() {
        let arena = arena(64 << 20);
        assert!(arena.commit(0) && arena.commit(1));
        for (page, offset) in [(0, 0), (0, 96), (1, 0), (1, PAGE_BYTES - 8)] {
            let id = arena.id(page, offset);
            assert_eq!(arena.page_of(id), page);
            assert_eq!(arena.offset(id), page as usize * PAGE_BYTES + offset);
        }
    }

    #[test]
    #[should_panic(expected = "an id names committed memory")]
    fn reading_past_the_committed_pages_is_caught() {
        let arena = arena(64 << 20);
        assert!(arena.commit(0));
        arena.word(arena.id(0, PAGE_BYTES - 8), 3);
    }

    #[test]
    fn a_page_given_back_is_zero_again() {
        for huge in [false, true] {
            let layout = Layout { limit: 64 << 20, page_bytes: PAGE_BYTES, huge, least: false };
            let arena = Arena::reserve(layout).unwrap();
            assert!(arena.commit(0));
            let id = arena.id(0, 96);
            arena.word(id, 0).store(7, Ordering::Relaxed);
            arena.give_back(0);
            assert_eq!(arena.word(id, 0).load(Ordering::Relaxed), 0);
        }
    }

    #[test]
    fn larger_limits_count_in_larger_units() {
        assert_eq!(Arena::unit_bytes(64 << 20), 8);
        assert_eq!(Arena::unit_bytes(16 << 30), 8);
        assert_eq!(Arena::unit_bytes(17 << 30), 16);
        assert_eq!(Arena::unit_bytes(64 << 30), 32);
        assert_eq!(Arena::unit_bytes(200 << 30), 64);
        assert_eq!(Arena::unit_bytes(255 << 30), 64);
        assert_eq!(Arena::unit_bytes(256 << 30), 128);
    }

    #[test]
    fn every_range_has_room_beyond_the_limit() {
        for limit in [1 << 20, 64 << 20, 100 << 30, 255 << 30, 256 << 30] {
            for page_bytes in [64 << 10, PAGE_BYTES] {
                let least = Arena::reserve_bytes_min(limit, page_bytes);
                assert!(least <= Arena::unit_bytes(limit) << 32, "{limit} can be named");
                // What `Store::set_memory_limit` asks for, where there is no more than the least.
                assert!(limit / page_bytes + CLASSES_MAX < least / page_bytes, "{limit}");
            }
        }
    }
}
