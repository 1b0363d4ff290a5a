//! `cargo xtask test`: builds what tests need, runs all of it, and ends with one line that counts.
//!
//! A slow test is one marked `#[ignore = "slow: …"]`: `--fast` passes over it, everything else runs it. Tests find the gateway by
//! `PORTCULLIS_BIN` and the components by `PORTCULLIS_PLUGINS`.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::{command, plugins, sdks};

/// How many tests ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Count {
    pub passed: u64,
    pub failed: u64,
}

impl Count {
    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }

    fn one(succeeded: bool) -> Self {
        Self { passed: u64::from(succeeded), failed: u64::from(!succeeded) }
    }
}

/// Runs everything, or with `fast` all that is quick.
///
/// # Errors
/// Something does not build, or a test fails.
pub fn run(fast: bool) -> Result<()> {
    let root = plugins::root();
    let target = plugins::target_directory(&root);
    plugins::build(&[])?;
    // With the tests, which are to come: the gateway alone has fewer features, and everything would be compiled twice.
    let all = ["build", "--workspace", "--bins", "--tests"];
    command::step("building the gateway and its tests", command::cargo(&root).args(all))?;
    let gateway = target.join("debug/portcullis");
    let mut environment = vec![
        ("PORTCULLIS_BIN", gateway.to_string_lossy().into_owned()),
        ("PORTCULLIS_PLUGINS", target.join("plugins").to_string_lossy().into_owned()),
    ];
    let mut count = golden_vectors(&gateway, &target.join("plugins"))?;
    if !fast {
        match sdks::set_up(&root, &target) {
            Ok(sdks) => {
                environment.extend(sdks.environment());
                for (what, mut runner, summary) in sdks.runners(&root) {
                    runner.envs(environment.iter().map(|(name, value)| (name, value)));
                    count.add(counted(what, &mut runner, summary)?);
                }
            }
            Err(error) => {
                eprintln!("FAILED: no SDKs to test with: {error:#}");
                count.failed += 1;
            }
        }
        if std::env::var_os("PORTCULLIS_RECORDINGS").is_none() {
            eprintln!("skipped: recordings of real traffic (PORTCULLIS_RECORDINGS is not set)");
        }
    }
    if portcullis_test_postgres::find().is_none() {
        eprintln!("skipped: tests on PostgreSQL ({})", portcullis_test_postgres::ABSENT);
    }
    count.add(rust_tests(&root, fast, &environment)?);
    println!("{} passed, {} failed", count.passed, count.failed);
    if count.failed > 0 {
        bail!("{} failed", count.failed);
    }
    Ok(())
}

/// Every component's own vectors, as the host runs them before it takes a plugin into service.
fn golden_vectors(gateway: &Path, folder: &Path) -> Result<Count> {
    let mut components: Vec<_> = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    components.retain(|path| path.extension().is_some_and(|extension| extension == "wasm"));
    components.sort();
    eprintln!("==> golden vectors of {} components", components.len());
    let mut count = Count::default();
    for component in components {
        let status = Command::new(gateway).args(["plugin", "check"]).arg(&component).status();
        let succeeded = status.context("cannot start the gateway")?.success();
        if !succeeded {
            eprintln!("FAILED: the golden vectors of {}", component.display());
        }
        count.add(Count::one(succeeded));
    }
    Ok(count)
}

fn rust_tests(root: &Path, fast: bool, environment: &[(&'static str, String)]) -> Result<Count> {
    let mut tests = command::cargo(root);
    if command::is_there("cargo-nextest", "--version") {
        tests.args(["nextest", "run", "--workspace", "--no-fail-fast", "--no-tests", "pass"]);
        tests.args(["--status-level", "fail", "--final-status-level", "fail"]);
        if !fast {
            tests.args(["--run-ignored", "all"]);
        }
    } else {
        tests.args(["test", "--workspace", "--lib", "--bins", "--tests", "--no-fail-fast"]);
        if !fast {
            tests.args(["--", "--include-ignored"]);
        }
    }
    tests.envs(environment.iter().map(|(name, value)| (name, value)));
    let mut count = counted("tests", &mut tests, summary)?;
    // Examples in documentation, which nextest does not run; those marked `ignore` are not meant to.
    let mut examples = command::cargo(root);
    examples.args(["test", "--workspace", "--doc", "--no-fail-fast", "--quiet"]);
    count.add(counted("documentation's examples", &mut examples, summary)?);
    Ok(count)
}

/// What a line of a runner's output says of counts.
pub type Summary = fn(&str) -> Count;

/// Runs a test runner, shows what it says, and counts.
fn counted(what: &str, runner: &mut Command, summary: Summary) -> Result<Count> {
    eprintln!("==> {what}");
    tally(what, runner, summary, std::io::stdout(), std::io::stderr())
}

fn tally(
    what: &str,
    runner: &mut Command,
    summary: Summary,
    output: impl Write,
    mut errors: impl Write + Send + 'static,
) -> Result<Count> {
    let mut child =
        runner.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().with_context(|| format!("cannot start {what}"))?;
    let stderr = child.stderr.take().context("stderr is piped")?;
    let reader = std::thread::spawn(move || tee(BufReader::new(stderr), summary, &mut errors));
    let mut count = tee(BufReader::new(child.stdout.take().context("stdout is piped")?), summary, output)?;
    count.add(reader.join().ok().context("the reader panicked")??);
    let status = child.wait()?;
    // A build that fails runs no tests, and must not count as none failed.
    if !status.success() && count.failed == 0 {
        eprintln!("FAILED: {what}: {status}");
        count.failed += 1;
    }
    Ok(count)
}

fn tee(input: impl BufRead, summary: Summary, mut output: impl Write) -> Result<Count> {
    let mut count = Count::default();
    for line in input.split(b'\n') {
        let mut line = line?;
        count.add(summary(&String::from_utf8_lossy(&line)));
        line.push(b'\n');
        output.write_all(&line)?;
    }
    Ok(count)
}

/// What a line says of counts: `test result: ok. 3 passed; 0 failed; …` of the standard runner, or nextest's
/// `Summary [ 1.2s] 8 tests run: 7 passed (1 slow), 1 failed, 2 skipped`.
fn summary(line: &str) -> Count {
    let line = line.trim_start();
    let Some(rest) = line
        .strip_prefix("test result: ")
        .or_else(|| line.strip_prefix("Summary [").and_then(|rest| Some(rest.split_once("run:")?.1)))
    else {
        return Count::default();
    };
    let mut count = Count::default();
    for part in rest.split([',', ';', '.']) {
        let mut words = part.split_whitespace();
        let (Some(number), Some(kind)) = (words.next().and_then(|word| word.parse::<u64>().ok()), words.next()) else {
            continue;
        };
        match kind {
            "passed" => count.passed += number,
            "failed" => count.failed += number,
            // nextest counts tests that exceeded their time apart.
            "timed" => count.failed += number,
            _ => {}
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_from_both_runners() {
        let table = [
            ("test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s", (3, 0)),
            ("test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out", (1, 2)),
            ("     Summary [   0.014s] 8 tests run: 7 passed (1 slow), 1 failed, 1 timed out, 2 skipped", (7, 2)),
            ("     Summary [   1.014s] 8 tests run: 8 passed, 0 skipped", (8, 0)),
            ("test summary ... ok", (0, 0)),
            ("running 3 tests", (0, 0)),
        ];
        for (line, (passed, failed)) in table {
            assert_eq!(summary(line), Count { passed, failed }, "{line}");
        }
    }

    #[test]
    fn a_runner_that_fails_without_a_count_is_a_failure() {
        // Not to this test's own output, which is counted too.
        let run = |script: &str| {
            let mut shell = Command::new("sh");
            tally("script", shell.args(["-c", script]), summary, std::io::sink(), std::io::sink()).unwrap()
        };
        assert_eq!(run("echo 'error: does not build' >&2; exit 101"), Count { passed: 0, failed: 1 });
        assert_eq!(run("echo 'test result: ok. 4 passed; 0 failed'"), Count { passed: 4, failed: 0 });
        assert_eq!(
            run("echo 'Summary [ 1s] 2 tests run: 1 passed, 1 failed' >&2; exit 1"),
            Count { passed: 1, failed: 1 }
        );
    }
}
