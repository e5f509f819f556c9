//! A real memcached, as a child process behind a unix socket.

use std::collections::{BTreeMap, HashSet};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::Result;
use crate::hits::Tally;
use crate::load::Shape;
use crate::trace::{DELETE, SET, Trace, key_of};

/// memcached's longest relative life span is 30 days; longer ones would be dates.
const TTL_MAX: u32 = 29 * 86_400;
/// How many answers are left unread, and how many bytes unsent.
const PENDING_MAX: usize = 64;
const UNSENT_MAX: usize = 256 << 10;
/// Longer values are refused by its default limit, so they are replayed as this.
const VALUE_LEN_MAX: usize = 1_000_000;

/// A running memcached and a connection to it.
pub(crate) struct Memcached {
    child: Child,
    stream: UnixStream,
    answers: BufReader<UnixStream>,
    socket: PathBuf,
}

impl Drop for Memcached {
    fn drop(&mut self) {
        // It may be gone already; then there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.socket);
    }
}

impl Memcached {
    /// Starts `command` (a memcached, or a program that runs one) with one worker and `mib` of
    /// memory.
    pub(crate) fn start(mut command: Command, mib: u64) -> Result<Self> {
        let name = format!("nuthatch-bench-{}.sock", std::process::id());
        let socket = std::env::temp_dir().join(name);
        let _ = std::fs::remove_file(&socket);
        let mut child = command
            .arg("-s")
            .arg(&socket)
            .args(["-A", "-u", "root", "-t", "1", "-m", &mib.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("{}: {error}", command.get_program().display()))?;
        let stream = loop {
            if let Ok(stream) = UnixStream::connect(&socket) {
                break stream;
            }
            if let Some(status) = child.try_wait()? {
                return Err(format!("memcached ended at once: {status}").into());
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let answers = BufReader::with_capacity(1 << 16, stream.try_clone()?);
        Ok(Self { child, stream, answers, socket })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(bytes)?)
    }

    pub(crate) fn answer(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            return Err("memcached closed the connection".into());
        }
        Ok(line)
    }

    /// Ends it as an operator would, and waits until it has.
    pub(crate) fn end(mut self) -> Result<()> {
        self.send(b"shutdown graceful\r\n")?;
        self.child.wait()?;
        Ok(())
    }

    /// `stats`, or `stats slabs` and so on.
    pub(crate) fn stats(&mut self, of: &str) -> Result<BTreeMap<String, String>> {
        self.send(format!("stats{}{of}\r\n", if of.is_empty() { "" } else { " " }).as_bytes())?;
        let mut stats = BTreeMap::new();
        loop {
            let line = self.answer()?;
            let mut words = line.trim_end().splitn(3, ' ');
            match (words.next(), words.next(), words.next()) {
                (Some("STAT"), Some(name), value) => {
                    stats.insert(name.to_owned(), value.unwrap_or_default().to_owned());
                }
                _ => return Ok(stats),
            }
        }
    }

    pub(crate) fn stat(&mut self, name: &str) -> Result<u64> {
        Ok(self.stats("")?.get(name).ok_or("no such statistic")?.parse()?)
    }

    /// Stores the items of a shape, and says how many are there after that.
    pub(crate) fn fill(&mut self, shape: Shape) -> Result<u64> {
        let value = vec![b'v'; shape.values.1];
        let mut out = Vec::new();
        let mut buffer = [0; 256];
        let mut unread = 0;
        for number in shape.shuffled() {
            let key = key_of(number as u32, shape.key_len(number), &mut buffer);
            put_set(&mut out, key, &value[..shape.values.of(number)], 0);
            unread += 1;
            if unread == PENDING_MAX {
                self.send(&out)?;
                out.clear();
                for _ in 0..std::mem::take(&mut unread) {
                    self.answer()?;
                }
            }
        }
        self.send(&out)?;
        for _ in 0..unread {
            self.answer()?;
        }
        self.stat("curr_items")
    }
}

pub(crate) fn put_set(out: &mut Vec<u8>, key: &[u8], value: &[u8], ttl: u32) {
    out.extend_from_slice(b"ms ");
    out.extend_from_slice(key);
    out.extend_from_slice(format!(" {} T{}\r\n", value.len(), ttl.min(TTL_MAX)).as_bytes());
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// The chunk sizes that items of these sizes get, with chunks a page, in order.
pub(crate) fn chunks(program: &str, item_sizes: &[usize]) -> Result<Vec<(u64, u64)>> {
    let mut memcached = Memcached::start(Command::new(program), 1024)?;
    for (number, size) in (0..).zip(item_sizes) {
        let mut out = Vec::new();
        put_set(&mut out, key_of(number, 24, &mut [0; 256]), &vec![b'v'; size - 24], 0);
        memcached.send(&out)?;
        memcached.answer()?;
    }
    let stats = memcached.stats("slabs")?;
    let mut chunks = Vec::new();
    for (name, value) in &stats {
        if let Some(class) = name.strip_suffix(":chunk_size") {
            let per_page = &stats[&format!("{class}:chunks_per_page")];
            chunks.push((value.parse()?, per_page.parse()?));
        }
    }
    chunks.sort_unstable();
    Ok(chunks)
}

/// Replays a trace; all values have `unit_len` bytes if it is given. A trace with times runs on
/// memcached's virtual clock, which only its debug build has.
pub(crate) fn replay(
    program: &str,
    trace: &Trace,
    mib: u64,
    unit_len: Option<usize>,
) -> Result<(Tally, u64)> {
    let mut replay = Replay {
        memcached: Memcached::start(Command::new(program), mib)?,
        trace,
        unit_len,
        value: vec![b'v'; VALUE_LEN_MAX],
        out: Vec::new(),
        pending: Vec::new(),
        asked: HashSet::default(),
        tally: Tally::default(),
    };
    let (mut now, mut moved) = (0, 0);
    if trace.has_ttls() {
        replay.out.extend_from_slice(b"debugtime p\r\n");
        replay.pending.push(None);
    }
    for (at, &id) in trace.id.iter().enumerate() {
        // A get whose key was asked for just before must see what that one's miss will store.
        let is_full = replay.pending.len() >= PENDING_MAX || replay.out.len() > UNSENT_MAX;
        if is_full || replay.asked.contains(&id) {
            replay.flush()?;
        }
        if trace.has_ttls() && trace.time(at) != now {
            let step = i64::from(trace.time(at) - now);
            now = trace.time(at);
            // It takes the difference from the step before, not from the time.
            write!(replay.out, "debugtime {}\r\n", step - moved)?;
            moved = step;
            replay.pending.push(None);
        }
        replay.request(at);
    }
    replay.flush()?;
    replay.flush()?;
    let items = replay.memcached.stat("curr_items")?;
    Ok((replay.tally, items))
}

struct Replay<'a> {
    memcached: Memcached,
    trace: &'a Trace,
    unit_len: Option<usize>,
    value: Vec<u8>,
    out: Vec<u8>,
    /// What was sent since the last flush: gets with their place in the trace.
    pending: Vec<Option<usize>>,
    asked: HashSet<u32, ahash::RandomState>,
    tally: Tally,
}

impl Replay<'_> {
    fn request(&mut self, at: usize) {
        let mut buffer = [0; 256];
        let key = key_of(self.trace.id[at], self.trace.key_len(at), &mut buffer);
        let verb: &[u8] = match self.trace.op(at) {
            SET => {
                self.pending.push(None);
                return self.store(at);
            }
            DELETE => {
                self.pending.push(None);
                b"md "
            }
            _ => {
                self.pending.push(Some(at));
                self.asked.insert(self.trace.id[at]);
                b"mg "
            }
        };
        self.out.extend_from_slice(verb);
        self.out.extend_from_slice(key);
        self.out.extend_from_slice(b"\r\n");
    }

    fn store(&mut self, at: usize) {
        let len = self.unit_len.unwrap_or_else(|| self.trace.value_len(at)).min(VALUE_LEN_MAX);
        let mut buffer = [0; 256];
        let key = key_of(self.trace.id[at], self.trace.key_len(at), &mut buffer);
        put_set(&mut self.out, key, &self.value[..len], self.trace.ttl(at));
    }

    /// Sends, reads the answers, and leaves the sets for what missed to be sent.
    fn flush(&mut self) -> Result<()> {
        self.memcached.send(&self.out)?;
        self.out.clear();
        self.asked.clear();
        for sent in std::mem::take(&mut self.pending) {
            let answer = self.memcached.answer()?;
            let Some(at) = sent else { continue };
            let is_hit = answer.starts_with("HD");
            self.tally.count(is_hit);
            if !is_hit {
                self.store(at);
                self.pending.push(None);
            }
        }
        Ok(())
    }
}
