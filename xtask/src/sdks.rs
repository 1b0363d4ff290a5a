//! The official SDKs that the black-box tests use as clients: Python environments and an npm folder under `target/sdk`, with the
//! versions that `tests/sdk` pins, made once, and again when the pins change; and the runners of those tests.
//!
//! LlamaIndex has an environment of its own: it does not go with the newest `openai`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::command;
use crate::test::{Count, Summary};

/// Where the SDKs are.
pub struct Sdks {
    python: PathBuf,
    llama_index: PathBuf,
    node_modules: PathBuf,
}

impl Sdks {
    /// Variables that tell the tests where they are.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        vec![("PORTCULLIS_PYTHON", text(&self.python)), ("PORTCULLIS_NODE_MODULES", text(&self.node_modules))]
    }

    /// The runners of the tests in `tests/sdk`, each with its name and how to read its counts.
    pub fn runners(&self, root: &Path) -> [(&'static str, Command, Summary); 3] {
        let tests = root.join("tests/sdk");
        let pytest = |python: &Path, folder: &Path| {
            let mut command = Command::new(python);
            // Nothing is written into the checkout.
            command.current_dir(folder).env("PYTHONDONTWRITEBYTECODE", "1").args(["-m", "pytest"]);
            command
        };
        let python = pytest(&self.python, &tests);
        let llama_index = pytest(&self.llama_index, &tests.join("llama_index"));
        let mut node = Command::new("node");
        // One file after the other: each starts a gateway.
        node.current_dir(&tests).args(["--test", "--test-concurrency=1", "--test-reporter=spec"]);
        node.args(["node/openai.test.js", "node/ai.test.js", "node/login.test.js"]);
        [
            ("Python SDKs", python, pytest_summary),
            ("LlamaIndex", llama_index, pytest_summary),
            ("JavaScript SDKs", node, node_summary),
        ]
    }
}

/// pytest's last line: `2 failed, 128 passed, 1 skipped, 2 xfailed, 1 error in 23.68s`.
fn pytest_summary(line: &str) -> Count {
    let mut count = Count::default();
    let Some((counts, time)) = line.trim_matches(['=', ' ']).rsplit_once(" in ") else { return count };
    // Longer runs say it again: `83.68s (0:01:23)`.
    let seconds = time.split_whitespace().next().and_then(|time| time.strip_suffix('s'));
    if seconds.is_none_or(|seconds| seconds.parse::<f64>().is_err()) {
        return count;
    }
    for part in counts.split(", ") {
        match part.split_once(' ').and_then(|(number, kind)| Some((number.parse::<u64>().ok()?, kind))) {
            Some((number, "passed")) => count.passed += number,
            Some((number, "failed" | "error" | "errors")) => count.failed += number,
            Some(_) => {}
            None => return Count::default(),
        }
    }
    count
}

/// The last lines of node's `spec` reporter: `ℹ pass 33`, `ℹ fail 0`, `ℹ cancelled 0`.
fn node_summary(line: &str) -> Count {
    let words: Vec<_> = line.split_whitespace().collect();
    let ["ℹ", kind, number] = words[..] else { return Count::default() };
    match (kind, number.parse()) {
        ("pass", Ok(passed)) => Count { passed, failed: 0 },
        ("fail" | "cancelled", Ok(failed)) => Count { passed: 0, failed },
        _ => Count::default(),
    }
}

/// Makes both, if they are not there.
///
/// # Errors
/// Python or npm is missing, or a package cannot be had.
pub fn set_up(root: &Path, target: &Path) -> Result<Sdks> {
    let (pins, out) = (root.join("tests/sdk"), target.join("sdk"));
    fs::create_dir_all(&out)?;
    let (venv, llama_index, node) = (out.join("venv"), out.join("llama-index"), out.join("node"));
    python_environment(&pins, &venv, "the Python SDKs")?;
    python_environment(&pins.join("llama_index"), &llama_index, "LlamaIndex")?;
    once(&pins, &["package.json", "package-lock.json"], &node, |package| {
        ensure!(command::is_there("npm", "--version"), "the SDK tests need npm (`--fast` leaves them out)");
        fs::create_dir_all(&node)?;
        fs::copy(package, node.join("package.json"))?;
        let lock = package.with_file_name("package-lock.json");
        let verb = if lock.is_file() { "ci" } else { "install" };
        if lock.is_file() {
            fs::copy(lock, node.join("package-lock.json"))?;
        }
        let mut npm = Command::new("npm");
        npm.current_dir(&node).args([verb, "--no-audit", "--no-fund", "--loglevel=error"]);
        command::step("installing the JavaScript SDKs", &mut npm)
    })?;
    let python = |environment: PathBuf| environment.join("bin/python");
    Ok(Sdks { python: python(venv), llama_index: python(llama_index), node_modules: node.join("node_modules") })
}

/// An environment with what `requirements.txt` pins.
fn python_environment(pins: &Path, environment: &Path, what: &str) -> Result<()> {
    once(pins, &["requirements.txt"], environment, |requirements| {
        ensure!(command::is_there("python3", "--version"), "the SDK tests need python3 (`--fast` leaves them out)");
        command::step(
            "making a Python environment",
            Command::new("python3").args(["-m", "venv", "--clear"]).arg(environment),
        )?;
        let mut pip = Command::new(environment.join("bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]).arg(requirements);
        command::step(&format!("installing {what}"), &mut pip)
    })
}

/// Runs `make` on the first of the pins unless `folder` was made from the same pins.
fn once(pins: &Path, names: &[&str], folder: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let mut wanted = String::new();
    for (index, name) in names.iter().enumerate() {
        match fs::read_to_string(pins.join(name)) {
            Ok(text) => wanted.push_str(&text),
            Err(error) if index == 0 => return Err(error).with_context(|| pins.join(name).display().to_string()),
            // The others are optional.
            Err(_) => {}
        }
    }
    let stamp = folder.join("made-from");
    if fs::read_to_string(&stamp).is_ok_and(|made| made == wanted) {
        return Ok(());
    }
    make(&pins.join(names[0]))?;
    Ok(fs::write(stamp, wanted)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_both_runners() {
        let table = [
            (pytest_summary as Summary, "1176 passed in 11.26s", (1176, 0)),
            (pytest_summary, "2 failed, 128 passed in 83.68s (0:01:23)", (128, 2)),
            (pytest_summary, "=== 1 failed, 3 passed, 1 skipped, 2 xfailed, 2 errors in 0.10s ===", (3, 3)),
            (pytest_summary, "no tests ran in 0.01s", (0, 0)),
            (pytest_summary, "E   4 failed, as it should be, in 3s", (0, 0)),
            (node_summary, "ℹ pass 33", (33, 0)),
            (node_summary, "ℹ fail 2", (0, 2)),
            (node_summary, "ℹ cancelled 1", (0, 1)),
            (node_summary, "ℹ tests 36", (0, 0)),
            (node_summary, "✔ pass 33", (0, 0)),
        ];
        for (summary, line, (passed, failed)) in table {
            assert_eq!(summary(line), Count { passed, failed }, "{line}");
        }
    }

    #[test]
    fn made_once_for_the_same_pins() {
        let folder = tempfile::tempdir().unwrap();
        let (pins, out) = (folder.path().join("pins"), folder.path().join("out"));
        fs::create_dir_all(&pins).unwrap();
        fs::create_dir_all(&out).unwrap();
        let mut made = 0;
        let ask = |made: &mut i32| {
            once(&pins, &["a", "b"], &out, |_| {
                *made += 1;
                Ok(())
            })
        };
        assert!(ask(&mut made).is_err());
        fs::write(pins.join("a"), "x==1").unwrap();
        for (file, text, expected) in [("a", "x==1", 1), ("a", "x==1", 1), ("a", "x==2", 2), ("b", "lock", 3)] {
            fs::write(pins.join(file), text).unwrap();
            ask(&mut made).unwrap();
            assert_eq!(made, expected);
        }
        assert!(once(&pins, &["a"], &out, |_| anyhow::bail!("no network")).is_err());
        assert!(once(&pins, &["a"], &out, |_| anyhow::bail!("not made, so asked again")).is_err());
    }
}
