//! A real memcached beside ours: the same commands, made up at random, must be answered with the
//! same bytes.
//!
//! The memcached of `PATH` is asked, or the one that the environment variable `MEMCACHED` names;
//! what is newer than it is left out. Where there is none, the tests say so.

use std::{env, path::PathBuf};

use nuthatch_testkit::{Daemon, Version, find_program, version_of};

use crate::support::{Client, Random, skip, start};

/// The version whose behaviour ours is.
const OURS: &str = "1.6.45";

/// How many conversations, and how many commands in each.
const CONVERSATIONS: u64 = 60;
const COMMANDS: usize = 150;

fn memcached() -> Option<(PathBuf, Version)> {
    let path = env::var_os("MEMCACHED").map(PathBuf::from).or_else(|| find_program("memcached"))?;
    let version = version_of(&path).unwrap();
    Some((path, version))
}

/// The memcached to compare with, if it is of the version whose behaviour ours is, or newer.
pub(crate) fn current_memcached() -> Option<PathBuf> {
    let (path, version) = memcached()?;
    (version >= Version::parse(OURS).unwrap()).then_some(path)
}

#[test]
fn random_commands_are_answered_alike() {
    let Some((path, version)) = memcached() else { return skip("there is no memcached") };
    let is_current = version >= Version::parse(OURS).unwrap();
    // A small limit, so that values too large are met too; and chained items. 1.6.18 crashes of that.
    let small: &[&str] = if is_current { &["-I", "64k", "-o", "slab_chunk_max=32"] } else { &[] };
    let args = [&["-t", "1", "-m", "64"], small].concat();
    let theirs = Daemon::builder(path).args(&args).start().unwrap();
    let ours = start(&args);
    for seed in 0..CONVERSATIONS {
        let mut random = Random::new(seed);
        let commands: Vec<Vec<u8>> = (0..COMMANDS)
            .map(|_| if is_current { current(&mut random) } else { classic(&mut random) })
            .collect();
        // One by one, or all in one go.
        let is_pipelined = seed % 2 == 1;
        let [expected, got] = [&theirs, &ours].map(|daemon| {
            let mut client = Client::of(daemon);
            client.send("flush_all\r\n");
            assert_eq!(client.line(), "OK");
            answers(&mut client, &commands, is_pipelined)
        });
        for (index, (expected, got)) in expected.iter().zip(&got).enumerate() {
            assert_eq!(
                got.escape_ascii().to_string(),
                expected.escape_ascii().to_string(),
                "seed {seed}, command {index}: {}",
                shown(&commands[..=index])
            );
        }
        assert_eq!(expected.len(), got.len());
    }
}

/// The commands about the key of the last one.
fn shown(commands: &[Vec<u8>]) -> String {
    let is_key = |word: &&[u8]| KEYS.iter().any(|key| key.as_bytes() == *word);
    let words = |command: &'_ [u8]| -> Vec<Vec<u8>> {
        let line = command.split(|byte| *byte == b'\r').next().expect("split gives one at least");
        line.split(|byte| *byte == b' ').filter(is_key).map(<[u8]>::to_vec).collect()
    };
    let last = commands.last().map(|command| words(command)).unwrap_or_default();
    let shortened = |command: &Vec<u8>| {
        let len = command.len().min(120);
        format!("\n  {}", command[..len].escape_ascii())
    };
    let related = |command: &&Vec<u8>| words(command).iter().any(|word| last.contains(word));
    let related: Vec<_> = commands.iter().filter(related).collect();
    related[related.len().saturating_sub(30)..].iter().copied().map(shortened).collect()
}

/// What each command is answered with. Behind each one goes an `mn`, or for the older protocol a
/// command whose answer ends what belongs to it.
fn answers(client: &mut Client, commands: &[Vec<u8>], is_pipelined: bool) -> Vec<Vec<u8>> {
    let marked: Vec<Vec<u8>> =
        commands.iter().map(|command| [command, &b"mn\r\n"[..]].concat()).collect();
    if is_pipelined {
        client.send(marked.concat());
    }
    marked
        .iter()
        .map(|command| {
            if !is_pipelined {
                client.send(command);
            }
            let mut answer = Vec::new();
            while !answer.ends_with(b"MN\r\n") {
                let line = client.raw_line();
                if line.is_empty() {
                    answer.extend_from_slice(b"closed");
                    break;
                }
                answer.extend_from_slice(&line);
            }
            without_chance(&answer)
        })
        .collect()
}

/// The answer without what depends on more than the commands: CAS numbers are each server's own,
/// and a second may have passed for one of the two. Whether an item was hit (`h`) is not asked: it
/// is forgotten by a count that could not be made in place, because a thread was looking.
fn without_chance(answer: &[u8]) -> Vec<u8> {
    let mut lines: Vec<u8> = Vec::new();
    for line in answer.split_inclusive(|byte| *byte == b'\n') {
        let is_meta = line.starts_with(b"HD ") || line.starts_with(b"VA ");
        let is_value = line.starts_with(b"VALUE ");
        for (index, word) in line.split(|byte| b" \r\n".contains(byte)).enumerate() {
            let number = word
                .get(1..)
                .and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<u32>().ok());
            match (word.first(), number) {
                (Some(b'c'), Some(_)) if is_meta => lines.push(b'c'),
                (Some(b'l'), Some(0 | 1)) if is_meta => lines.push(b'l'),
                // All times are tens of seconds.
                (Some(b't'), Some(secs)) if is_meta => {
                    lines.extend_from_slice(format!("t{}", secs.div_ceil(10) * 10).as_bytes());
                }
                (Some(_), _) if is_value && index == 4 => lines.push(b'-'),
                _ => lines.extend_from_slice(word),
            }
            lines.push(b' ');
        }
    }
    lines
}

const KEYS: &[&str] = &["a", "b", "c", "long-key-number-one", "none"];

/// What is counted, and nothing else. A count in place keeps an item's marks and pads a shorter
/// number, one that makes a new item does neither; which of them it is depends on who else looks at
/// the item, in memcached as here. So these have no marks, and never get shorter.
const COUNTERS: &[&str] = &["number", "made", "word"];

fn counting(random: &mut Random) -> String {
    let counter = random.one_of(COUNTERS);
    match random.below(6) {
        0 => random.one_of(&["set", "add"]).to_owned() + " number 5 0 6\r\n100000",
        1 => "set word 0 0 3\r\nabc".to_owned(),
        2 => format!("{} {counter}", random.one_of(&["get", "gets", "delete"])),
        _ => format!("incr {counter} {}", number(random)),
    }
}

fn value(random: &mut Random) -> Vec<u8> {
    let len = random.one_of(&[0, 1, 1, 2, 3, 10, 100, 1000, 5000, 30_000, 60_000]);
    match random.below(3) {
        0 => format!("{}", random.next() >> random.below(48)).into_bytes(),
        _ => vec![b'a' + random.bytes(1)[0] % 26; len],
    }
}

fn number(random: &mut Random) -> String {
    match random.below(6) {
        1 => "x".to_owned(),
        2 => "18446744073709551616".to_owned(),
        _ => (random.next() % 1000).to_string(),
    }
}

/// Commands that all versions answer alike.
fn classic(random: &mut Random) -> Vec<u8> {
    let key = random.one_of(KEYS);
    let noreply = random.one_of(&["", "", "", " noreply"]);
    let line = match random.below(12) {
        0..=3 => {
            let verb = random.one_of(&["set", "set", "add", "replace", "append", "prepend"]);
            return store(random, &format!("{verb} {key} FLAGS 0"), noreply);
        }
        4 | 5 => {
            let verb = random.one_of(&["get", "gets"]);
            format!("{verb} {key} {} {key}", random.one_of(KEYS))
        }
        6 => format!("{} 100 {key}", random.one_of(&["gat", "gats"])),
        7 => format!("delete {key}{noreply}"),
        8 => format!("touch {key} 100{noreply}"),
        9 | 10 => counting(random),
        _ => return store(random, &format!("cas {key} FLAGS 0"), &format!(" 1{noreply}")),
    };
    format!("{line}\r\n").into_bytes()
}

/// A store command with its value; now and then the length is wrong.
fn store(random: &mut Random, head: &str, tail: &str) -> Vec<u8> {
    let value = value(random);
    let flags = random.next() & 0xffff;
    let head = head.replace("FLAGS", &flags.to_string());
    let head = format!("{head} {}{tail}\r\n", value.len());
    [head.as_bytes(), &value, b"\r\n"].concat()
}

/// The same and what 1.6.45 knows besides.
fn current(random: &mut Random) -> Vec<u8> {
    let key = random.one_of(KEYS);
    let mut flags = |all: &[&str]| -> String {
        let n = random.below(5);
        let mut used = Vec::new();
        for _ in 0..n {
            let flag = all[random.below(all.len())];
            // A flag given twice is an error of its own, which is tried too, but seldom.
            if !used.contains(&flag) || random.below(20) == 0 {
                used.push(flag);
            }
        }
        used.iter().map(|flag| format!(" {flag}")).collect()
    };
    let line = match flags(&["0", "1", "2", "3", "4", "5", "6", "7"]).len() {
        2 => {
            let flags = flags(&[
                "v", "k", "f", "s", "t", "c", "q", "O123", "N100", "T100", "E77", "x", "R45", "b",
                "Ofoo", "l",
            ]);
            // An item made by `N`, or emptied by `md x`, forgets in memcached that its key came in
            // base64, and shows it raw from then on.
            let is_raw = flags.contains(" k") && flags.contains(" b");
            format!("mg {key}{}", if is_raw { "" } else { &flags })
        }
        4 => {
            let flags = flags(&[
                "k", "f", "c", "q", "O1", "F5", "T100", "T0", "I", "MS", "MA", "MP", "ME", "MR",
                "Mx", "N50", "C1", "E99", "b", "s",
            ]);
            let value = value(random);
            let head = format!("ms {key} {}{flags}\r\n", value.len());
            return [head.as_bytes(), &value, b"\r\n"].concat();
        }
        6 => {
            let flags = flags(&["q", "O1", "k", "I", "T30", "C1", "x", "E5", "b"]);
            format!("md {key}{flags}")
        }
        8 => {
            let flags = flags(&[
                "v", "t", "c", "k", "q", "O1", "N60", "J5", "D3", "Dx", "MI", "M+", "Mz", "T90",
                "E9", "C1", "b",
            ]);
            let is_raw = flags.contains(" k") && flags.contains(" b");
            let key = random.one_of(COUNTERS);
            format!("ma {key}{}", if is_raw { "" } else { &flags })
        }
        _ => match random.below(8) {
            0 => counting(random),
            1 => random.one_of(&MALFORMED).to_owned(),
            _ => return classic(random),
        },
    };
    format!("{line}\r\n").into_bytes()
}

/// Lines that are no command, or not enough of one.
const MALFORMED: [&str; 24] = [
    "",
    " ",
    "frob",
    "get",
    "gets",
    "gat",
    "gat 0",
    "gat x a",
    "mg",
    "ms",
    "ms a",
    "ms a x",
    "ms a -1",
    "md",
    "ma",
    "me",
    "me nowhere",
    "incr a",
    "delete",
    "delete a 0",
    "delete a 5",
    "touch a",
    "touch a x",
    "verbosity",
];
