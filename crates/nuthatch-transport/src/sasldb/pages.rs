//! Berkeley DB hash files, read-only: the pairs of key and value that one holds.
//!
//! Versions 7 to 9 of the format (Berkeley DB 3.x to 5.3; Debian's saslpasswd2 writes 9) are read,
//! in either byte order. A file is pages of equal size, page `n` at `n × page size`:
//!
//! ```text
//!  page 0, the meta page                          a hash page (types 13 and 2)
//!  12  magic 0x00061561, tells the byte order      8  its own number
//!  16  version                                    20  entries, u16, even
//!  20  page size, 512 to 65536                    25  type
//!  24  cipher, 0      25  type, 8                 26  entries × u16: where each item begins
//!  26  flags, 1: pages have checksums             ..  free
//!  32  number of the last page                    ..  items, the first at the very end:
//!  48  flags, not 0: duplicates or sub-databases      [value 1][key 1][value 0][key 0]|
//!
//!  an item: kind, then                            an overflow page (type 7)
//!   1  the bytes themselves                       16  number of the next one, 0: none
//!   3  3 unused, u32 first overflow page,         22  u16: how many bytes are here
//!      u32 length                                 26  the bytes
//!   2, 4  duplicates: refused
//! ```
//!
//! Where a bucket's pages are, and which bucket a key belongs to, need not be known: every pair
//! lives on a hash page, a page that is given up gets another type, and an item that is deleted
//! leaves its page. So all pages are looked at in turn, whatever refers to them, and nothing can
//! lead in circles but overflow pages, whose visits are counted.
//!
//! Everything else of the file is not trusted: every read is checked, and nothing is reserved by a
//! number that stands in it. The layout is that of Berkeley DB's documented page headers, checked
//! against files that `saslpasswd2` and `db5.3_load` made.

use std::ops::Range;

/// The longest key or value that may lie on overflow pages, in bytes. saslpasswd2 takes passwords
/// up to 2047.
pub(super) const ITEM_LEN_MAX: usize = 1 << 16;

/// The bytes of the meta page that are looked at.
const META_LEN: usize = 512;

/// The bytes before the offsets of a page.
const HEADER_LEN: usize = 26;

const HASH_MAGIC: u32 = 0x0006_1561;

/// Calls `each` with every pair of key and value.
///
/// # Errors
///
/// Why the file cannot be read; then some pairs may have been seen.
pub(super) fn pairs(file: &[u8], mut each: impl FnMut(&[u8], &[u8])) -> Result<(), PagesError> {
    let file = Pages::open(file)?;
    let mut budget = file.n_pages;
    let (mut key_room, mut value_room) = (Vec::new(), Vec::new());
    for number in 1..file.n_pages {
        let page = file.page(number)?;
        if !matches!(page.kind()?, HASH | HASH_UNSORTED) {
            continue;
        }
        let n_entries = page.u16(20)?;
        if n_entries % 2 != 0 {
            return Err(page.damaged("a key without a value"));
        }
        for pair in 0..n_entries / 2 {
            let key = file.item(&page, pair * 2, &mut key_room, &mut budget)?;
            let value = file.item(&page, pair * 2 + 1, &mut value_room, &mut budget)?;
            each(key, value);
        }
    }
    Ok(())
}

/// Why a file cannot be read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PagesError {
    /// It is no Berkeley DB file, nor any other that is known.
    #[error("no Berkeley DB file")]
    NotADatabase,
    /// It belongs to another library than Berkeley DB, which some distributions build cyrus-sasl
    /// with.
    #[error("a {0} file; only Berkeley DB hash files, as Debian's saslpasswd2 writes, can be read")]
    OtherLibrary(&'static str),
    /// It is of Berkeley DB, but made in a way that saslpasswd2 does not use.
    #[error("a Berkeley DB file with {0}, which cannot be read")]
    Unsupported(&'static str),
    /// It contradicts itself: it is damaged, or was read while somebody wrote it.
    #[error("damaged at page {page}: {what}")]
    Damaged {
        /// The page's number, 0 for the first.
        page: u32,
        /// What is wrong there.
        what: &'static str,
    },
}

/// A file whose meta page has been understood.
struct Pages<'a> {
    bytes: &'a [u8],
    page_len: usize,
    n_pages: u32,
    order: Order,
}

impl<'a> Pages<'a> {
    fn open(bytes: &'a [u8]) -> Result<Self, PagesError> {
        let order = order(bytes)?;
        let whole = Page { bytes, number: 0, order };
        if bytes.len() < META_LEN {
            return Err(whole.damaged("the file is too short"));
        }
        if !(7..=9).contains(&whole.u32(16)?) {
            return Err(PagesError::Unsupported("a format of another version than 7 to 9"));
        }
        let page_len = whole.u32(20)?;
        if !page_len.is_power_of_two() || !(512..=65536).contains(&page_len) {
            return Err(whole.damaged("an impossible page size"));
        }
        if whole.u8(24)? != 0 {
            return Err(PagesError::Unsupported("encryption"));
        }
        if whole.u8(25)? != 8 {
            return Err(whole.damaged("the first page is no hash meta page"));
        }
        if whole.u8(26)? != 0 {
            return Err(PagesError::Unsupported("checksums or partitions"));
        }
        if whole.u32(48)? != 0 {
            return Err(PagesError::Unsupported("duplicates or sub-databases"));
        }
        let last = whole.u32(32)?;
        let page_len = page_len as usize;
        // A file may end in the middle of what the meta page announces: pages that were never
        // written are empty.
        let there = u32::try_from(bytes.len() / page_len).unwrap_or(u32::MAX);
        let n_pages = there.min(last.saturating_add(1));
        Ok(Self { bytes, page_len, n_pages, order })
    }

    fn page(&self, number: u32) -> Result<Page<'a>, PagesError> {
        let start = number as usize * self.page_len;
        let bytes = (number < self.n_pages)
            .then(|| self.bytes.get(start..start + self.page_len))
            .flatten()
            .ok_or(PagesError::Damaged { page: number, what: "the page is beyond the end" })?;
        Ok(Page { bytes, number, order: self.order })
    }

    /// The bytes of one item; those on overflow pages are gathered in `room`.
    fn item<'b>(
        &self,
        page: &Page<'a>,
        index: u16,
        room: &'b mut Vec<u8>,
        budget: &mut u32,
    ) -> Result<&'b [u8], PagesError>
    where
        'a: 'b,
    {
        let item = &page.bytes[page.place(index)?];
        let (kind, rest) = item.split_first().ok_or_else(|| page.damaged("an empty item"))?;
        match kind {
            1 => Ok(rest),
            3 => {
                let item = Page { bytes: item, ..*page };
                self.gather(item.u32(4)?, item.u32(8)?, room, budget)?;
                Ok(room)
            }
            2 | 4 => Err(PagesError::Unsupported("duplicates or sub-databases")),
            _ => Err(page.damaged("an item of unknown kind")),
        }
    }

    /// Reads a chain of overflow pages. Each belongs to one item, so the whole file cannot need
    /// more visits than it has pages.
    fn gather(
        &self,
        first: u32,
        len: u32,
        room: &mut Vec<u8>,
        budget: &mut u32,
    ) -> Result<(), PagesError> {
        room.clear();
        let len = len as usize;
        let mut number = first;
        while room.len() < len {
            let page = self.page(number)?;
            if len > ITEM_LEN_MAX {
                return Err(page.damaged("an item is too long"));
            }
            *budget = budget
                .checked_sub(1)
                .ok_or_else(|| page.damaged("overflow pages lead in circles"))?;
            if page.kind()? != OVERFLOW {
                return Err(page.damaged("no overflow page where one should be"));
            }
            let n = usize::from(page.u16(22)?).min(len - room.len());
            let bytes = page.bytes.get(HEADER_LEN..HEADER_LEN + n);
            room.extend_from_slice(
                bytes.ok_or_else(|| page.damaged("more bytes than a page has"))?,
            );
            number = page.u32(16)?;
        }
        Ok(())
    }
}

/// One page, or another piece of the file with the page's number for messages.
#[derive(Clone, Copy)]
struct Page<'a> {
    bytes: &'a [u8],
    number: u32,
    order: Order,
}

impl Page<'_> {
    fn kind(&self) -> Result<u8, PagesError> {
        self.u8(25)
    }

    /// Where an item lies: from its own offset to that of the item before, or to the page's end.
    fn place(&self, index: u16) -> Result<Range<usize>, PagesError> {
        let offset = |index: u16| self.u16(HEADER_LEN + 2 * usize::from(index)).map(usize::from);
        let start = offset(index)?;
        let end = match index.checked_sub(1) {
            Some(before) => offset(before)?,
            None => self.bytes.len(),
        };
        let items_from = HEADER_LEN + 2 * usize::from(self.u16(20)?);
        if items_from <= start && start < end && end <= self.bytes.len() {
            Ok(start..end)
        } else {
            Err(self.damaged("an item outside its place"))
        }
    }

    fn u8(&self, at: usize) -> Result<u8, PagesError> {
        self.bytes.get(at).copied().ok_or_else(|| self.damaged("the page is too short"))
    }

    fn u16(&self, at: usize) -> Result<u16, PagesError> {
        let bytes = self.bytes.get(at..).and_then(<[u8]>::first_chunk);
        let bytes = *bytes.ok_or_else(|| self.damaged("the page is too short"))?;
        Ok(match self.order {
            Order::Little => u16::from_le_bytes(bytes),
            Order::Big => u16::from_be_bytes(bytes),
        })
    }

    fn u32(&self, at: usize) -> Result<u32, PagesError> {
        let bytes = self.bytes.get(at..).and_then(<[u8]>::first_chunk);
        let bytes = *bytes.ok_or_else(|| self.damaged("the page is too short"))?;
        Ok(match self.order {
            Order::Little => u32::from_le_bytes(bytes),
            Order::Big => u32::from_be_bytes(bytes),
        })
    }

    fn damaged(&self, what: &'static str) -> PagesError {
        PagesError::Damaged { page: self.number, what }
    }
}

/// The byte order of the machine that wrote the file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Order {
    Little,
    Big,
}

/// Finds the magic number, or says whose file it is.
fn order(bytes: &[u8]) -> Result<Order, PagesError> {
    let u32_at = |at: usize| bytes.get(at..).and_then(<[u8]>::first_chunk::<4>);
    let magic = u32_at(12).ok_or(PagesError::NotADatabase)?;
    // GDBM has several magic numbers at the very start; LMDB's meta page has one at 16.
    let first = u32_at(0).map_or(0, |bytes| u32::from_le_bytes(*bytes));
    for first in [first, first.swap_bytes()] {
        if (0x1357_9acd..=0x1357_9ad1).contains(&first) {
            return Err(PagesError::OtherLibrary("GDBM"));
        }
    }
    if u32_at(16) == Some(&0xbeef_c0de_u32.to_le_bytes()) {
        return Err(PagesError::OtherLibrary("LMDB"));
    }
    for (order, magic) in
        [(Order::Little, u32::from_le_bytes(*magic)), (Order::Big, u32::from_be_bytes(*magic))]
    {
        match magic {
            HASH_MAGIC => return Ok(order),
            // The magic numbers of its other kinds of file: btree, queue, heap.
            0x0005_3162 | 0x0004_2253 | 0x0007_4582 => {
                return Err(PagesError::Unsupported("another order than hash"));
            }
            _ => {}
        }
    }
    Err(PagesError::NotADatabase)
}

const HASH_UNSORTED: u8 = 2;
const OVERFLOW: u8 = 7;
const HASH: u8 = 13;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A file of one hash page, written the way Berkeley DB does it, on any kind of machine.
    pub(crate) struct Writer {
        order: Order,
        page_len: usize,
        /// Meta page, hash page, and what else there is.
        pages: Vec<Vec<u8>>,
        n_items: usize,
        low: usize,
    }

    impl Writer {
        pub(crate) fn new(is_big_endian: bool, page_len: usize) -> Self {
            let order = if is_big_endian { Order::Big } else { Order::Little };
            let pages = vec![vec![0; page_len], vec![0; page_len]];
            let mut writer = Self { order, page_len, pages, n_items: 0, low: page_len };
            writer.u32(0, 12, HASH_MAGIC);
            writer.u32(0, 16, 9);
            writer.u32(0, 20, u32::try_from(page_len).unwrap());
            writer.pages[0][25] = 8;
            writer.u32(1, 8, 1);
            writer.pages[1][25] = HASH;
            writer
        }

        pub(crate) fn pair(mut self, key: &[u8], value: &[u8]) -> Self {
            self.item(1, key);
            self.item(1, value);
            self
        }

        /// A pair whose value lies on overflow pages of at most `piece` bytes each.
        pub(crate) fn long_pair(mut self, key: &[u8], value: &[u8], piece: usize) -> Self {
            let first = u32::try_from(self.pages.len()).unwrap();
            let mut item = vec![0; 11];
            let len = u32::try_from(value.len()).unwrap();
            item[3..7].copy_from_slice(&self.bytes(first));
            item[7..].copy_from_slice(&self.bytes(len));
            self.item(1, key);
            self.item(3, &item);
            let mut pieces = value.chunks(piece).peekable();
            while let Some(piece) = pieces.next() {
                let number = self.pages.len();
                self.pages.push(vec![0; self.page_len]);
                self.pages[number][25] = OVERFLOW;
                self.u16(number, 22, u16::try_from(piece.len()).unwrap());
                if pieces.peek().is_some() {
                    self.u32(number, 16, u32::try_from(number + 1).unwrap());
                }
                self.pages[number][HEADER_LEN..][..piece.len()].copy_from_slice(piece);
            }
            self
        }

        pub(crate) fn finish(mut self) -> Vec<u8> {
            let last = u32::try_from(self.pages.len() - 1).unwrap();
            self.u32(0, 32, last);
            self.pages.concat()
        }

        fn item(&mut self, kind: u8, bytes: &[u8]) {
            self.low -= bytes.len() + 1;
            self.pages[1][self.low] = kind;
            self.pages[1][self.low + 1..][..bytes.len()].copy_from_slice(bytes);
            self.u16(1, HEADER_LEN + 2 * self.n_items, u16::try_from(self.low).unwrap());
            self.n_items += 1;
            self.u16(1, 20, u16::try_from(self.n_items).unwrap());
        }

        fn bytes(&self, value: u32) -> [u8; 4] {
            if self.order == Order::Big { value.to_be_bytes() } else { value.to_le_bytes() }
        }

        fn u32(&mut self, page: usize, at: usize, value: u32) {
            let bytes = self.bytes(value);
            self.pages[page][at..at + 4].copy_from_slice(&bytes);
        }

        fn u16(&mut self, page: usize, at: usize, value: u16) {
            let mut bytes = value.to_le_bytes();
            if self.order == Order::Big {
                bytes.reverse();
            }
            self.pages[page][at..at + 2].copy_from_slice(&bytes);
        }
    }

    type Pair = (Vec<u8>, Vec<u8>);

    fn all(file: &[u8]) -> Result<Vec<Pair>, PagesError> {
        let mut found = Vec::new();
        pairs(file, |key, value| found.push((key.to_vec(), value.to_vec())))?;
        Ok(found)
    }

    #[test]
    fn pairs_are_found_in_either_byte_order_and_any_page_size() {
        for is_big_endian in [false, true] {
            for page_len in [512, 4096, 32768] {
                let long = vec![b'x'; 1000];
                let file = Writer::new(is_big_endian, page_len)
                    .pair(b"one", b"1")
                    .long_pair(b"two", &long, 300)
                    .pair(b"", b"")
                    .finish();
                let expected = [(&b"one"[..], &b"1"[..]), (b"two", &long), (b"", b"")];
                let expected = expected.map(|(key, value)| (key.to_vec(), value.to_vec()));
                assert_eq!(all(&file).unwrap(), expected);
            }
        }
    }

    #[test]
    fn a_page_that_is_not_there_yet_is_empty() {
        let mut file = Writer::new(false, 512).pair(b"one", b"1").finish();
        file[32] = 9;
        assert_eq!(all(&file).unwrap().len(), 1);
        // And pages after the last are not looked at.
        file[32] = 0;
        assert_eq!(all(&file).unwrap().len(), 0);
    }

    #[test]
    fn overflow_pages_in_a_circle_end() {
        let mut file = Writer::new(false, 512).long_pair(b"k", &[b'x'; 600], 100).finish();
        // Every page gives nothing and names itself.
        for page in 2..8 {
            file[page * 512 + 16] = u8::try_from(page).unwrap();
            file[page * 512 + 22] = 0;
        }
        let error = all(&file).unwrap_err().to_string();
        assert_eq!(error, "damaged at page 2: overflow pages lead in circles");
    }

    #[test]
    fn what_is_no_such_file_is_named() {
        let good = Writer::new(false, 512).pair(b"one", b"1").finish();
        let with = |at: usize, byte: u8| {
            let mut file = good.clone();
            file[at] = byte;
            all(&file).unwrap_err().to_string()
        };
        assert_eq!(all(b"").unwrap_err(), PagesError::NotADatabase);
        assert_eq!(all(&[0; 4096]).unwrap_err(), PagesError::NotADatabase);
        assert!(all(&good[..400]).unwrap_err().to_string().contains("too short"));
        assert!(with(16, 10).contains("another version"));
        assert!(with(20, 1).contains("page size"));
        assert!(with(24, 1).contains("encryption"));
        assert!(with(25, 9).contains("no hash meta page"));
        assert!(with(26, 1).contains("checksums"));
        assert!(with(48, 1).contains("duplicates"));
        assert!(with(512 + 20, 1).contains("a key without a value"));
        assert!(with(512 + HEADER_LEN + 1, 2).contains("outside its place"));
        let mut gdbm = vec![0; 4096];
        gdbm[..4].copy_from_slice(&0x1357_9ace_u32.to_le_bytes());
        assert!(all(&gdbm).unwrap_err().to_string().contains("GDBM"));
        let mut btree = vec![0; 4096];
        btree[12..16].copy_from_slice(&0x0005_3162_u32.to_be_bytes());
        assert!(all(&btree).unwrap_err().to_string().contains("another order"));
    }
}
