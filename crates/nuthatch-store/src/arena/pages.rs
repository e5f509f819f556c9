//! The page table: for each page of the arena, the class that owns it and its free chunks.
//!
//! It is one mapping beside the arena's, long enough for every page the range has room for. Only
//! the part that describes pages in use is ever touched, so that the rest costs no memory: the
//! table of a 64 MiB store in a 32 GiB range takes 4 KiB.
//!
//! ```text
//!  | class u8 | class u8 | …  (dense: reads of items look here)  | Page | Page | …
//! ```

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU32};

use rustix::mm::{MapFlags, ProtFlags};

/// A page's chunks, guarded by the lock of the class that owns the page.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Page {
    /// The first free chunk (an id word).
    pub(crate) free: AtomicU32,
    /// Chunks on the free list.
    pub(crate) n_free: AtomicU32,
    /// Chunks ever cut from the page; those behind have never been touched.
    pub(crate) n_cut: AtomicU32,
    /// Neighbours in the class's list of pages that have something to give: page number plus one.
    pub(crate) prev: AtomicU32,
    pub(crate) next: AtomicU32,
}

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct PageTable {
    base: NonNull<u8>,
    n_pages: usize,
}

#[expect(unsafe_code, reason = "the table is atomics")]
// SAFETY: A5: everything in the mapping is an atomic.
unsafe impl Send for PageTable {}
#[expect(unsafe_code, reason = "the table is atomics")]
// SAFETY: A5: everything in the mapping is an atomic.
unsafe impl Sync for PageTable {}

impl PageTable {
    /// A table of zeroes: pages without owner and without chunks.
    #[expect(unsafe_code, reason = "maps memory")]
    pub(crate) fn new(n_pages: usize) -> Result<Self, std::io::Error> {
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        let rights = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new anonymous mapping at an address of the system's choice touches nothing.
        let base = unsafe {
            rustix::mm::mmap_anonymous(std::ptr::null_mut(), Self::bytes(n_pages), rights, flags)
        }?;
        let base = NonNull::new(base.cast()).expect("mmap never gives the null address");
        Ok(Self { base, n_pages })
    }

    fn pages_at(n_pages: usize) -> usize {
        n_pages.next_multiple_of(align_of::<Page>())
    }

    fn bytes(n_pages: usize) -> usize {
        Self::pages_at(n_pages) + n_pages * size_of::<Page>()
    }

    pub(crate) fn len(&self) -> usize {
        self.n_pages
    }

    /// The owner of each page; 0 is nobody.
    #[expect(unsafe_code, reason = "makes references into the table")]
    #[inline]
    pub(crate) fn classes(&self) -> &[AtomicU8] {
        // SAFETY: A5: the first `n_pages` bytes of the mapping, which lives as long as `self`.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr().cast(), self.n_pages) }
    }

    /// A page's chunks.
    #[expect(unsafe_code, reason = "makes references into the table")]
    pub(crate) fn page(&self, number: u32) -> &Page {
        let at = Self::pages_at(self.n_pages);
        #[expect(clippy::cast_ptr_alignment, reason = "`pages_at` rounds up to the alignment")]
        let first = self.base.as_ptr().wrapping_add(at).cast::<Page>();
        // SAFETY: A5: behind the classes, aligned, come `n_pages` of them, zeroes at first, which
        // is what `Page` begins as.
        let pages = unsafe { std::slice::from_raw_parts(first, self.n_pages) };
        &pages[number as usize]
    }
}

impl Drop for PageTable {
    #[expect(unsafe_code, reason = "gives the table back")]
    fn drop(&mut self) {
        // SAFETY: this is the mapping `new` made; every borrow of the table has ended.
        let done =
            unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), Self::bytes(self.n_pages)) };
        debug_assert!(done.is_ok(), "munmap of our own mapping");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;

    #[test]
    fn both_halves_of_the_table_are_apart() {
        for n_pages in [1, 3, 64, 1001] {
            let table = PageTable::new(n_pages).unwrap();
            table.classes().iter().for_each(|class| class.store(0xff, Relaxed));
            let last = table.page(u32::try_from(n_pages - 1).unwrap());
            assert_eq!(table.page(0).free.load(Relaxed), 0);
            last.next.store(7, Relaxed);
            assert_eq!(table.classes()[n_pages - 1].load(Relaxed), 0xff);
        }
    }
}
