//! How to build for `wasm32-unknown-unknown` here: the target's own standard library where rustup has it or can fetch it, else
//! one built from source, as Debian's packaged Rust needs. Debian has the linker in a package of its own, too, by LLVM's version.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::command;

pub const TARGET: &str = "wasm32-unknown-unknown";

/// Where the target's standard library comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Wasm {
    Installed,
    /// Built with the plugin from the toolchain's `rust-src`.
    FromSource {
        linker: Linker,
    },
}

/// What links a module.
#[derive(Clone, Debug, PartialEq)]
pub enum Linker {
    /// The compiler finds its own.
    Own,
    Other(PathBuf),
}

impl Wasm {
    /// Sees that plugins can be built, adding the target if need be.
    ///
    /// # Errors
    /// There is no way; the message says what to install.
    pub fn set_up(root: &Path) -> Result<Self> {
        let sysroot = sysroot(root)?;
        if has_target(&sysroot) {
            return Ok(Self::Installed);
        }
        if command::is_there("rustup", "--version") {
            let mut add = Command::new("rustup");
            add.current_dir(root).args(["target", "add", TARGET]);
            if command::step("adding the wasm target", &mut add).is_ok() && has_target(&sysroot) {
                return Ok(Self::Installed);
            }
        }
        if !has_source(&sysroot) {
            bail!(
                "cannot build plugins: no {TARGET} in {}; `rustup target add {TARGET}`, or where the compiler is Debian's \
                 `apt install rust-web-src`",
                sysroot.display()
            );
        }
        let mut folders: Vec<PathBuf> = std::fs::read_dir(sysroot.join("lib/rustlib"))
            .map(|entries| entries.flatten().map(|entry| entry.path().join("bin")).collect())
            .unwrap_or_default();
        folders.extend(std::env::var_os("PATH").iter().flat_map(std::env::split_paths));
        let Some(linker) = linker(&folders) else {
            bail!(
                "cannot build plugins: nothing links {TARGET}; on Debian `apt install lld-NN`, NN being the version that `rustc -vV` has of LLVM"
            )
        };
        eprintln!("    no {TARGET} in {}: building its standard library from source", sysroot.display());
        Ok(Self::FromSource { linker })
    }

    /// What a build for the target needs beside its own arguments.
    pub fn prepare(&self, cargo: &mut Command) {
        let Self::FromSource { linker } = self else { return };
        // `-Zbuild-std` is unstable; a stable compiler takes it under this variable.
        cargo.env("RUSTC_BOOTSTRAP", "1").arg("-Zbuild-std=std,panic_abort");
        if let Linker::Other(path) = linker {
            cargo.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", path);
        }
    }
}

/// What the compiler answers, without the last line's end.
///
/// # Errors
/// There is none, or it refuses.
pub fn rustc(root: &Path, question: &[&str]) -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).current_dir(root).args(question).output().context("no rustc")?;
    ensure!(output.status.success(), "rustc: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}

fn sysroot(root: &Path) -> Result<PathBuf> {
    rustc(root, &["--print", "sysroot"]).map(PathBuf::from)
}

fn has_target(sysroot: &Path) -> bool {
    let library = sysroot.join("lib/rustlib").join(TARGET).join("lib");
    let holds = |name: std::ffi::OsString| name.to_string_lossy().starts_with("libstd-");
    std::fs::read_dir(library).is_ok_and(|mut files| files.any(|file| file.is_ok_and(|file| holds(file.file_name()))))
}

fn has_source(sysroot: &Path) -> bool {
    sysroot.join("lib/rustlib/src/rust/library/Cargo.lock").is_file()
}

/// The compiler's own linker in one of these folders, else LLVM's, the newest where there are several.
fn linker(folders: &[PathBuf]) -> Option<Linker> {
    // Links are followed: Debian's `rust-lld` is one to a package that may be missing.
    let there = |name: &str| folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file());
    if there("rust-lld").is_some() {
        return Some(Linker::Own);
    }
    if let Some(path) = there("wasm-ld") {
        return Some(Linker::Other(path));
    }
    let entries = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten();
    let versions = entries.filter_map(|entry| {
        let version = entry.file_name().to_str()?.strip_prefix("wasm-ld-")?.parse::<u32>().ok()?;
        entry.path().is_file().then(|| (version, entry.path()))
    });
    versions.max().map(|(_, path)| Linker::Other(path))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_a_sysroot_has() {
        let sysroot = tempfile::tempdir().unwrap();
        let library = sysroot.path().join("lib/rustlib").join(TARGET).join("lib");
        assert!(!has_target(sysroot.path()) && !has_source(sysroot.path()));
        fs::create_dir_all(&library).unwrap();
        assert!(!has_target(sysroot.path()));
        fs::write(library.join("libstd-0.rlib"), "").unwrap();
        assert!(has_target(sysroot.path()));
        let source = sysroot.path().join("lib/rustlib/src/rust/library");
        fs::create_dir_all(&source).unwrap();
        fs::write(source.join("Cargo.lock"), "").unwrap();
        assert!(has_source(sysroot.path()));
    }

    #[test]
    fn the_compilers_own_linker_or_the_newest_there_is() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let folders = [one.path().to_owned(), two.path().join("missing"), two.path().to_owned()];
        assert_eq!(linker(&folders), None);
        for name in ["wasm-ld-9", "wasm-ld-22", "wasm-ld-old", "lld-30"] {
            fs::write(two.path().join(name), "").unwrap();
        }
        std::os::unix::fs::symlink("lld-99", one.path().join("rust-lld")).unwrap();
        assert_eq!(linker(&folders), Some(Linker::Other(two.path().join("wasm-ld-22"))));
        fs::write(one.path().join("wasm-ld"), "").unwrap();
        assert_eq!(linker(&folders), Some(Linker::Other(one.path().join("wasm-ld"))));
        fs::write(two.path().join("rust-lld"), "").unwrap();
        assert_eq!(linker(&folders), Some(Linker::Own));
    }
}
