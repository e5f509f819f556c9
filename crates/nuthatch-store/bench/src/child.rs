//! Every measurement is a process of its own: this program again, which prints its figures as
//! `name value` lines.

use std::collections::BTreeMap;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::{Result, machine};

/// What a child found out.
#[derive(Debug, Default)]
pub(crate) struct Figures(BTreeMap<String, f64>);

impl Figures {
    pub(crate) fn put(&mut self, name: &str, value: f64) {
        self.0.insert(name.to_owned(), value);
    }

    pub(crate) fn get(&self, name: &str) -> Option<f64> {
        self.0.get(name).copied()
    }

    pub(crate) fn print(&self) {
        for (name, value) in &self.0 {
            println!("{name} {value}");
        }
    }
}

/// Runs `child MODE ARGS…`; a failure is told and gives nothing.
pub(crate) fn run(mode: &str, args: &[(&str, String)], seconds: u64) -> Option<Figures> {
    let words: Vec<&str> = args.iter().flat_map(|(name, value)| [*name, value.as_str()]).collect();
    match try_run(mode, &words, seconds) {
        Ok(figures) => Some(figures),
        Err(error) => {
            eprintln!("{mode} {}: {error}", words.join(" "));
            None
        }
    }
}

fn try_run(mode: &str, words: &[&str], seconds: u64) -> Result<Figures> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg("child")
        .arg(mode)
        .args(words)
        .stdout(Stdio::piped())
        .spawn()?;
    let start = machine::now();
    // What a child prints fits in a pipe, so that it can be read when it has ended.
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if start.elapsed() > Duration::from_secs(seconds) {
            child.kill()?;
            child.wait()?;
            return Err(format!("not done after {seconds} s").into());
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    if !status.success() {
        return Err(status.to_string().into());
    }
    let mut text = String::new();
    child.stdout.take().ok_or("no output")?.read_to_string(&mut text)?;
    let mut figures = Figures::default();
    for line in text.lines() {
        if let Some((name, value)) = line.split_once(' ')
            && let Ok(value) = value.parse()
        {
            figures.put(name, value);
        }
    }
    Ok(figures)
}

/// A figure for a table, with so many digits after the point; a dash where there is none.
pub(crate) fn cell(figures: Option<&Figures>, name: &str, digits: usize) -> String {
    let value = figures.and_then(|figures| figures.get(name));
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}
