//! Exit codes, as memcached uses those of `sysexits.h`.

/// All went well, or a signal asked to stop.
pub const OK: u8 = 0;
/// A bad number, a bad `-o` word, or something that went wrong while running.
pub const FAILURE: u8 = 1;
/// Flags that do not fit together, or that this build does not support (`EX_USAGE`).
pub const USAGE: u8 = 64;
/// The user named by `-u` does not exist (`EX_NOUSER`).
pub const NO_USER: u8 = 67;
/// The system refused: no listener could be bound, a limit not raised (`EX_OSERR`).
pub const OS_ERROR: u8 = 71;
