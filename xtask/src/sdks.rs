//! The official SDKs that the black-box tests use as clients: a Python environment and an npm folder under `target/sdk`, with the
//! versions that `tests/sdk` pins. Made once, and again when the pins change.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::command;

/// Variables that tell the tests where the SDKs are.
pub type Environment = Vec<(&'static str, String)>;

/// Makes both, if they are not there.
///
/// # Errors
/// Python or npm is missing, or a package cannot be had.
pub fn set_up(root: &Path, target: &Path) -> Result<Environment> {
    let (pins, out) = (root.join("tests/sdk"), target.join("sdk"));
    fs::create_dir_all(&out)?;
    let (venv, node) = (out.join("venv"), out.join("node"));
    once(&pins, &["requirements.txt"], &venv, |requirements| {
        ensure!(command::is_there("python3", "--version"), "the SDK tests need python3 (`--fast` leaves them out)");
        command::step(
            "making a Python environment",
            Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv),
        )?;
        let mut pip = Command::new(venv.join("bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]).arg(requirements);
        command::step("installing the Python SDKs", &mut pip)
    })?;
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
    let path = |path: std::path::PathBuf| path.to_string_lossy().into_owned();
    Ok(vec![
        ("PORTCULLIS_PYTHON", path(venv.join("bin/python"))),
        ("PORTCULLIS_NODE_MODULES", path(node.join("node_modules"))),
    ])
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
