//! What the system says about this process and the others.

use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};

use crate::Result;

/// Now, for measuring.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// CPU time of this thread, in nanoseconds.
pub(crate) fn thread_cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Resident memory of a process, in bytes.
pub(crate) fn rss(pid: u32) -> Result<u64> {
    let sizes = std::fs::read_to_string(format!("/proc/{pid}/statm"))?;
    let pages: u64 = sizes.split_ascii_whitespace().nth(1).ok_or("statm")?.parse()?;
    Ok(pages * rustix::param::page_size() as u64)
}

/// CPU time spent so far by processes other than this one, in ticks of 10 ms.
pub(crate) fn other_ticks() -> Result<f64> {
    let all = std::fs::read_to_string("/proc/stat")?;
    let first = all.lines().next().ok_or("stat")?;
    let ticks: Vec<f64> =
        first.split_ascii_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect();
    let busy: f64 = [0, 1, 2, 5, 6, 7].iter().filter_map(|&at| ticks.get(at)).sum();
    let own = std::fs::read_to_string("/proc/self/stat")?;
    let own = own.rsplit(')').next().ok_or("self/stat")?;
    let own: f64 = own
        .split_ascii_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|word| word.parse::<f64>().ok())
        .sum();
    Ok(busy - own)
}

/// The processor's name and how many of it there are.
pub(crate) fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let names: Vec<&str> = info
        .lines()
        .filter(|line| line.starts_with("model name"))
        .filter_map(|line| line.split(": ").nth(1))
        .collect();
    format!("{} x {}", names.len(), names.first().unwrap_or(&"unknown processor"))
}
