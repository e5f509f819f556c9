//! The account of what leaves: what a listener is told, against what is in the store.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::{Builder, Cause, Store};

/// What was told of one item.
#[derive(Clone, Debug)]
struct Told {
    key: Vec<u8>,
    cas: u64,
    value: Vec<u8>,
    bytes: usize,
    cause: Cause,
}

/// Compares, step by step, what has left a store with what its listener was told.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    told: Arc<Mutex<Vec<Told>>>,
    /// What was in the store after the last step, the dead included: CAS number and value.
    before: HashMap<Vec<u8>, (u64, Vec<u8>)>,
    /// The CAS numbers of all items that were evicted.
    evicted: HashSet<u64>,
}

impl Ledger {
    /// Sets a listener for everything.
    pub(super) fn listen(&self, builder: Builder) -> Builder {
        let told = Arc::clone(&self.told);
        builder.listener(&Cause::ALL, move |item| {
            told.lock().push(Told {
                key: item.key().to_vec(),
                cas: item.cas().0,
                value: item.to_vec(),
                bytes: item.total_bytes(),
                cause: item.cause(),
            });
        })
    }

    /// Whether an item was told to have been evicted.
    pub(super) fn was_evicted(&self, cas: u64) -> bool {
        let is_it = |told: &Told| told.cas == cas && told.cause == Cause::Evicted;
        self.evicted.contains(&cas) || self.told.lock().iter().any(is_it)
    }

    /// The bytes of all that was told since the last step.
    pub(super) fn bytes_told(&self) -> usize {
        self.told.lock().iter().map(|told| told.bytes).sum()
    }

    /// Ends a step: everything that has left was told, once, as it was; and nothing else was.
    /// `in_place` for a step that may change an item where it stands.
    pub(super) fn check(&mut self, store: &Store, in_place: bool) {
        let mut told: HashMap<Vec<u8>, Told> = HashMap::new();
        for item in std::mem::take(&mut *self.told.lock()) {
            if item.cause == Cause::Evicted {
                self.evicted.insert(item.cas);
            }
            let before = told.insert(item.key.clone(), item);
            assert!(before.is_none(), "an item leaves once in a step: {before:?}");
        }
        let after = store.contents();
        for (key, (cas, value)) in &self.before {
            let now = after.get(key);
            match told.remove(key) {
                Some(told) => {
                    assert_eq!((&told.cas, &told.value), (cas, value), "told as it was");
                    // A delete that leaves an empty item leaves the CAS number too.
                    let is_replaced = told.cause == Cause::Replaced;
                    assert!(is_replaced || now.is_none_or(|now| now.0 != *cas), "it is gone");
                    assert!(!is_replaced || now.is_some());
                }
                None => {
                    let Some(now) = now else { panic!("{key:?} has left unheard") };
                    let is_same = now == &(*cas, value.clone());
                    assert!(is_same || in_place, "{key:?} was replaced unheard");
                }
            }
        }
        assert!(told.is_empty(), "what was not there was told to leave: {told:?}");
        self.before = after;
    }
}
