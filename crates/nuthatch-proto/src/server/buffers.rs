//! The memory a session works in, lent to it while there is work.

/// What [`Buffers::new`] gives for receiving, in bytes; memcached's read buffer is as large.
pub(crate) const RECV_BYTES: usize = 16 << 10;

/// What [`Buffers::new`] gives for sending, in bytes.
const SEND_BYTES: usize = 8 << 10;

/// A send buffer that has grown beyond this is not kept for the next connection, in bytes.
const SEND_BYTES_KEPT_MAX: usize = 64 << 10;

/// A receive and a send buffer.
///
/// A worker keeps a few of these and lends one to each session that has something to do; see
/// [`Session::attach`](crate::Session::attach). A thousand idle connections then cost no buffers.
pub struct Buffers {
    /// Always filled to its length; what it holds beyond what was received is old.
    pub(crate) recv: Vec<u8>,
    /// Always empty while it is not attached.
    pub(crate) send: Vec<u8>,
}

impl Buffers {
    /// Allocates both, 24 KiB together.
    pub fn new() -> Self {
        Self { recv: vec![0; RECV_BYTES], send: Vec::with_capacity(SEND_BYTES) }
    }

    /// No memory at all.
    pub(crate) const fn none() -> Self {
        Self { recv: Vec::new(), send: Vec::new() }
    }

    /// Gives back what one large request made them grow by.
    pub(crate) fn trim(&mut self) {
        if self.recv.len() > RECV_BYTES {
            self.recv.truncate(RECV_BYTES);
            self.recv.shrink_to_fit();
        }
        self.send.clear();
        if self.send.capacity() > SEND_BYTES_KEPT_MAX {
            self.send = Vec::with_capacity(SEND_BYTES);
        }
    }
}

impl Default for Buffers {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Buffers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Buffers")
            .field("recv_bytes", &self.recv.len())
            .field("send_bytes", &self.send.capacity())
            .finish()
    }
}
