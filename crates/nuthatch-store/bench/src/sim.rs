//! Yardsticks for hit ratios: policies on paper, which hold ids and sizes and no bytes.
//!
//! `sim:lru`; `sim:mcslru`, memcached's segmented LRU done at once; `sim:s3fifo`, which promotes at
//! the first hit; `sim:belady`, which knows the future (objects of one size only). With `-px` at
//! the end of the name, expired items give their space back at once.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use crate::Result;
use crate::hits::Tally;
use crate::trace::{DELETE, SET, Trace};

const NONE: u32 = u32::MAX;

/// An object and its place in one of the lists; list 0 is none.
#[derive(Clone, Copy)]
struct Node {
    prev: u32,
    next: u32,
    size: u64,
    list: u8,
    /// Hits that still count, or memcached's two marks.
    marks: u8,
}

#[derive(Clone, Copy)]
struct List {
    head: u32,
    tail: u32,
    bytes: u64,
    n: u64,
}

struct Lists {
    nodes: Vec<Node>,
    lists: [List; 4],
}

impl Lists {
    fn new(n_objects: u32) -> Self {
        let node = Node { prev: NONE, next: NONE, size: 0, list: 0, marks: 0 };
        let list = List { head: NONE, tail: NONE, bytes: 0, n: 0 };
        Self { nodes: vec![node; n_objects as usize], lists: [list; 4] }
    }

    fn node(&mut self, id: u32) -> &mut Node {
        &mut self.nodes[id as usize]
    }

    fn push(&mut self, to: u8, id: u32) {
        let list = &mut self.lists[usize::from(to)];
        let node = &mut self.nodes[id as usize];
        (node.list, node.prev, node.next) = (to, NONE, list.head);
        list.bytes += node.size;
        list.n += 1;
        let head = std::mem::replace(&mut list.head, id);
        if head == NONE {
            list.tail = id;
        } else {
            self.nodes[head as usize].prev = id;
        }
    }

    fn unlink(&mut self, id: u32) {
        let node = self.nodes[id as usize];
        let list = &mut self.lists[usize::from(node.list)];
        list.bytes -= node.size;
        list.n -= 1;
        if node.prev == NONE {
            list.head = node.next;
        } else {
            self.nodes[node.prev as usize].next = node.next;
        }
        if node.next == NONE {
            list.tail = node.prev;
        } else {
            self.nodes[node.next as usize].prev = node.prev;
        }
        self.nodes[id as usize].list = 0;
    }

    fn requeue(&mut self, to: u8, id: u32) {
        self.unlink(id);
        self.push(to, id);
    }

    fn tail(&self, list: u8) -> Option<u32> {
        let tail = self.lists[usize::from(list)].tail;
        (tail != NONE).then_some(tail)
    }

    fn bytes(&self, list: u8) -> u64 {
        self.lists[usize::from(list)].bytes
    }

    fn all_bytes(&self) -> u64 {
        self.lists.iter().map(|list| list.bytes).sum()
    }
}

trait Policy {
    fn lists(&mut self) -> &mut Lists;
    fn hit(&mut self, id: u32);
    /// Evicts one object.
    fn evict(&mut self);
    /// Takes an object for which there is room.
    fn insert(&mut self, id: u32);
}

struct Lru(Lists);

impl Policy for Lru {
    fn lists(&mut self) -> &mut Lists {
        &mut self.0
    }

    fn hit(&mut self, id: u32) {
        self.0.requeue(1, id);
    }

    fn evict(&mut self) {
        let tail = self.0.tail(1).expect("evicting from what is full");
        self.0.unlink(tail);
    }

    fn insert(&mut self, id: u32) {
        self.0.push(1, id);
    }
}

/// HOT, WARM and COLD as lists 1, 2 and 3, with memcached's shares and ages; it does at once what
/// memcached leaves to a thread.
struct McSlru {
    lists: Lists,
    /// When each object was last marked, in requests.
    marked: Vec<u32>,
    now: u32,
}

const FETCHED: u8 = 1;
const ACTIVE: u8 = 2;

impl McSlru {
    fn juggle(&mut self) {
        let total = self.lists.all_bytes();
        let age = |tail: u32| self.now - self.marked[tail as usize];
        let cold_age = self.lists.tail(3).map_or(0, age);
        for (list, share, factor) in [(1, total / 5, 0.2), (2, total * 2 / 5, 2.0)] {
            let oldest =
                if cold_age > 0 { (f64::from(cold_age) * factor) as u32 } else { u32::MAX };
            for _ in 0..500 {
                let Some(tail) = self.lists.tail(list) else { break };
                let is_old = self.now - self.marked[tail as usize] > oldest;
                if self.lists.node(tail).marks & ACTIVE != 0 {
                    self.lists.node(tail).marks &= !ACTIVE;
                    self.lists.requeue(2, tail);
                } else if is_old || self.lists.bytes(list) > share {
                    self.lists.requeue(3, tail);
                } else {
                    break;
                }
            }
        }
    }
}

impl Policy for McSlru {
    fn lists(&mut self) -> &mut Lists {
        &mut self.lists
    }

    fn hit(&mut self, id: u32) {
        self.now += 1;
        let node = self.lists.node(id);
        if node.marks & ACTIVE != 0 {
            return;
        }
        if node.marks & FETCHED == 0 {
            node.marks |= FETCHED;
            return;
        }
        self.marked[id as usize] = self.now;
        if node.list == 3 {
            self.lists.requeue(2, id);
        } else {
            node.marks |= ACTIVE;
        }
    }

    fn evict(&mut self) {
        self.juggle();
        let tails = [3, 1, 2].into_iter();
        let tail = tails.filter_map(|list| self.lists.tail(list)).next();
        self.lists.unlink(tail.expect("evicting from what is full"));
    }

    fn insert(&mut self, id: u32) {
        self.now += 1;
        self.marked[id as usize] = self.now;
        self.lists.node(id).marks = 0;
        self.lists.push(1, id);
    }
}

/// S3-FIFO: a small queue (list 1, a tenth), a main one (list 2), and the ids of as many objects as
/// main holds that left the small one without a hit.
struct S3Fifo {
    lists: Lists,
    capacity: u64,
    ghosts: VecDeque<(u32, u32)>,
    /// The number of an object's latest ghost; 0 if it has none.
    ghost: Vec<u32>,
    turn: u32,
}

impl S3Fifo {
    fn small(&self) -> u64 {
        (self.capacity / 10).max(1)
    }

    fn evict_main(&mut self) {
        while let Some(tail) = self.lists.tail(2) {
            if self.lists.node(tail).marks == 0 {
                self.lists.unlink(tail);
                return;
            }
            self.lists.node(tail).marks -= 1;
            self.lists.requeue(2, tail);
        }
    }

    fn remember(&mut self, id: u32) {
        self.turn += 1;
        self.ghost[id as usize] = self.turn;
        self.ghosts.push_back((id, self.turn));
        while self.ghosts.len() as u64 > self.lists.lists[2].n.max(16) {
            let (old, turn) = self.ghosts.pop_front().expect("longer than 16");
            if self.ghost[old as usize] == turn {
                self.ghost[old as usize] = 0;
            }
        }
    }
}

impl Policy for S3Fifo {
    fn lists(&mut self) -> &mut Lists {
        &mut self.lists
    }

    fn hit(&mut self, id: u32) {
        let node = self.lists.node(id);
        node.marks = (node.marks + 1).min(3);
    }

    fn evict(&mut self) {
        if self.lists.bytes(1) <= self.small() && self.lists.tail(2).is_some() {
            self.evict_main();
            return;
        }
        while let Some(tail) = self.lists.tail(1) {
            if self.lists.node(tail).marks == 0 {
                self.lists.unlink(tail);
                self.remember(tail);
                return;
            }
            self.lists.node(tail).marks = 0;
            self.lists.requeue(2, tail);
            if self.lists.bytes(2) > self.capacity - self.small() {
                self.evict_main();
                return;
            }
        }
    }

    fn insert(&mut self, id: u32) {
        self.lists.node(id).marks = 0;
        let was_seen = std::mem::take(&mut self.ghost[id as usize]) != 0;
        self.lists.push(if was_seen { 2 } else { 1 }, id);
    }
}

/// Replays a trace; `capacity` counts objects if they have no sizes, else bytes with `overhead` for
/// each.
pub(crate) fn run(name: &str, trace: &Trace, capacity: u64, overhead: u64) -> Result<Tally> {
    let (name, at_once) = name.strip_suffix("-px").map_or((name, false), |name| (name, true));
    let n = trace.n_objects;
    let lists = Lists::new(n);
    let mut policy: Box<dyn Policy> = match name {
        "belady" if trace.has_sizes() => return Err("belady is for objects of one size".into()),
        "belady" => return Ok(belady(trace, capacity as usize)),
        "lru" => Box::new(Lru(lists)),
        "mcslru" => Box::new(McSlru { lists, marked: vec![0; n as usize], now: 0 }),
        "s3fifo" => Box::new(S3Fifo {
            lists,
            capacity,
            ghosts: VecDeque::new(),
            ghost: vec![0; n as usize],
            turn: 0,
        }),
        _ => return Err(format!("no simulator {name}").into()),
    };
    let mut tally = Tally::default();
    let mut deadlines = vec![0; n as usize];
    let mut ends = BinaryHeap::new();
    for (at, &id) in trace.id.iter().enumerate() {
        let now = trace.time(at);
        while let Some(&Reverse((end, dead))) = ends.peek()
            && end <= now
        {
            ends.pop();
            if deadlines[dead as usize] == end && policy.lists().node(dead).list != 0 {
                policy.lists().unlink(dead);
            }
        }
        let op = trace.op(at);
        let is_here = policy.lists().node(id).list != 0;
        if op != SET && op != DELETE {
            let deadline = deadlines[id as usize];
            let is_hit = is_here && (deadline == 0 || deadline > now);
            tally.count(is_hit);
            if is_hit {
                policy.hit(id);
                continue;
            }
        }
        if is_here {
            policy.lists().unlink(id);
        }
        let size = if trace.has_sizes() {
            (trace.value_len(at) + trace.key_len(at)) as u64 + overhead
        } else {
            1
        };
        if op == DELETE || size > capacity {
            continue;
        }
        while policy.lists().all_bytes() + size > capacity {
            policy.evict();
        }
        policy.lists().node(id).size = size;
        policy.insert(id);
        deadlines[id as usize] = trace.deadline(at);
        if at_once && deadlines[id as usize] != 0 {
            ends.push(Reverse((deadlines[id as usize], id)));
        }
    }
    Ok(tally)
}

/// Belady's MIN: of what is held and what is asked for, lets go what is needed last.
fn belady(trace: &Trace, capacity: usize) -> Tally {
    let mut next = vec![NONE; trace.len()];
    let mut last = vec![NONE; trace.n_objects as usize];
    for (at, &id) in trace.id.iter().enumerate().rev() {
        next[at] = std::mem::replace(&mut last[id as usize], at as u32);
    }
    // The next use of each object held.
    let mut held = vec![NONE; trace.n_objects as usize];
    let mut by_use: BinaryHeap<(u32, u32)> = BinaryHeap::new();
    let mut n_held = 0;
    let mut tally = Tally::default();
    for (at, &id) in trace.id.iter().enumerate() {
        let mut is_held = held[id as usize] != NONE;
        tally.count(is_held);
        if !is_held && next[at] != NONE {
            while n_held >= capacity {
                let &(used, latest) = by_use.peek().expect("what is held is in the heap");
                if held[latest as usize] != used {
                    by_use.pop();
                } else if used > next[at] {
                    by_use.pop();
                    held[latest as usize] = NONE;
                    n_held -= 1;
                } else {
                    break;
                }
            }
            is_held = n_held < capacity;
            n_held += usize::from(is_held);
        }
        if is_held {
            held[id as usize] = next[at];
            if next[at] == NONE {
                n_held -= 1;
            } else {
                by_use.push((next[at], id));
            }
        }
    }
    tally
}
