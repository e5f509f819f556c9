//! Tests of the protocol's public interface, without any socket.

mod binary_pair;
mod cuts;
mod frames;
mod model;
mod pair;
mod rig;
mod session;
