//! A connection as hyper wants it.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use hyper::rt::{Read, ReadBufCursor, Write};
use nuthatch_transport::Stream;

/// A plain or TLS connection.
pub(super) struct Io {
    stream: Stream,
    buffer: Box<[u8]>,
}

impl Io {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, buffer: vec![0; 8192].into() }
    }
}

impl Read for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, buffer } = self.get_mut();
        let len = buffer.len().min(cursor.remaining());
        let n = ready!(stream.poll_read(cx, &mut buffer[..len]))?;
        cursor.put_slice(&buffer[..n]);
        Poll::Ready(Ok(()))
    }
}

impl Write for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream.poll_write(cx, &[IoSlice::new(bytes)])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Requests are answered before a connection is given up; nobody waits for its end.
        self.stream.poll_flush(cx)
    }
}
