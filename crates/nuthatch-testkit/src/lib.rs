//! What the tests of the nuthatch workspace share: servers to start and transcripts to play.
//!
//! A [`Transcript`] is a conversation written down once. [`Player`] holds it with anything that
//! can be read and written: a connection to a [`Daemon`], ours or a real memcached, or a state
//! machine in [`Memory`]; whole, byte by byte or cut at random.
//!
//! ```
//! use nuthatch_testkit::{Memory, Player, Split, Transcript};
//!
//! let transcript = Transcript::parse("greeting", "> version\n< VERSION 1.\\*\n! closed\n")?;
//! let mut input = Vec::new();
//! let mut server = Memory::new(|bytes: &[u8], output: &mut Vec<u8>| {
//!     input.extend_from_slice(bytes);
//!     let complete = input.ends_with(b"\r\n");
//!     if complete {
//!         output.extend_from_slice(b"VERSION 1.6.45\r\n");
//!     }
//!     !complete
//! });
//! Player::new(&transcript).split(Split::EveryByte).play(&mut server)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! This crate knows no crate of the workspace: what it tests stands outside.

#![forbid(unsafe_code)]

mod daemon;
mod memory;
mod pattern;
mod play;
mod services;
mod transcript;

// The public interface.
pub use daemon::{Connection, Daemon, DaemonBuilder, StartError, find_program, version_of};
pub use memory::Memory;
pub use play::{Mismatch, Player, Split};
pub use services::{Dns, Etcd};
pub use transcript::{FormatError, Transcript, Version};
