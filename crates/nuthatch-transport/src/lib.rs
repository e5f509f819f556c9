//! Listeners and connectors for memcached: TCP, UDP and Unix sockets.
//!
//! A server's path: [`ListenAddr`] reads what `-l` says, [`bind`] makes sockets of it before any
//! runtime or thread exists, [`Bound::into_listener`] gives them to a tokio runtime, and each
//! [`Accepted`] connection becomes a [`Stream`] on whichever worker serves it. UDP has [`bind_udp`]
//! and [`Endpoint`]; what a service manager has opened already comes from [`inherited`]. A client's path:
//! [`ConnectAddr`] and [`Stream::connect`].
//!
//! ```
//! use std::io::IoSlice;
//!
//! use nuthatch_transport::{BindOptions, ConnectAddr, ListenAddr, Stream, bind};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let addresses = ListenAddr::parse_list("127.0.0.1:0")?;
//! let bound = bind(&addresses, 11211, BindOptions::default())?.remove(0);
//! let server: ConnectAddr = bound.local().to_string().parse()?;
//!
//! let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! runtime.block_on(async {
//!     let listener = bound.into_listener()?;
//!     let client = Stream::connect(&server).await?;
//!     let stream = listener.accept().await?.into_stream()?;
//!     client.try_write_vectored(&[IoSlice::new(b"version"), IoSlice::new(b"\r\n")])?;
//!     stream.readable().await?;
//!     let mut buffer = [0; 64];
//!     let n = stream.try_read(&mut buffer)?;
//!     assert_eq!(&buffer[..n], b"version\r\n");
//!     Ok(())
//! })
//! # }
//! ```
//!
//! Streams are driven by readiness, not by `AsyncRead`: the protocol's state machine owns the
//! buffers and says what it wants, so the caller waits for [`readable`](Stream::readable) or
//! [`writable`](Stream::writable) and then tries.
//!
//! Who may log in is here too, because some transports ask that themselves: [`sasl`] has the
//! mechanisms for either side and what operators configure, [`sasldb`] reads the database of
//! cyrus-sasl, [`passwords`] the file of memcached's `-Y`.
//!
//! This crate knows addresses, sockets and users. It knows no command, no limit on connections and no
//! thread.

#![forbid(unsafe_code)]

mod addr;
mod bind;
mod follow;
mod inherit;
mod listener;
mod napi;
mod networks;
pub mod passwords;
pub mod sasl;
pub mod sasldb;
mod stream;
mod udp;

// The public interface.
pub use addr::{AddrError, ConnectAddr, ListenAddr, ListenProtocol, Local, Place};
pub use bind::{BindError, BindOptions, Bound, bind};
pub use inherit::{InheritError, Inherited, has_inherited, inherited};
pub use listener::{Accepted, Listener};
pub use networks::{NetworkError, Networks};
pub use stream::{Peer, Stream};
pub use udp::{BoundUdp, Endpoint, bind_udp};
