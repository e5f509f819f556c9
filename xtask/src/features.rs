//! Every package with every choice of what is built in that a user is likely to make.

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::run;

/// Compiles each published package without features, with each of its features alone and with
/// all, warnings being errors, and runs the tests that only hold without a feature.
pub(crate) fn run(args: &[String]) -> Result<()> {
    if !args.is_empty() {
        bail!("usage: cargo xtask features");
    }
    for (package, features) in packages(&run::workspace_metadata()?)? {
        let mut choices = vec![String::new()];
        if features.len() > 1 {
            choices.push(features.join(","));
        }
        choices.extend(features);
        for choice in choices {
            println!("{package} with '{choice}'");
            let chosen = ["--no-default-features", "--features", &choice];
            let mut clippy = run::cargo();
            clippy.args(["clippy", "-q", "--locked", "-p", &package]).args(chosen);
            run::done(clippy.args(["--all-targets", "--", "-D", "warnings"]))?;
        }
    }
    // In a folder of its own, for it makes another `nuthatchd`.
    let mut test = run::cargo();
    test.env("CARGO_TARGET_DIR", run::target().join("features"));
    test.args(["test", "-q", "--locked", "-p", "nuthatch-server", "--no-default-features"]);
    run::done(test.args(["--test", "it", "cluster::without"]))
}

/// Names and features.
fn packages(metadata: &str) -> Result<Vec<(String, Vec<String>)>> {
    let metadata: Value = serde_json::from_str(metadata).context("cargo metadata")?;
    let packages = metadata["packages"].as_array().context("metadata without packages")?;
    let mut found = Vec::new();
    for package in packages {
        // Those that are only of use in here say so by an empty list of registries.
        if package["publish"].as_array().is_some_and(Vec::is_empty) {
            continue;
        }
        let name = package["name"].as_str().context("package without a name")?;
        let features = package["features"].as_object().into_iter().flat_map(|all| all.keys());
        let features = features.filter(|feature| *feature != "default").cloned().collect();
        found.push((name.to_owned(), features));
    }
    Ok(found)
}
