//! `debugtime`, `debugitem` and `misbehave`: what memcached has in its debug build only, for its own tests.
//! Served where `-o relaxed_privileges` is given, which those tests do.
//!
//! `debugitem lock` keeps an item's index shard locked until `debugitem unlock`, by a thread of its
//! own that stays inside the lookup. Everybody who asks for a key of that shard meanwhile waits,
//! workers included; that is what the command is for, and why nobody else has it.

use std::collections::HashMap;
use std::net::{Ipv4Addr, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};

use nuthatch_proto::{DebugItem, DebugTime, Outcome, Reply};
use nuthatch_store::types::Key;
use nuthatch_store::{ItemGuard, Store};
use parking_lot::Mutex;

use super::{Engine, ItemPin};

/// How many shards may be kept locked.
const LOCKS_MAX: usize = 16;

/// How many references may be kept.
const REFS_MAX: usize = 1 << 16;

/// What a command for an item gets that is not there.
const MISS: &str = "MISS";

/// The key that stands for the last reference taken.
const LAST_REF: &[u8] = b"reffed";

/// What debugging commands hold.
#[derive(Debug, Default)]
pub(super) struct Holds {
    /// The threads that hold shards; each ends when its sender is dropped.
    locks: Arc<Mutex<HashMap<Vec<u8>, Sender<()>>>>,
    /// The latest last.
    refs: Mutex<Vec<(Vec<u8>, ItemGuard)>>,
}

impl Engine {
    pub(super) fn debug_time(&self, change: DebugTime, reply: &mut Reply<'_, ItemPin>) {
        let Some(maintenance) = &self.shared.maintenance else {
            reply.error("ERROR");
            return;
        };
        let clock = maintenance.clock();
        match change {
            DebugTime::Pause => clock.pause(),
            DebugTime::Resume => clock.resume(),
            DebugTime::Move(secs) => clock.advance(secs),
        }
        self.store.set_clock(clock.read());
        reply.line("OK");
    }

    pub(super) fn debug_item(
        &self,
        action: DebugItem,
        key: &[u8],
        reply: &mut Reply<'_, ItemPin>,
    ) -> Outcome {
        let holds = &self.shared.holds;
        let answer = match (action, Key::new(key)) {
            (DebugItem::Lock, Ok(_)) => return holds.lock(&self.store, key, reply),
            (DebugItem::Unlock, Ok(_)) => holds.locks.lock().remove(key).map(drop).is_some(),
            (DebugItem::Ref, Ok(name)) => {
                let guard = self.store.peek(name, |item, _| item.pin()).flatten();
                guard.is_some_and(|guard| holds.keep(key, guard))
            }
            (DebugItem::Unref, Ok(_)) => holds.forget(key),
            (_, Err(_)) => false,
        };
        reply.line(if answer { "OK" } else { MISS });
        Outcome::Done
    }
}

/// `misbehave`: does what somebody would who has got into the process, makes a socket and starts a
/// program. `OK` says that neither was possible; under `-o drop_privileges` there is no answer,
/// because the first attempt ends the process.
pub(super) fn misbehave(reply: &mut Reply<'_, ItemPin>) {
    let is_socket_made = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).is_ok();
    let is_program_run = Command::new("sh").args(["-c", "sleep 0"]).status().is_ok();
    if is_socket_made || is_program_run {
        reply.error("ERROR");
    } else {
        reply.line("OK");
    }
}

impl Holds {
    /// Answers when the shard is locked, which may have to wait for whoever else holds it.
    fn lock(&self, store: &Store, key: &[u8], reply: &mut Reply<'_, ItemPin>) -> Outcome {
        let (release, released) = mpsc::channel::<()>();
        let mut locks = self.locks.lock();
        if locks.len() >= LOCKS_MAX || locks.contains_key(key) {
            reply.error("ERROR");
            return Outcome::Done;
        }
        locks.insert(key.to_vec(), release);
        drop(locks);
        let mut later = Some(reply.later());
        let (store, key) = (store.clone(), key.to_vec());
        let locks = Arc::clone(&self.locks);
        let hold = move || {
            let Ok(name) = Key::new(&key) else { return };
            store.peek(name, |_, _| {
                if let Some(later) = later.take() {
                    later.answer(|reply| reply.line("OK"));
                }
                // Nothing is ever sent: the end of the channel is the signal.
                let _ = released.recv();
            });
            if let Some(later) = later.take() {
                locks.lock().remove(&key);
                later.answer(|reply| reply.line(MISS));
            }
        };
        // Where there is no thread, the duty to answer is dropped, and that is an answer.
        let _ = std::thread::Builder::new().name("nuthatch-debug".to_owned()).spawn(hold);
        Outcome::Pending
    }

    /// Keeps a reference; false where there are too many.
    fn keep(&self, key: &[u8], guard: ItemGuard) -> bool {
        let mut refs = self.refs.lock();
        let is_room = refs.len() < REFS_MAX;
        if is_room {
            refs.push((key.to_vec(), guard));
        }
        is_room
    }

    /// Drops the last reference to an item of that key; false where there is none.
    fn forget(&self, key: &[u8]) -> bool {
        let mut refs = self.refs.lock();
        let is_it = |(of, _): &(Vec<u8>, ItemGuard)| key == LAST_REF || of == key;
        let guard = refs.iter().rposition(is_it).map(|at| refs.remove(at));
        drop(refs);
        guard.is_some()
    }
}
