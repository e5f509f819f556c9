//! `cargo xtask vectors DIR`: recordings of where other clients put keys, packed for a test.
//!
//! A recording is a JSON file of the nodes and, for each key, the position of the node that it was
//! found on, or null:
//!
//! ```json
//! {"client": "dalli 3.0.6",
//!  "servers": [{"host": "127.0.0.1", "port": 23301, "weight": 1}],
//!  "vectors": [{"key": "a", "server": 0}, {"key_hex": "c3a9", "server": null}]}
//! ```
//!
//! Two more have forms of their own: `hashkit-values.json`, what libhashkit makes of some keys, and
//! `jump-hash.json`. How the packed file is read is in the client's `tests/it/vectors.rs`. It is
//! text, so that a change of it can be looked at; Git packs it to three quarters.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::{fs, str};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::run;

/// Packs the folder named.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let [folder] = args else { bail!("usage: cargo xtask vectors DIR") };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.clone())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            files.push(path);
        }
    }
    files.sort();
    ensure!(!files.is_empty(), "no JSON file in {folder}");
    let mut packed = Packed { text: HEAD.to_owned(), sets: HashMap::new() };
    for path in files {
        let text = fs::read_to_string(&path)?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        packed.add(&name, &text).with_context(|| path.display().to_string())?;
    }
    let target = run::root().join(PACKED);
    fs::write(&target, packed.text)?;
    Ok(())
}

/// The packed text so far.
struct Packed {
    text: String,
    /// Lists of keys that have been written, and their numbers.
    sets: HashMap<Vec<String>, usize>,
}

impl Packed {
    fn add(&mut self, name: &str, json: &str) -> Result<()> {
        let file: Value = serde_json::from_str(json)?;
        match name {
            "hashkit-values" => self.add_hashes(list(&file, "hashes")?),
            "jump-hash" => self.add_jumps(list(&file, "vectors")?),
            _ => self.add_route(name, &file),
        }
    }

    /// `file NAME`, `servers …`, `keys NUMBER` and the positions, one character a key.
    fn add_route(&mut self, name: &str, file: &Value) -> Result<()> {
        let vectors = list(file, "vectors")?;
        let keys = vectors.iter().map(key).collect::<Result<Vec<_>>>()?;
        let next = self.sets.len();
        let set = *self.sets.entry(keys).or_insert_with_key(|keys| {
            let _ = writeln!(self.text, "set {next} {}", keys.len());
            keys.iter().for_each(|key| self.text.push_str(&format!("{key}\n")));
            next
        });
        writeln!(self.text, "file {name}\nkeys {set}")?;
        let servers = list(file, "servers")?;
        ensure!(servers.len() <= 10, "more servers than digits");
        // Some recordings have their weights in words only.
        let said = file["client"].as_str().and_then(|client| client.split_once(", weights "));
        let said: Vec<_> = said.map(|(_, list)| list.split(',').collect()).unwrap_or_default();
        self.text.push_str("servers");
        for (position, server) in servers.iter().enumerate() {
            let host = server["host"].as_str().context("no host")?;
            let weight = server["weight"].to_string();
            let weight = said.get(position).map_or(&*weight, |weight| weight);
            write!(self.text, " {host}:{}*{weight}", server["port"])?;
        }
        self.text.push_str("\nat ");
        for vector in vectors {
            match &vector["server"] {
                Value::Null => self.text.push('-'),
                server => write!(self.text, "{server}")?,
            }
        }
        self.text.push('\n');
        Ok(())
    }

    /// `hashes COUNT NAME…`, then a key a line with its hashes.
    fn add_hashes(&mut self, hashes: &[Value]) -> Result<()> {
        let first = hashes.first().and_then(Value::as_object).context("no hashes")?;
        let names: Vec<_> = first.keys().filter(|name| !name.starts_with("key")).cloned().collect();
        writeln!(self.text, "hashes {} {}", hashes.len(), names.join(" "))?;
        for hash in hashes {
            self.text.push_str(&key(hash)?);
            for name in &names {
                write!(self.text, " {}", hash[name])?;
            }
            self.text.push('\n');
        }
        Ok(())
    }

    /// `jumps COUNT`, then a key, a number of buckets and a bucket a line.
    fn add_jumps(&mut self, vectors: &[Value]) -> Result<()> {
        writeln!(self.text, "jumps {}", vectors.len())?;
        for vector in vectors {
            writeln!(self.text, "{} {} {}", vector["key"], vector["buckets"], vector["bucket"])?;
        }
        Ok(())
    }
}

fn list<'a>(value: &'a Value, name: &str) -> Result<&'a [Value]> {
    Ok(value[name].as_array().with_context(|| format!("no {name}"))?)
}

/// A key as text, without anything that lines could not carry.
fn key(vector: &Value) -> Result<String> {
    let key = match (vector["key"].as_str(), vector["key_hex"].as_str()) {
        (Some(key), _) => key.to_owned(),
        (None, Some(hex)) => {
            let pairs = hex.as_bytes().chunks(2);
            let bytes = pairs.map(|pair| Ok(u8::from_str_radix(str::from_utf8(pair)?, 16)?));
            String::from_utf8(bytes.collect::<Result<_>>()?)?
        }
        _ => bail!("vector without a key"),
    };
    ensure!(!key.is_empty() && !key.contains([' ', '\n', '\r']), "key {key:?}");
    Ok(key)
}

/// What is written, from the workspace's root.
const PACKED: &str = "crates/nuthatch-client/tests/vectors/routes.txt";

const HEAD: &str =
    "# Where other clients put keys. Made by `cargo xtask vectors`; not to be edited.\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recordings_are_packed() {
        let mut packed = Packed { text: String::new(), sets: HashMap::new() };
        let route = |client: &str, keys: &str| {
            format!(
                r#"{{"client": "{client}", "servers": [{{"host": "h", "port": 1, "weight": 1}},
                {{"host": "h", "port": 2, "weight": 2}}], "vectors": [{keys}]}}"#
            )
        };
        let keys = r#"{"key": "a", "server": 1}, {"key_hex": "c3a9", "server": null}"#;
        packed.add("one", &route("x", keys)).unwrap();
        packed.add("two", &route("x, weights 7,8", &keys.replace("null", "0"))).unwrap();
        let jumps = r#"{"vectors": [{"key": 18446744073709551615, "buckets": 3, "bucket": 1}]}"#;
        packed.add("jump-hash", jumps).unwrap();
        packed.add("hashkit-values", r#"{"hashes": [{"key": "a", "md5": 5, "crc": 6}]}"#).unwrap();
        assert_eq!(
            packed.text,
            "set 0 2\na\né\nfile one\nkeys 0\nservers h:1*1 h:2*2\nat 1-\n\
             file two\nkeys 0\nservers h:1*7 h:2*8\nat 10\n\
             jumps 1\n18446744073709551615 3 1\nhashes 1 crc md5\na 6 5\n"
        );
    }

    #[test]
    fn what_lines_cannot_carry_is_refused() {
        for vector in [r#"{"key": "a b"}"#, r#"{"key": ""}"#, r#"{"key_hex": "ff"}"#, "{}"] {
            assert!(key(&serde_json::from_str(vector).unwrap()).is_err(), "{vector}");
        }
    }
}
