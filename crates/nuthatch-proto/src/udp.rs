//! The frame around each datagram of the UDP protocol.
//!
//! ```text
//!   0          2          4          6          8
//!   │ id       │ sequence │ total    │ 0        │ text or binary protocol …
//! ```
//!
//! All four numbers are big endian. The client chooses the id, and gets it back with every
//! datagram of the answer. A request is one datagram. An answer is one or more, numbered from 0
//! in the order in which their payloads are to be joined; each says how many there are.
//!
//! An answer here is everything that is said to one request datagram, under one numbering: this is
//! what memcached's `doc/protocol.txt` promises and what a client can put together again. memcached
//! itself numbers each value of a retrieval anew, so that the datagrams of `get a b` cannot be told
//! apart.
//!
//! ```
//! use nuthatch_proto::udp::{self, Assembly};
//!
//! // A client asks …
//! let mut datagram = udp::request_header(7).to_vec();
//! datagram.extend_from_slice(b"get a\r\n");
//! // … the server answers …
//! let request = udp::Request::parse(&datagram).unwrap();
//! assert_eq!(request.payload, b"get a\r\n");
//! let answer = vec![b'x'; 3000];
//! let datagrams: Vec<Vec<u8>> = udp::Datagrams::new(request.id, &answer)
//!     .unwrap()
//!     .map(|(header, payload)| [&header, payload].concat())
//!     .collect();
//! assert_eq!(datagrams.len(), 3);
//! // … and the client joins what comes in any order.
//! let mut assembly = Assembly::new(7, 1 << 20);
//! assert_eq!(assembly.take(&datagrams[2]), None);
//! assert_eq!(assembly.take(&datagrams[0]), None);
//! assert_eq!(assembly.take(&datagrams[1]), Some(answer));
//! ```

/// The length of the frame's header, in bytes.
pub const HEADER_LEN: usize = 8;

/// The longest datagram of an answer, header included, in bytes; memcached's figure, which fits
/// into an Ethernet frame whatever tunnel is around it.
pub const DATAGRAM_LEN_MAX: usize = 1400;

/// The most payload of a datagram of an answer, in bytes.
pub const PAYLOAD_LEN_MAX: usize = DATAGRAM_LEN_MAX - HEADER_LEN;

/// The longest answer that can be numbered, in bytes: 65,535 full datagrams.
pub const ANSWER_LEN_MAX: usize = PAYLOAD_LEN_MAX * u16::MAX as usize;

/// The header of a datagram.
pub type Header = [u8; HEADER_LEN];

/// What a client puts in front of a request.
pub const fn request_header(id: u16) -> Header {
    header(id, 0, 1)
}

/// A request datagram.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Request<'a> {
    /// What the client calls it.
    pub id: u16,
    /// What it asks, in the text or the binary protocol; never empty.
    pub payload: &'a [u8],
}

impl<'a> Request<'a> {
    /// Reads a datagram. `None` for what memcached passes over in silence: a datagram of no more
    /// than a header, and one that says that it is not the whole message. There is nobody to tell:
    /// the sender's address may be anybody's.
    ///
    /// Sequence number and reserved field are not looked at, as in memcached.
    pub fn parse(datagram: &'a [u8]) -> Option<Self> {
        let (id, _, total, payload) = read(datagram)?;
        (total == 1 && !payload.is_empty()).then_some(Self { id, payload })
    }
}

/// The datagrams of an answer, in order: their headers and payloads.
#[derive(Clone, Debug)]
pub struct Datagrams<'a> {
    id: u16,
    next: u16,
    total: u16,
    rest: &'a [u8],
}

impl<'a> Datagrams<'a> {
    /// Divides an answer; an empty one has no datagrams. `None` above [`ANSWER_LEN_MAX`].
    pub fn new(id: u16, answer: &'a [u8]) -> Option<Self> {
        let total = u16::try_from(answer.len().div_ceil(PAYLOAD_LEN_MAX)).ok()?;
        Some(Self { id, next: 0, total, rest: answer })
    }
}

impl<'a> Iterator for Datagrams<'a> {
    type Item = (Header, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.total {
            return None;
        }
        let (payload, rest) = self.rest.split_at(self.rest.len().min(PAYLOAD_LEN_MAX));
        let header = header(self.id, self.next, self.total);
        self.rest = rest;
        self.next += 1;
        Some((header, payload))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::from(self.total - self.next);
        (left, Some(left))
    }
}

impl ExactSizeIterator for Datagrams<'_> {}

/// An answer being put together by a client, from datagrams that come in any order, twice, or
/// along with others.
#[derive(Debug)]
pub struct Assembly {
    id: u16,
    len_max: usize,
    len: usize,
    parts: Vec<Option<Vec<u8>>>,
    n_missing: usize,
}

impl Assembly {
    /// The answer to the request called `id`, of at most `len_max` bytes; nothing is taken up for
    /// one that says it has more datagrams than that.
    pub const fn new(id: u16, len_max: usize) -> Self {
        Self { id, len_max, len: 0, parts: Vec::new(), n_missing: 0 }
    }

    /// Takes a datagram in, and gives the answer if it was the last that was missing. A datagram
    /// that belongs to something else, contradicts those before it, or goes over the limit is
    /// passed over: what is lost is asked for again.
    pub fn take(&mut self, datagram: &[u8]) -> Option<Vec<u8>> {
        let (id, sequence, total, payload) = read(datagram)?;
        let (at, total) = (usize::from(sequence), usize::from(total));
        let is_too_long = total > self.len_max || self.len + payload.len() > self.len_max;
        if id != self.id || at >= total || is_too_long {
            return None;
        }
        if self.parts.is_empty() {
            self.parts = vec![None; total];
            self.n_missing = total;
        }
        if self.parts.len() != total || self.parts[at].is_some() {
            return None;
        }
        self.parts[at] = Some(payload.to_vec());
        self.len += payload.len();
        self.n_missing -= 1;
        if self.n_missing > 0 {
            return None;
        }
        self.len = 0;
        Some(std::mem::take(&mut self.parts).into_iter().flatten().flatten().collect())
    }
}

/// Splits a datagram into id, sequence number, total and payload.
fn read(datagram: &[u8]) -> Option<(u16, u16, u16, &[u8])> {
    let (header, payload) = datagram.split_first_chunk::<HEADER_LEN>()?;
    let [i0, i1, s0, s1, t0, t1, _, _] = *header;
    let number = |high, low| u16::from_be_bytes([high, low]);
    Some((number(i0, i1), number(s0, s1), number(t0, t1), payload))
}

const fn header(id: u16, sequence: u16, total: u16) -> Header {
    let ([i0, i1], [s0, s1]) = (id.to_be_bytes(), sequence.to_be_bytes());
    let [t0, t1] = total.to_be_bytes();
    [i0, i1, s0, s1, t0, t1, 0, 0]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn datagrams(id: u16, answer: &[u8]) -> Vec<Vec<u8>> {
        let datagrams = Datagrams::new(id, answer).unwrap();
        datagrams.map(|(header, payload)| [&header, payload].concat()).collect()
    }

    #[test]
    fn requests() {
        let of = |bytes: &'static [u8]| Request::parse(bytes).map(|it| (it.id, it.payload));
        assert_eq!(of(b"\x12\x34\0\0\0\x01\0\0get a\r\n"), Some((0x1234, &b"get a\r\n"[..])));
        // Only the total says whether it is whole.
        assert_eq!(of(b"\0\x01\xff\xff\0\x01\xff\xffx"), Some((1, &b"x"[..])));
        for dropped in [
            &b""[..],
            b"\0\x01\0\0\0\x01\0",
            b"\0\x01\0\0\0\x01\0\0",
            b"\0\x01\0\0\0\0\0\0get a\r\n",
            b"\0\x01\0\0\0\x02\0\0get a\r\n",
            b"\0\x01\0\0\x01\x01\0\0get a\r\n",
        ] {
            assert_eq!(Request::parse(dropped), None, "{dropped:?}");
        }
    }

    #[test]
    fn an_answer_is_cut_at_1392_bytes() {
        for (len, total) in [(0, 0), (1, 1), (1392, 1), (1393, 2), (2784, 2), (2785, 3)] {
            let answer = vec![b'x'; len];
            let all = datagrams(0xabcd, &answer);
            assert_eq!(all.len(), total, "{len} bytes");
            for (sequence, datagram) in all.iter().enumerate() {
                let sequence = u8::try_from(sequence).unwrap();
                let total = u8::try_from(total).unwrap();
                assert_eq!(datagram[..8], [0xab, 0xcd, 0, sequence, 0, total, 0, 0]);
                assert!(datagram.len() <= DATAGRAM_LEN_MAX);
            }
            assert_eq!(all.iter().map(|datagram| datagram.len() - 8).sum::<usize>(), len);
        }
    }

    #[test]
    fn an_answer_that_cannot_be_numbered_is_none() {
        let answer = vec![0; ANSWER_LEN_MAX + 1];
        assert_eq!(Datagrams::new(1, &answer[1..]).unwrap().len(), 65535);
        assert!(Datagrams::new(1, &answer).is_none());
    }

    #[test]
    fn what_does_not_belong_together_is_not_joined() {
        let all = datagrams(1, &[b'x'; 2000]);
        let mut assembly = Assembly::new(1, 2000);
        assert_eq!(assembly.take(&datagrams(2, b"another's")[0]), None);
        assert_eq!(assembly.take(&all[0]), None);
        assert_eq!(assembly.take(&all[0]), None, "twice");
        assert_eq!(assembly.take(&datagrams(1, b"of another total")[0]), None);
        assert_eq!(assembly.take(&header(1, 2, 2)), None, "beyond the end");
        assert_eq!(assembly.take(b"short"), None);
        assert_eq!(assembly.take(&all[1]).map(|answer| answer.len()), Some(2000));

        let mut tight = Assembly::new(1, 1999);
        assert_eq!(tight.take(&all[0]), None);
        assert_eq!(tight.take(&all[1]), None, "over the limit");
    }

    proptest! {
        #[test]
        fn what_is_divided_can_be_joined(
            id: u16,
            answer in proptest::collection::vec(any::<u8>(), 1..20_000),
            order in proptest::collection::vec(any::<usize>(), 0..20),
        ) {
            let mut all = datagrams(id, &answer);
            for swap in order {
                let len = all.len();
                all.swap(swap % len, 0);
            }
            let mut assembly = Assembly::new(id, answer.len());
            let (last, others) = all.split_last().unwrap();
            for datagram in others {
                prop_assert_eq!(assembly.take(datagram), None);
            }
            prop_assert_eq!(assembly.take(last), Some(answer));
        }

        #[test]
        fn no_bytes_make_it_panic(
            datagrams in proptest::collection::vec(
                proptest::collection::vec(0u8..4, 0..24), 0..20),
        ) {
            let mut assembly = Assembly::new(0, 64);
            for datagram in datagrams {
                let _ = Request::parse(&datagram);
                let _ = assembly.take(&datagram);
            }
        }
    }
}
