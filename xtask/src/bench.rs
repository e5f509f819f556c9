//! Benchmarks: programs that compare what is ours with others of its kind.

use anyhow::{Result, bail};

use crate::run;

/// Builds and runs a crate's `bench` package, with what follows its name.
///
/// Such a package is no member of the workspace, so that the peers it compares with stay out of the
/// lock file.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let Some((name, rest)) = args.split_first() else {
        bail!("usage: cargo xtask bench client|store|tls [args]");
    };
    if name == "tls" {
        // It compares what is ours with itself, and needs nothing that the workspace has not.
        let program = ["run", "--release", "-p", "nuthatch-examples", "--bin", "tls_cost", "--"];
        return run::done(run::cargo().args(program).args(rest));
    }
    let folder = run::root().join(format!("crates/nuthatch-{name}/bench"));
    if !folder.exists() {
        bail!("no benchmark {name:?}; there are `client`, `store` and `tls`");
    }
    run::done(
        run::cargo()
            .current_dir(folder)
            .args(["run", "--release", "--"])
            .args(rest)
            .env("CARGO_TARGET_DIR", run::target().join("bench")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_benchmark_must_be_named_and_exist() {
        assert!(run(&[]).unwrap_err().to_string().starts_with("usage:"));
        let error = run(&["moon".to_owned()]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no benchmark \"moon\"; there are `client`, `store` and `tls`"
        );
    }
}
