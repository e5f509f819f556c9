//! The client as its users have it: over sockets, against servers that behave and servers that do
//! not.

mod alone;
mod calls;
mod cancel;
mod cluster;
mod compute;
mod deadline;
mod dialects;
mod end;
mod failure;
mod faults;
mod foreign;
mod hostile;
mod limits;
mod neighbours;
mod real;
mod secure;
mod server;
mod spans;
mod storm;
mod tls;
mod urls;
mod vectors;
mod waiting;

use std::time::Duration;

/// For calls that must not run into their time limit, however slow the machine.
const LONG: Duration = Duration::from_secs(20);
