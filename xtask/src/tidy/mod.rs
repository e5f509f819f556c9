//! The rules that no compiler checks: who may import whom, and what files look like.
//!
//! `cargo xtask tidy` runs them, and so does `cargo test`.

mod files;
mod graph;

use std::process::Command;

use anyhow::{Result, bail};

use crate::run;

/// Prints every breach, and fails if there is one.
pub(crate) fn run() -> Result<()> {
    let breaches = breaches()?;
    for breach in &breaches {
        eprintln!("{breach}");
    }
    if !breaches.is_empty() {
        bail!("{} breaches of the workspace's rules", breaches.len());
    }
    Ok(())
}

fn breaches() -> Result<Vec<String>> {
    let mut breaches = graph::check(&graph::edges(&run::workspace_metadata()?)?);
    // What git does not ignore: committed or about to be.
    let list = run::output(
        Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(run::root()),
    )?;
    for path in list.split_terminator('\0') {
        breaches.extend(files::check_name(path));
        // A file that is deleted but still listed has nothing to check.
        if let Ok(content) = std::fs::read(run::root().join(path)) {
            breaches.extend(files::check_content(path, &content));
        }
    }
    breaches.sort();
    breaches.dedup();
    Ok(breaches)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_workspace_is_tidy() {
        let breaches = super::breaches().unwrap();
        assert!(breaches.is_empty(), "{}", breaches.join("\n"));
    }
}
