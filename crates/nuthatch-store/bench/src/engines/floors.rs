//! What bounds the others from below: `null`, the harness's own cost, and `hashbrown`, a map of one
//! thread that never evicts.

use std::cell::RefCell;

use hashbrown::HashMap;

use crate::engine::{Engine, Made};

struct Null;

impl Engine for Null {
    fn get(&self, key: &[u8], seen: &mut dyn FnMut(&[u8])) -> bool {
        seen(key);
        true
    }

    fn set(&self, _: &[u8], _: &[u8], _: u32) {}

    fn delete(&self, _: &[u8]) {}
}

type Map = HashMap<Box<[u8]>, Box<[u8]>, ahash::RandomState>;

#[derive(Default)]
struct Hashbrown(RefCell<Map>);

impl Engine for Hashbrown {
    fn get(&self, key: &[u8], seen: &mut dyn FnMut(&[u8])) -> bool {
        self.0.borrow().get(key).map(|value| seen(value)).is_some()
    }

    fn set(&self, key: &[u8], value: &[u8], _: u32) {
        self.0.borrow_mut().insert(key.into(), value.into());
    }

    fn delete(&self, key: &[u8]) {
        self.0.borrow_mut().remove(key);
    }

    fn len(&self) -> Option<u64> {
        Some(self.0.borrow().len() as u64)
    }
}

pub(super) fn make(name: &str) -> Option<Made> {
    Some(match name {
        "null" => Made::Shared(Box::new(Null)),
        "hashbrown" => Made::Single(Box::new(Hashbrown::default())),
        _ => return None,
    })
}
