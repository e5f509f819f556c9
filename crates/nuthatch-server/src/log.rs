//! The log on standard error: `-v`, and `verbosity` while running.

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

/// What is shown: 0 warnings, 1 also information, 2 also every command, 3 everything.
static LEVEL: AtomicU8 = AtomicU8::new(0);

/// Begins logging to standard error, for a whole program; a library must not.
pub fn init(level: u8) {
    set_level(level);
    let shown = filter_fn(|metadata| {
        let most = match LEVEL.load(Relaxed) {
            0 => LevelFilter::WARN,
            1 => LevelFilter::INFO,
            2 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        };
        *metadata.level() <= most
    });
    let layer = fmt::layer().with_writer(std::io::stderr).with_target(false).without_time();
    // A program that has a logger already keeps it.
    let _ = tracing_subscriber::registry().with(layer.with_filter(shown)).try_init();
}

/// What is shown now.
pub fn level() -> u8 {
    LEVEL.load(Relaxed)
}

/// Changes what is shown.
pub fn set_level(level: u8) {
    LEVEL.store(level, Relaxed);
    tracing::callsite::rebuild_interest_cache();
}
