//! What a client has still to write, and what it has read and not yet understood; the same for
//! either protocol.

/// How much room there is at least in [`Inbox::space`], in bytes.
const RECV_BYTES: usize = 16 << 10;

/// Buffers that have grown beyond this are given up when they are empty, in bytes: what an idle
/// connection holds twice at most, after values as most are not.
const KEPT_BYTES_MAX: usize = 256 << 10;

/// Bytes to be written.
#[derive(Debug)]
pub(super) struct Outbox {
    pub(super) bytes: Vec<u8>,
    /// How much of them has been sent.
    sent: usize,
}

impl Outbox {
    pub(super) const fn new() -> Self {
        Self { bytes: Vec::new(), sent: 0 }
    }

    pub(super) fn transmit(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    pub(super) fn sent(&mut self, n: usize) {
        debug_assert!(n <= self.bytes.len() - self.sent, "no more is sent than there was");
        self.sent += n;
        if self.sent == self.bytes.len() {
            self.bytes.clear();
            self.sent = 0;
            self.bytes.shrink_to(KEPT_BYTES_MAX);
        } else if self.sent > KEPT_BYTES_MAX {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
    }
}

/// Bytes that have been read. The fields are for those who hold on to a part of `bytes` while they
/// move `start`.
#[derive(Debug)]
pub(super) struct Inbox {
    pub(super) bytes: Vec<u8>,
    /// `bytes[start..end]` has been received and not yet been given to the caller.
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Inbox {
    pub(super) const fn new() -> Self {
        Self { bytes: Vec::new(), start: 0, end: 0 }
    }

    pub(super) fn space(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.bytes.len() > KEPT_BYTES_MAX {
                self.bytes = Vec::new();
            }
        }
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        // A large value is given room as it comes, not as it is announced: what a server says of
        // itself costs nothing.
        if self.bytes.len() - self.end < RECV_BYTES / 2 {
            let len = (2 * self.bytes.len()).max(RECV_BYTES);
            self.bytes.resize(len, 0);
        }
        &mut self.bytes[self.end..]
    }

    pub(super) fn received(&mut self, n: usize) {
        debug_assert!(n <= self.bytes.len() - self.end, "no more is received than there was space");
        self.end += n;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_value_leaves_no_large_buffers() {
        let mut inbox = Inbox::new();
        let mut outbox = Outbox::new();
        for _ in 0..6 {
            let n = inbox.space().len();
            inbox.received(n);
            outbox.bytes.extend([0; 64 << 10]);
        }
        assert!(inbox.bytes.len() > KEPT_BYTES_MAX);
        inbox.start = inbox.end;
        outbox.sent(outbox.bytes.len());
        assert_eq!(inbox.space().len(), RECV_BYTES);
        assert!(outbox.bytes.capacity() <= KEPT_BYTES_MAX);
    }
}
