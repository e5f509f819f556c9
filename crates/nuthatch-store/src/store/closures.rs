//! The rule for closures that run under a lock: they must not call the store that runs them.
//!
//! A closure given to [`Store::get`](crate::Store::get) and its relatives, and a listener, run
//! under the lock of an index shard, a listener at times under an LRU queue's too. A call of the
//! same store from there waits for a lock that its own thread has: for ever, but only for the keys
//! that happen to share it. Debug builds therefore keep a note, thread by thread, of the stores
//! that are running a closure, and panic on every such call, whatever its key. In release builds
//! there is nothing here.
//!
//! A closure may call another store: a second tier, say. A store is known by the address of its
//! index.

#[cfg(debug_assertions)]
use std::cell::RefCell;

#[cfg(debug_assertions)]
thread_local! {
    /// The stores whose closures this thread is in, the innermost last.
    static LENDERS: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// Runs a closure of a store's user under the store's lock.
#[inline]
pub(crate) fn lend<R>(index: &crate::index::Index, f: impl FnOnce() -> R) -> R {
    #[cfg(debug_assertions)]
    let _lender = Lender::enter(index);
    #[cfg(not(debug_assertions))]
    let _ = index;
    f()
}

/// Panics, in debug builds, on a call of a store from inside one of its closures.
#[inline]
pub(crate) fn assert_outside(index: &crate::index::Index) {
    #[cfg(debug_assertions)]
    LENDERS.with_borrow(|lenders| {
        let called_from_inside = lenders.contains(&std::ptr::from_ref(index).addr());
        assert!(!called_from_inside, "a closure that runs under a store's lock calls the store");
    });
    #[cfg(not(debug_assertions))]
    let _ = index;
}

/// Takes a store off the list when its closure returns or panics.
#[cfg(debug_assertions)]
struct Lender;

#[cfg(debug_assertions)]
impl Lender {
    fn enter(index: &crate::index::Index) -> Self {
        LENDERS.with_borrow_mut(|lenders| lenders.push(std::ptr::from_ref(index).addr()));
        Self
    }
}

#[cfg(debug_assertions)]
impl Drop for Lender {
    fn drop(&mut self) {
        LENDERS.with_borrow_mut(Vec::pop);
    }
}
