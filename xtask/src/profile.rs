//! The profile that guides the release build: how it is made, kept and used.
//!
//! An instrumented gateway is put through the benchmark's work and counts which way every branch goes; the compiler then lays out,
//! inlines and unrolls by those counts. A profile is made once for a compiler and kept until it is asked for anew: functions that
//! have changed since are compiled as if there were none, so a stale one costs speed and never correctness.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::json;

use crate::{command, toolchain};

/// Milliseconds of each kind of work in training, of which there are some thirty.
const WINDOW: &str = "1000";

/// Both builds: no counting of selects. One over a value that is not yet written counted 14 thousand million where its function ran
/// 78 thousand times, two thirds of all counts, by which the compiler then judged what is hot.
const SELECTS: &str = "-Cllvm-args=-pgo-instr-select=false";

/// A way to build the gateway guided by a profile.
#[derive(Debug)]
pub struct Guide {
    root: PathBuf,
    target: PathBuf,
    /// Cargo's own folder for instrumented and guided builds, so that plain ones stay as they are; it holds the profiles, too.
    folder: PathBuf,
    host: String,
    profile: PathBuf,
}

/// What is done about a profile.
#[derive(Debug, PartialEq)]
enum Decision {
    Reuse,
    /// With this `llvm-profdata`.
    Train(PathBuf),
    Without,
}

impl Guide {
    /// # Errors
    /// There is no compiler, or it does not say what it is.
    pub fn new(root: &Path, target: &Path) -> Result<Self> {
        let version = toolchain::rustc(root, &["-vV"])?;
        let (host, compiler) = compiler(&version).context("rustc does not say what it is")?;
        let folder = target.join("pgo");
        let profile = folder.join(format!("portcullis-{compiler}.profdata"));
        Ok(Self { root: root.to_owned(), target: target.to_owned(), folder, host, profile })
    }

    /// Sees that there is a profile, made with the components in `plugins` if need be, and says whether there is.
    ///
    /// # Errors
    /// Something does not build, or the training fails.
    pub fn prepare(&self, plugins: &Path, retrain: bool) -> Result<bool> {
        let libraries = PathBuf::from(toolchain::rustc(&self.root, &["--print", "target-libdir"])?);
        match decide(self.profile.is_file(), retrain, || self.profdata(&libraries)) {
            Decision::Reuse => {
                eprintln!(
                    "==> using the profile that is there (`--retrain` makes a new one; an old one costs speed alone)"
                );
                Ok(true)
            }
            Decision::Train(profdata) => self
                .train(&profdata, plugins)
                .map(|()| true)
                .with_context(|| "no profile could be made (`cargo xtask release --plain` builds without one)"),
            Decision::Without => {
                eprintln!(
                    "==> no llvm-profdata for this compiler (rustup's llvm-tools): the release build is a plain one"
                );
                Ok(false)
            }
        }
    }

    /// Builds the gateway by the profile that [`Guide::prepare`] found.
    ///
    /// # Errors
    /// It does not build.
    pub fn build(&self) -> Result<PathBuf> {
        self.cargo("building the gateway, guided by the profile", &flag("profile_use", &self.profile)?)
    }

    fn train(&self, profdata: &Path, plugins: &Path) -> Result<()> {
        let raw = self.folder.join("raw");
        let gateway = self.cargo("building a gateway to learn from", &flag("profile_generate", &raw)?)?;
        let mut bench = command::cargo(&self.root);
        bench.args(["build", "--release", "-p", "portcullis-bench"]);
        command::step("building what it is loaded with", &mut bench)?;
        remove(&raw)?;
        let mut training = Command::new(self.target.join("release/portcullis-bench"));
        training.current_dir(&self.root).args(["--train", "--window", WINDOW]);
        training.arg("--gateway").arg(gateway).arg("--plugins").arg(plugins);
        training.env("LLVM_PROFILE_FILE", raw.join("%p-%m.profraw"));
        command::step("training", &mut training)?;
        let merged = self.profile.with_extension("partial");
        let mut merge = Command::new(profdata);
        merge.arg("merge").arg("-o").arg(&merged).arg(&raw);
        command::step("merging what was learnt", &mut merge)?;
        // Cargo does not compile a dependency again for a file that only its flags name: what the last profile made goes, and the
        // instrumented build with it.
        remove(&self.folder.join(&self.host))?;
        fs::rename(&merged, &self.profile)?;
        remove(&raw)
    }

    fn cargo(&self, what: &str, flag: &str) -> Result<PathBuf> {
        let mut cargo = command::cargo(&self.root);
        cargo.args(["build", "--release", "-p", "portcullis", "--target", &self.host]);
        cargo.arg("--target-dir").arg(&self.folder);
        // Where the target is named, flags are for what runs there: build scripts and procedural macros get none.
        match inherited(|name| std::env::var(name).ok()) {
            Some(mut flags) => {
                flags.extend([flag, SELECTS].map(str::to_owned));
                cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
            }
            None => {
                cargo.arg("--config").arg(format!("target.{}.rustflags={}", self.host, json!([flag, SELECTS])));
            }
        }
        command::step(what, &mut cargo)?;
        Ok(self.folder.join(&self.host).join("release/portcullis"))
    }

    /// The compiler's own `llvm-profdata`, fetched if need be: another version may not read what the compiler's code writes.
    fn profdata(&self, libraries: &Path) -> Option<PathBuf> {
        let path = profdata(libraries);
        if !path.is_file() && command::is_there("rustup", "--version") {
            let mut add = Command::new("rustup");
            add.current_dir(&self.root).args(["component", "add", "llvm-tools"]);
            // What it says is on the screen already; whether the program is there is what counts.
            let _ = command::step("adding llvm-profdata", &mut add);
        }
        path.is_file().then_some(path)
    }
}

fn decide(there: bool, retrain: bool, profdata: impl FnOnce() -> Option<PathBuf>) -> Decision {
    if there && !retrain { Decision::Reuse } else { profdata().map_or(Decision::Without, Decision::Train) }
}

/// The host's triple and a name for the compiler, from `rustc -vV`: profiles are for one compiler, whose names for functions and
/// whose format they have.
fn compiler(version: &str) -> Option<(String, String)> {
    let field = |name: &str| version.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let commit: String = field("commit-hash").unwrap_or("unknown").chars().take(9).collect();
    Some((field("host")?.to_owned(), format!("{}-{commit}", field("release")?)))
}

/// Where rustup's `llvm-tools` stand, beside the target's libraries.
fn profdata(libraries: &Path) -> PathBuf {
    libraries.with_file_name("bin").join("llvm-profdata")
}

/// A flag of the compiler. Its name has an underscore, which the compiler takes for a hyphen: the `cc` crate hands the hyphened
/// ones on to a C compiler that is clang, and Apple's writes and reads profiles of another version than Rust's.
fn flag(name: &str, path: &Path) -> Result<String> {
    Ok(format!("-C{name}={}", path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?))
}

/// The compiler flags that stand in the environment. Cargo reads them from there or from its configuration, never from both; an
/// empty variable counts.
fn inherited(variable: impl Fn(&str) -> Option<String>) -> Option<Vec<String>> {
    let encoded = variable("CARGO_ENCODED_RUSTFLAGS").map(|flags| (flags, '\u{1f}'));
    let (flags, separator) = encoded.or_else(|| variable("RUSTFLAGS").map(|flags| (flags, ' ')))?;
    Some(flags.split(separator).map(str::trim).filter(|flag| !flag.is_empty()).map(str::to_owned).collect())
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compilers_have_names() {
        let rustup = "rustc 1.95.0 (59807616e 2026-04-14)\nbinary: rustc\ncommit-hash: 59807616e1fa2540724bfbac14d7976d7e4a3860\n\
                      commit-date: 2026-04-14\nhost: aarch64-apple-darwin\nrelease: 1.95.0\nLLVM version: 22.1.2\n";
        assert_eq!(compiler(rustup), Some(("aarch64-apple-darwin".into(), "1.95.0-59807616e".into())));
        let debian = "rustc 1.85.0 (4d91de4e4 2025-02-17) (built from a source tarball)\ncommit-hash: unknown\n\
                      host: x86_64-unknown-linux-gnu\nrelease: 1.85.0\n";
        assert_eq!(compiler(debian), Some(("x86_64-unknown-linux-gnu".into(), "1.85.0-unknown".into())));
        assert_eq!(compiler("rustc 1.95.0\nrelease: 1.95.0\n"), None);
    }

    #[test]
    fn the_compilers_own_llvm_profdata() {
        let libraries = Path::new("/toolchain/lib/rustlib/x86_64-unknown-linux-gnu/lib");
        let expected = Path::new("/toolchain/lib/rustlib/x86_64-unknown-linux-gnu/bin/llvm-profdata");
        assert_eq!(profdata(libraries), expected);
    }

    #[test]
    fn a_profile_is_made_once() {
        let tool = || Some(PathBuf::from("llvm-profdata"));
        let never = || -> Option<PathBuf> { panic!("nothing is to be made") };
        assert_eq!(decide(true, false, never), Decision::Reuse);
        assert_eq!(decide(true, true, tool), Decision::Train("llvm-profdata".into()));
        assert_eq!(decide(false, false, tool), Decision::Train("llvm-profdata".into()));
        assert_eq!(decide(false, false, || None), Decision::Without);
        assert_eq!(decide(true, true, || None), Decision::Without);
    }

    #[test]
    fn flags_of_the_environment_are_kept() {
        let environment = |set: &'static [(&str, &str)]| {
            move |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        let flags = |list: &[&str]| Some(list.iter().map(|&flag| flag.to_owned()).collect::<Vec<_>>());
        assert_eq!(inherited(environment(&[])), None);
        assert_eq!(inherited(environment(&[("RUSTFLAGS", "")])), flags(&[]));
        assert_eq!(inherited(environment(&[("RUSTFLAGS", " -Ca=b  -D x ")])), flags(&["-Ca=b", "-D", "x"]));
        let both = environment(&[("RUSTFLAGS", "-A"), ("CARGO_ENCODED_RUSTFLAGS", "-Ca=/with space\u{1f}-Cb")]);
        assert_eq!(inherited(both), flags(&["-Ca=/with space", "-Cb"]));
    }

    #[test]
    fn removing_what_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let raw = folder.path().join("raw");
        fs::create_dir_all(raw.join("deep")).unwrap();
        remove(&raw).unwrap();
        assert!(!raw.exists());
        remove(&raw).unwrap();
        fs::write(&raw, "").unwrap();
        assert!(remove(&raw).is_err());
    }
}
