//! Items in memory: the header, the payload behind it, and who may touch which byte when.
//!
//! ```text
//!  0 state  u32   flags:16 | references:16            (see `refs`)
//!  4 prev   u32 \ LRU links: ids of the neighbours     guarded by the LRU lock of the queue
//!  8 next   u32 /
//! 12 time   u32   last stored or bumped, store clock   \
//! 16 expiry u32   deadline, store clock; 0 is never     > written under the shard lock
//! 20 length u32   value:24 | key:8                     /
//! 24 cas    u64   absent in stores without CAS
//! 32 flags  u32   the client's; only where not 0
//!    key    1 to 250 bytes
//!    value  (or, for a chained item: its length u32, its first chunk u32)
//! ```
//!
//! That is 32 bytes before the key, where memcached has 56, a NUL behind the key and a line end
//! behind the value. The header is made of atomics, read and written `Relaxed`: the locks order
//! them, and a slip in lock discipline is then a wrong answer and not undefined behaviour.
//!
//! A value that does not fit the largest chunk lies in a chain of chunks of their own:
//!
//! ```text
//!  0 state u32   4 next u32   8 used u32   12 owner u32  16 bytes of the value
//! ```
//!
//! Access to payload goes through a witness ([`Quiet`]) that keeps A2 of [`crate::arena`]: a shard
//! guard, a held reference, or sole ownership.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use nuthatch_types::{Cas, ItemFlags};

use crate::arena::{Arena, HEAD_WORDS, ItemId};
use crate::index::ShardGuard;
use crate::lru::SegmentGuard;
use crate::refs;

/// Header words, 4 bytes each.
pub(crate) const STATE_WORD: usize = 0;
const PREV_WORD: usize = 1;
const NEXT_WORD: usize = 2;
const TIME_WORD: usize = 3;
const EXPIRY_WORD: usize = 4;
const LENGTH_WORD: usize = 5;
/// Header double word, 8 bytes.
const CAS_WORD64: usize = 3;

/// Header words of a chunk in a chain.
const CHAIN_NEXT_WORD: usize = 1;
const CHAIN_USED_WORD: usize = 2;
/// The item the chain belongs to, by which the page mover finds the lock.
const CHAIN_OWNER_WORD: usize = 3;
/// Bytes before the value bytes of a chunk in a chain.
pub(crate) const CHAIN_HEADER_BYTES: usize = 16;
/// What stands in place of the value of a chained item: length and first chunk.
const CHAIN_INFO_BYTES: usize = 8;

/// The chunk is on a free list.
pub(crate) const STATE_FREE: u32 = 1 << 31;
/// The chunk was taken and is not yet an item or a link of a chain.
pub(crate) const STATE_TAKEN: u32 = 0;
/// The item is in the index and, but for moments under its shard lock, in an LRU list.
pub(crate) const LINKED: u32 = 1 << 16;
/// Read at least once since it was stored.
pub(crate) const FETCHED: u32 = 1 << 17;
/// Read again since; the LRU owes it a move.
pub(crate) const ACTIVE: u32 = 1 << 18;
/// The value lies in a chain of chunks.
pub(crate) const CHAINED: u32 = 1 << 19;
/// Marked out of date by a meta command; readers are told.
pub(crate) const STALE: u32 = 1 << 20;
/// A reader has been told that it is the one to recache the item.
pub(crate) const TOKEN_SENT: u32 = 1 << 21;
/// The key came in base64 and goes out so.
pub(crate) const KEY_BINARY: u32 = 1 << 22;
/// The client's flags stand before the key.
const CLIENT_FLAGS: u32 = 1 << 23;
const QUEUE_SHIFT: u32 = 24;
const QUEUE_MASK: u32 = 0b11 << QUEUE_SHIFT;
/// A chunk of a chain, not an item.
const CHAIN_CHUNK: u32 = 1 << 26;
/// The item is in the list that its class and queue say. Changes under that list's lock only, so
/// that whoever holds the lock and sees the flag knows that the item stays, and keeps its key.
pub(crate) const IN_LIST: u32 = 1 << 27;
const FREQUENCY_SHIFT: u32 = 28;
/// How often the item was read since it was stored or last given another round, up to 3; counted
/// in the lean profile only.
pub(crate) const FREQUENCY_MASK: u32 = 0b11 << FREQUENCY_SHIFT;

/// What says which list of its class an item is in.
pub(crate) const PLACE_MASK: u32 = IN_LIST | QUEUE_MASK | CHAINED;

/// What stays of an item's state when it is rewritten as another.
const REWRITE_KEEPS: u32 = LINKED | CLIENT_FLAGS | QUEUE_MASK;

/// The longest value that the length word can say: the largest chunk is a page, 2^20.
const VALUE_LEN_MAX: usize = (1 << 24) - 1;

/// The queue of its class's LRU that an item is in; guarded by the shard lock.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Queue {
    Hot = 0,
    Warm = 1,
    Cold = 2,
    Temp = 3,
}

impl Queue {
    pub(crate) const ALL: [Self; 4] = [Self::Hot, Self::Warm, Self::Cold, Self::Temp];
}

/// What a new item is made with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Birth<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) flags: ItemFlags,
    pub(crate) expiry: u32,
    pub(crate) value_len: usize,
    pub(crate) key_is_binary: bool,
}

/// Keeps A2 for the items its holder looks at: their payload does not change and their chunks are
/// not freed while it lives. A locked shard does so for its items. [`Held`] and [`Sole`] are
/// claims: whoever makes one answers for it, and the compiler only checks how long it lasts.
pub(crate) trait Quiet {}

/// A reference held by hand: claimed by [`ItemGuard`](crate::ItemGuard), which counted one up and
/// has not counted it down.
#[derive(Debug)]
pub(crate) struct Held;
impl Quiet for Held {}

/// Sole ownership of a chunk that is in no index, list or chain: claimed by `Writer` from taking
/// the chunk to handing it on, by `commit` from there to linking, by `free` after the last
/// reference, by the page mover for the chunk it copies into, by the mover and by overwriting for
/// an item whose only reference is the index's while its shard is locked, and by the audit, which is alone with the store.
#[derive(Debug)]
pub(crate) struct Sole;
impl Quiet for Sole {}

/// The header of an item, without its CAS number. Each word is as good as its guard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head<'a>(&'a [AtomicU32; HEAD_WORDS]);

/// Where the parts of an item lie, in bytes from its beginning.
#[derive(Clone, Copy, Debug)]
struct Parts {
    key_at: usize,
    key_len: usize,
    /// The length of the value if it is not chained.
    stored_len: usize,
}

/// The arena, read as items.
#[derive(Debug)]
pub(crate) struct Items {
    arena: Arena,
    /// 32 with CAS, 24 without.
    header_bytes: usize,
}

impl Items {
    pub(crate) fn new(arena: Arena, cas: bool) -> Self {
        Self { arena, header_bytes: if cas { 32 } else { 24 } }
    }

    pub(crate) fn arena(&self) -> &Arena {
        &self.arena
    }

    /// Bytes before an item's flags and key.
    pub(crate) fn header_bytes(&self) -> usize {
        self.header_bytes
    }

    /// What an item takes in all, in bytes, before rounding up to a chunk.
    pub(crate) fn total_bytes(&self, key_len: usize, flags: ItemFlags, value_len: usize) -> usize {
        self.header_bytes + flags_bytes(flags) + key_len + value_len
    }

    /// What the first chunk of a chained item holds, in bytes.
    pub(crate) fn chain_head_bytes(&self, key_len: usize, flags: ItemFlags) -> usize {
        self.total_bytes(key_len, flags, CHAIN_INFO_BYTES)
    }

    /// Writes a new item into a chunk: header, flags and key; one reference, not linked, its value
    /// still to be written. The caller owns the chunk alone (`_owner`).
    pub(crate) fn write_new(&self, id: ItemId, birth: Birth<'_>, chained: bool, _owner: &Sole) {
        let Birth { key, flags, expiry, value_len, key_is_binary } = birth;
        let mut state = 1;
        if flags.0 != 0 {
            state |= CLIENT_FLAGS;
        }
        if key_is_binary {
            state |= KEY_BINARY;
        }
        if chained {
            state |= CHAINED;
        }
        let stored_len = if chained { 0 } else { value_len };
        assert!(stored_len <= VALUE_LEN_MAX && key.len() <= 250);
        #[expect(clippy::cast_possible_truncation, reason = "bounded by the assertion above")]
        let length = (stored_len as u32) << 8 | key.len() as u32;
        let Head(words) = self.head(id);
        words[STATE_WORD].store(state, Relaxed);
        words[PREV_WORD].store(0, Relaxed);
        words[NEXT_WORD].store(0, Relaxed);
        words[TIME_WORD].store(0, Relaxed);
        words[EXPIRY_WORD].store(expiry, Relaxed);
        words[LENGTH_WORD].store(length, Relaxed);
        self.set_cas(id, Cas(0));
        let mut at = self.header_bytes;
        if flags.0 != 0 {
            self.payload_mut(id, at, 4, _owner).copy_from_slice(&flags.0.to_ne_bytes());
            at += 4;
        }
        self.payload_mut(id, at, key.len(), _owner).copy_from_slice(key);
        if chained {
            let total = u32::try_from(value_len).expect("values are at most 1 GiB");
            let info = self.payload_mut(id, at + key.len(), CHAIN_INFO_BYTES, _owner);
            info[..4].copy_from_slice(&total.to_ne_bytes());
            info[4..].fill(0);
        }
    }

    /// Sets the first chunk of a chained item. The caller owns the item alone.
    pub(crate) fn set_chain(&self, id: ItemId, first: ItemId, owner: &Sole) {
        let at = self.value_at(id) + 4;
        let word = ItemId::to_word(Some(first));
        self.payload_mut(id, at, 4, owner).copy_from_slice(&word.to_ne_bytes());
    }

    /// Makes a chunk a link in the chain of `head`, empty, the last one. The caller owns it alone.
    pub(crate) fn write_new_chain(&self, chunk: ItemId, head: ItemId, _owner: &Sole) {
        self.arena.word(chunk, CHAIN_NEXT_WORD).store(0, Relaxed);
        self.arena.word(chunk, CHAIN_USED_WORD).store(0, Relaxed);
        self.set_chain_owner(chunk, head);
        // Release: who sees a link of a chain sees whose it is.
        self.arena.word(chunk, STATE_WORD).store(CHAIN_CHUNK | 1, Release);
    }

    /// Says which item a link belongs to. The caller owns it, or moves its owner.
    pub(crate) fn set_chain_owner(&self, chunk: ItemId, head: ItemId) {
        self.arena.word(chunk, CHAIN_OWNER_WORD).store(ItemId::to_word(Some(head)), Relaxed);
    }

    pub(crate) fn chain_next(&self, chunk: ItemId) -> Option<ItemId> {
        ItemId::from_word(self.arena.word(chunk, CHAIN_NEXT_WORD).load(Relaxed))
    }

    pub(crate) fn set_chain_next(&self, chunk: ItemId, next: ItemId) {
        self.arena.word(chunk, CHAIN_NEXT_WORD).store(ItemId::to_word(Some(next)), Relaxed);
    }

    pub(crate) fn chain_used(&self, chunk: ItemId) -> usize {
        self.arena.word(chunk, CHAIN_USED_WORD).load(Relaxed) as usize
    }

    pub(crate) fn set_chain_used(&self, chunk: ItemId, bytes: usize) {
        let bytes = u32::try_from(bytes).expect("a chunk is at most a page");
        self.arena.word(chunk, CHAIN_USED_WORD).store(bytes, Relaxed);
    }

    /// Bytes of a chain's chunk that the value may use, from `from` on.
    pub(crate) fn chain_space<'a>(
        &'a self,
        chunk: ItemId,
        from: usize,
        to: usize,
        owner: &'a Sole,
    ) -> &'a mut [u8] {
        self.payload_mut(chunk, CHAIN_HEADER_BYTES + from, to - from, owner)
    }

    /// The value bytes of an unchained item, to write. The caller owns the item alone.
    pub(crate) fn value_space<'a>(&'a self, id: ItemId, owner: &'a Sole) -> &'a mut [u8] {
        debug_assert!(self.state(id) & CHAINED == 0);
        self.payload_mut(id, self.value_at(id), self.stored_len(id), owner)
    }

    /// The value bytes of a linked, unchained item, to change where they stand; `None` while
    /// anybody else may be reading them. `_lock` is the item's shard lock.
    #[expect(unsafe_code, reason = "hands out bytes to write")]
    pub(crate) fn value_in_place<'a>(
        &'a self,
        id: ItemId,
        _lock: &'a mut ShardGuard<'_>,
    ) -> Option<&'a mut [u8]> {
        if self.state(id) & CHAINED != 0 || !refs::is_unshared(self.arena.word(id, STATE_WORD)) {
            return None;
        }
        // SAFETY: A2: the shard lock is held for the life of the result and the index has the only
        // reference, so no pin exists and none can be made.
        Some(unsafe { self.arena.bytes_mut(id, self.value_at(id), self.stored_len(id)) })
    }

    /// Whether an item can be rewritten as another of the same key: the value begins at the same
    /// place, and nobody has a reference but the index, whose shard the caller has locked.
    #[inline]
    pub(crate) fn can_rewrite(&self, head: Head<'_>, birth: &Birth<'_>) -> bool {
        let has_flags = head.state() & CLIENT_FLAGS != 0;
        has_flags == (birth.flags.0 != 0) && refs::is_unshared(&head.0[STATE_WORD])
    }

    /// Makes a linked item that [can be rewritten](Self::can_rewrite) and is in no list at the
    /// moment another of the same key, with a value that fits its chunk; its time and CAS number
    /// are left.
    pub(crate) fn rewrite(
        &self,
        id: ItemId,
        birth: &Birth<'_>,
        value: &[u8],
        _shard: &mut ShardGuard<'_>,
    ) {
        let owner = Sole;
        let head = self.head(id);
        debug_assert!(self.can_rewrite(head, birth) && head.state() & IN_LIST == 0);
        debug_assert!(value.len() <= VALUE_LEN_MAX);
        #[expect(clippy::cast_possible_truncation, reason = "a value that fits a chunk")]
        let length = (value.len() as u32) << 8 | birth.key.len() as u32;
        head.0[EXPIRY_WORD].store(birth.expiry, Relaxed);
        head.0[LENGTH_WORD].store(length, Relaxed);
        let mut state = head.state() & (refs::REFS_MASK | REWRITE_KEEPS);
        if birth.key_is_binary {
            state |= KEY_BINARY;
        }
        head.0[STATE_WORD].store(state, Relaxed);
        if birth.flags.0 != 0 {
            let flags = self.payload_mut(id, self.header_bytes, 4, &owner);
            flags.copy_from_slice(&birth.flags.0.to_ne_bytes());
        }
        let at = self.header_bytes + flags_bytes(birth.flags) + birth.key.len();
        self.payload_mut(id, at, value.len(), &owner).copy_from_slice(value);
    }

    /// The key of an item in a locked list. (Its value may be changing: that takes the shard lock
    /// alone.)
    #[expect(unsafe_code, reason = "hands out bytes of the item")]
    pub(crate) fn key_in_list<'a>(&'a self, id: ItemId, _list: &'a SegmentGuard<'_>) -> &'a [u8] {
        let parts = self.parts(self.head(id));
        // SAFETY: A2: keys are written before an item is linked and stay; the item stays linked,
        // and so its chunk its own, as long as its list is locked.
        unsafe { self.arena.bytes(id, parts.key_at, parts.key_len) }
    }

    /// Looks at an item.
    #[inline]
    pub(crate) fn view<'a>(&'a self, id: ItemId, witness: &'a impl Quiet) -> ItemView<'a> {
        let _ = witness;
        ItemView { items: self, id, head: self.head(id) }
    }

    /// Copies an item, all but its value if that lies in a chain, into a chunk of the same class:
    /// linked as it is, with one reference. Its shard is locked and the caller owns the new chunk.
    pub(crate) fn copy_item(
        &self,
        from: ItemId,
        to: ItemId,
        _shard: &ShardGuard<'_>,
        owner: &Sole,
    ) {
        let stored = match self.state(from) & CHAINED {
            0 => self.stored_len(from),
            _ => CHAIN_INFO_BYTES,
        };
        let end = self.value_at(from) + stored;
        for word in 1..self.header_bytes / 4 {
            self.arena.word(to, word).store(self.arena.word(from, word).load(Relaxed), Relaxed);
        }
        let payload = self.payload(from, self.header_bytes, end - self.header_bytes, _shard);
        let place = self.payload_mut(to, self.header_bytes, payload.len(), owner);
        place.copy_from_slice(payload);
        let state = (self.state(from) & !refs::REFS_MASK) | 1;
        self.arena.word(to, STATE_WORD).store(state & !IN_LIST, Relaxed);
    }

    /// Copies a link of a chain into a chunk of the same class. The owner's shard is locked, nobody
    /// has a reference to it but the index, and the caller owns the new chunk.
    pub(crate) fn copy_chain(
        &self,
        from: ItemId,
        to: ItemId,
        shard: &ShardGuard<'_>,
        owner: &Sole,
    ) {
        let used = self.chain_used(from);
        let head = ItemId::from_word(self.arena.word(from, CHAIN_OWNER_WORD).load(Relaxed));
        self.write_new_chain(to, head.expect("a link has an owner"), owner);
        if let Some(next) = self.chain_next(from) {
            self.set_chain_next(to, next);
        }
        let payload = self.payload(from, CHAIN_HEADER_BYTES, used, shard);
        self.chain_space(to, 0, used, owner).copy_from_slice(payload);
        self.set_chain_used(to, used);
    }

    /// Puts the copy of a link in its place in a chain. The item's shard is locked, and nobody has
    /// a reference to it but the index.
    pub(crate) fn relink_chain(
        &self,
        head: ItemId,
        old: ItemId,
        new: ItemId,
        _shard: &mut ShardGuard<'_>,
    ) {
        debug_assert!(self.is_unshared(head));
        let owner = Sole;
        let first = self.view(head, &owner).chain_info().1;
        if first == Some(old) {
            return self.set_chain(head, new, &owner);
        }
        let mut link = first;
        while let Some(id) = link {
            link = self.chain_next(id);
            if link == Some(old) {
                return self.set_chain_next(id, new);
            }
        }
        unreachable!("a link is in its owner's chain");
    }

    #[expect(unsafe_code, reason = "hands out bytes to copy")]
    fn payload<'a>(
        &'a self,
        id: ItemId,
        at: usize,
        len: usize,
        _shard: &'a ShardGuard<'_>,
    ) -> &'a [u8] {
        // SAFETY: A2: the item's shard is locked for the life of the result.
        unsafe { self.arena.bytes(id, at, len) }
    }

    #[inline]
    pub(crate) fn state(&self, id: ItemId) -> u32 {
        self.arena.word(id, STATE_WORD).load(Relaxed)
    }

    /// Adds state flags; the caller holds the shard lock or owns the item.
    pub(crate) fn set_state(&self, id: ItemId, flags: u32) {
        self.arena.word(id, STATE_WORD).fetch_or(flags, Relaxed);
    }

    /// Removes state flags; the caller holds the shard lock or owns the item.
    pub(crate) fn clear_state(&self, id: ItemId, flags: u32) {
        self.arena.word(id, STATE_WORD).fetch_and(!flags, Relaxed);
    }

    #[inline]
    pub(crate) fn queue(&self, id: ItemId) -> Queue {
        queue_of(self.state(id))
    }

    pub(crate) fn set_queue(&self, id: ItemId, queue: Queue) {
        self.clear_state(id, QUEUE_MASK);
        self.set_state(id, (queue as u32) << QUEUE_SHIFT);
    }

    /// Counts a read, up to 3; the caller holds the shard lock. Says whether there was anything
    /// to write: an item read often is left alone.
    pub(crate) fn count_read(&self, id: ItemId) -> bool {
        let state = self.state(id);
        if state & FREQUENCY_MASK == FREQUENCY_MASK {
            return false;
        }
        // Below 3 this carries into no other bit, and the shard lock keeps others from adding.
        let word = self.arena.word(id, STATE_WORD);
        word.fetch_add(1 << FREQUENCY_SHIFT, Relaxed);
        if state & FETCHED == 0 {
            word.fetch_or(FETCHED, Relaxed);
        }
        true
    }

    /// Takes one read off the count, which is above 0; the caller holds the shard lock.
    pub(crate) fn uncount_read(&self, id: ItemId) {
        debug_assert!(self.state(id) & FREQUENCY_MASK != 0);
        self.arena.word(id, STATE_WORD).fetch_sub(1 << FREQUENCY_SHIFT, Relaxed);
    }

    /// Adds a reference; the caller holds the shard lock and the item is linked.
    pub(crate) fn retain(&self, id: ItemId) -> bool {
        refs::retain(self.arena.word(id, STATE_WORD))
    }

    pub(crate) fn is_unshared(&self, id: ItemId) -> bool {
        refs::is_unshared(self.arena.word(id, STATE_WORD))
    }

    #[cfg(any(all(test, not(loom)), fuzzing))]
    pub(crate) fn refs(&self, id: ItemId) -> u32 {
        self.state(id) & refs::REFS_MASK
    }

    pub(crate) fn prev(&self, id: ItemId) -> Option<ItemId> {
        ItemId::from_word(self.arena.word(id, PREV_WORD).load(Relaxed))
    }

    pub(crate) fn set_prev(&self, id: ItemId, prev: Option<ItemId>) {
        self.arena.word(id, PREV_WORD).store(ItemId::to_word(prev), Relaxed);
    }

    pub(crate) fn next(&self, id: ItemId) -> Option<ItemId> {
        ItemId::from_word(self.arena.word(id, NEXT_WORD).load(Relaxed))
    }

    pub(crate) fn set_next(&self, id: ItemId, next: Option<ItemId>) {
        self.arena.word(id, NEXT_WORD).store(ItemId::to_word(next), Relaxed);
    }

    #[inline]
    pub(crate) fn time(&self, id: ItemId) -> u32 {
        self.arena.word(id, TIME_WORD).load(Relaxed)
    }

    pub(crate) fn set_time(&self, id: ItemId, time: u32) {
        self.arena.word(id, TIME_WORD).store(time, Relaxed);
    }

    #[inline]
    pub(crate) fn expiry(&self, id: ItemId) -> u32 {
        self.arena.word(id, EXPIRY_WORD).load(Relaxed)
    }

    pub(crate) fn set_expiry(&self, id: ItemId, expiry: u32) {
        self.arena.word(id, EXPIRY_WORD).store(expiry, Relaxed);
    }

    #[inline]
    pub(crate) fn cas(&self, id: ItemId) -> Cas {
        if self.header_bytes < 32 {
            return Cas(0);
        }
        Cas(self.arena.word64(id, CAS_WORD64).load(Relaxed))
    }

    pub(crate) fn set_cas(&self, id: ItemId, cas: Cas) {
        if self.header_bytes == 32 {
            self.arena.word64(id, CAS_WORD64).store(cas.0, Relaxed);
        }
    }

    /// What an item takes in all, in bytes, before rounding up to chunks. The sizes are written
    /// once, before anybody else knows the item; the caller has a lock or reference that keeps it.
    pub(crate) fn total_bytes_of(&self, id: ItemId) -> usize {
        self.total_bytes_in(id, self.head(id))
    }

    /// [`total_bytes_of`](Self::total_bytes_of) an item whose header is at hand.
    #[inline]
    pub(crate) fn total_bytes_in(&self, id: ItemId, head: Head<'_>) -> usize {
        let parts = self.parts(head);
        let value_len = if head.state() & CHAINED == 0 {
            parts.stored_len
        } else {
            ItemView { items: self, id, head }.chain_info().0
        };
        parts.value_at() + value_len
    }

    /// The header of an item, to read more than one word of.
    #[inline]
    pub(crate) fn head(&self, id: ItemId) -> Head<'_> {
        Head(self.arena.head(id))
    }

    /// Where the parts of an item lie.
    #[inline]
    fn parts(&self, head: Head<'_>) -> Parts {
        let flags = if head.state() & CLIENT_FLAGS == 0 { 0 } else { 4 };
        let length = head.0[LENGTH_WORD].load(Relaxed);
        Parts {
            key_at: self.header_bytes + flags,
            key_len: (length & 0xff) as usize,
            stored_len: (length >> 8) as usize,
        }
    }

    fn stored_len(&self, id: ItemId) -> usize {
        self.parts(self.head(id)).stored_len
    }

    fn value_at(&self, id: ItemId) -> usize {
        self.parts(self.head(id)).value_at()
    }

    #[expect(unsafe_code, reason = "hands out bytes to write")]
    #[expect(clippy::mut_from_ref, reason = "the owner has the chunk to itself")]
    fn payload_mut<'a>(
        &'a self,
        id: ItemId,
        at: usize,
        len: usize,
        _owner: &'a Sole,
    ) -> &'a mut [u8] {
        // SAFETY: A2: the caller owns the chunk alone, says its `Sole`.
        unsafe { self.arena.bytes_mut(id, at, len) }
    }
}

/// Whose chain a chunk is a link of, given its state word.
pub(crate) fn chain_owner(arena: &Arena, chunk: ItemId, state: u32) -> Option<ItemId> {
    if state & CHAIN_CHUNK == 0 {
        return None;
    }
    ItemId::from_word(arena.word(chunk, CHAIN_OWNER_WORD).load(Acquire))
}

impl Head<'_> {
    #[inline]
    pub(crate) fn state(self) -> u32 {
        self.0[STATE_WORD].load(Relaxed)
    }

    #[inline]
    pub(crate) fn time(self) -> u32 {
        self.0[TIME_WORD].load(Relaxed)
    }

    #[inline]
    pub(crate) fn expiry(self) -> u32 {
        self.0[EXPIRY_WORD].load(Relaxed)
    }

    /// The neighbours in the item's list: nearer to the head, and to the tail.
    #[inline]
    pub(crate) fn links(self) -> (Option<ItemId>, Option<ItemId>) {
        let id = |word: usize| ItemId::from_word(self.0[word].load(Relaxed));
        (id(PREV_WORD), id(NEXT_WORD))
    }

    /// Sets the neighbours. The caller has locked the list.
    #[inline]
    pub(crate) fn set_links(self, prev: Option<ItemId>, next: Option<ItemId>) {
        self.0[PREV_WORD].store(ItemId::to_word(prev), Relaxed);
        self.0[NEXT_WORD].store(ItemId::to_word(next), Relaxed);
    }

    /// Makes a new item a linked one, of a queue. The caller holds the shard lock, and nobody has
    /// found the item yet, so that nobody else changes its state.
    #[inline]
    pub(crate) fn begin(self, queue: Queue, stamp: u32) {
        self.0[TIME_WORD].store(stamp, Relaxed);
        let state = self.state() & !QUEUE_MASK | LINKED | (queue as u32) << QUEUE_SHIFT;
        self.0[STATE_WORD].store(state, Relaxed);
    }

    /// Adds state flags; see [`Items::set_state`].
    #[inline]
    pub(crate) fn set_state(self, flags: u32) {
        self.0[STATE_WORD].fetch_or(flags, Relaxed);
    }

    /// Removes state flags; see [`Items::clear_state`].
    #[inline]
    pub(crate) fn clear_state(self, flags: u32) {
        self.0[STATE_WORD].fetch_and(!flags, Relaxed);
    }

    /// Drops a reference; true for the last one.
    #[inline]
    #[must_use = "the last one to leave frees the chunk"]
    pub(crate) fn release(self) -> bool {
        refs::release(&self.0[STATE_WORD])
    }
}

impl Parts {
    #[inline]
    fn value_at(self) -> usize {
        self.key_at + self.key_len
    }
}

/// The queue that a state word names.
#[inline]
pub(crate) fn queue_of(state: u32) -> Queue {
    Queue::ALL[((state & QUEUE_MASK) >> QUEUE_SHIFT) as usize]
}

const fn flags_bytes(flags: ItemFlags) -> usize {
    if flags.0 == 0 { 0 } else { 4 }
}

/// An item, looked at in place.
///
/// It borrows the cache's own memory: inside [`Store::get`](crate::Store::get) under the lock that
/// keeps the item still, or through an [`ItemGuard`](crate::ItemGuard) that holds it.
#[derive(Clone, Copy)]
pub struct ItemView<'a> {
    items: &'a Items,
    id: ItemId,
    head: Head<'a>,
}

impl<'a> ItemView<'a> {
    /// The key's bytes.
    #[inline]
    pub fn key(&self) -> &'a [u8] {
        let parts = self.parts();
        self.payload(parts.key_at, parts.key_len)
    }

    /// Whether the key came in base64 in a meta command and is shown so.
    pub fn key_is_binary(&self) -> bool {
        self.head.state() & KEY_BINARY != 0
    }

    /// The value's length in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        if self.is_chained() { self.chain_info().0 } else { self.parts().stored_len }
    }

    /// Whether the value has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value where it lies in one piece, which is always so for items that fit the largest
    /// chunk (512 KiB unless configured otherwise).
    #[inline]
    pub fn contiguous(&self) -> Option<&'a [u8]> {
        if self.is_chained() {
            return None;
        }
        let parts = self.parts();
        Some(self.payload(parts.value_at(), parts.stored_len))
    }

    /// The value's pieces, in order: one, or the chunks of a chain.
    pub fn pieces(&self) -> Pieces<'a> {
        let next = if self.is_chained() { Next::Chunk(self.chain_info().1) } else { Next::Whole };
        Pieces { view: *self, next }
    }

    /// A copy of the value.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut copy = Vec::with_capacity(self.len());
        self.pieces().for_each(|piece| copy.extend_from_slice(piece));
        copy
    }

    /// The client's flags.
    #[inline]
    pub fn flags(&self) -> ItemFlags {
        if self.head.state() & CLIENT_FLAGS == 0 {
            return ItemFlags(0);
        }
        let bytes = self.payload(self.items.header_bytes, 4);
        ItemFlags(u32::from_ne_bytes(bytes.try_into().expect("four bytes were asked for")))
    }

    /// The CAS number; 0 in a store without CAS.
    #[inline]
    pub fn cas(&self) -> Cas {
        self.items.cas(self.id)
    }

    #[inline]
    pub(crate) fn is_chained(&self) -> bool {
        self.head.state() & CHAINED != 0
    }

    pub(crate) fn id(&self) -> ItemId {
        self.id
    }

    #[inline]
    pub(crate) fn head(&self) -> Head<'a> {
        self.head
    }

    /// What the item takes in all, in bytes, before rounding up to chunks; `stats items` sums it
    /// up as `mem_requested`.
    pub fn total_bytes(&self) -> usize {
        self.items.total_bytes_of(self.id)
    }

    /// The value's length and the first chunk of its chain.
    pub(crate) fn chain_info(&self) -> (usize, Option<ItemId>) {
        let info = self.payload(self.parts().value_at(), CHAIN_INFO_BYTES);
        let word = |at: usize| {
            u32::from_ne_bytes(info[at..at + 4].try_into().expect("four bytes were asked for"))
        };
        (word(0) as usize, ItemId::from_word(word(4)))
    }

    /// The chunks of a chained value, in order.
    pub(crate) fn chain(&self) -> Vec<ItemId> {
        let mut next = if self.is_chained() { self.chain_info().1 } else { None };
        let follow = || {
            let chunk = next?;
            next = self.items.chain_next(chunk);
            Some(chunk)
        };
        std::iter::from_fn(follow).collect()
    }

    /// The value bytes in one link of this item's chain.
    #[expect(unsafe_code, reason = "hands out bytes of the item")]
    pub(crate) fn chain_piece(&self, chunk: ItemId) -> &'a [u8] {
        let used = self.items.chain_used(chunk);
        // SAFETY: A2: a chain is freed with its item, so the witness for the item, which `'a` is
        // tied to, is one for its links.
        unsafe { self.items.arena.bytes(chunk, CHAIN_HEADER_BYTES, used) }
    }

    #[inline]
    fn parts(&self) -> Parts {
        self.items.parts(self.head)
    }

    #[expect(unsafe_code, reason = "hands out bytes of the item")]
    #[inline]
    fn payload(&self, at: usize, len: usize) -> &'a [u8] {
        // SAFETY: A2: `Items::view` tied `'a` to a witness that keeps the item's bytes quiet.
        unsafe { self.items.arena.bytes(self.id, at, len) }
    }
}

impl std::fmt::Debug for ItemView<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ItemView")
            .field("key", &self.key().escape_ascii().to_string())
            .field("len", &self.len())
            .field("flags", &self.flags())
            .field("cas", &self.cas())
            .finish_non_exhaustive()
    }
}

/// The pieces of a value; made by [`ItemView::pieces`].
#[derive(Clone, Debug)]
pub struct Pieces<'a> {
    view: ItemView<'a>,
    next: Next,
}

#[derive(Clone, Copy, Debug)]
enum Next {
    Whole,
    Chunk(Option<ItemId>),
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        match self.next {
            Next::Whole => {
                self.next = Next::Chunk(None);
                self.view.contiguous()
            }
            Next::Chunk(chunk) => {
                let chunk = chunk?;
                self.next = Next::Chunk(self.view.items.chain_next(chunk));
                Some(self.view.chain_piece(chunk))
            }
        }
    }
}
