//! How to build for `wasm32-unknown-unknown` here: the target's own standard library where rustup has it or can fetch it, else
//! one built from source, as Debian's packaged Rust needs.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command;

pub const TARGET: &str = "wasm32-unknown-unknown";

/// Where the target's standard library comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Wasm {
    Installed,
    /// Built with the plugin from the toolchain's `rust-src`.
    FromSource,
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
        if has_source(&sysroot) {
            eprintln!("    no {TARGET} in {}: building its standard library from source", sysroot.display());
            return Ok(Self::FromSource);
        }
        bail!(
            "cannot build plugins: `rustup target add {TARGET}`, or on Debian `apt install libstd-rust-dev-wasm32` or `rust-src`"
        )
    }

    /// What a build for the target needs beside its own arguments.
    pub fn prepare(self, cargo: &mut Command) {
        if self == Self::FromSource {
            // `-Zbuild-std` is unstable; a stable compiler takes it under this variable.
            cargo.env("RUSTC_BOOTSTRAP", "1").arg("-Zbuild-std=std,panic_abort");
        }
    }
}

fn sysroot(root: &Path) -> Result<PathBuf> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).current_dir(root).args(["--print", "sysroot"]).output().context("no rustc")?;
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
}

fn has_target(sysroot: &Path) -> bool {
    let library = sysroot.join("lib/rustlib").join(TARGET).join("lib");
    let holds = |name: std::ffi::OsString| name.to_string_lossy().starts_with("libstd-");
    std::fs::read_dir(library).is_ok_and(|mut files| files.any(|file| file.is_ok_and(|file| holds(file.file_name()))))
}

fn has_source(sysroot: &Path) -> bool {
    sysroot.join("lib/rustlib/src/rust/library/Cargo.lock").is_file()
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
}
