//! `cargo xtask release`: what is shipped, in `target/dist`: the gateway's optimised build, guided by a profile, and the components
//! beside it.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::command;
use crate::plugins;
use crate::profile::Guide;

/// What was built.
#[derive(Debug)]
pub struct Shipped {
    pub program: PathBuf,
    /// The folder of components.
    pub plugins: PathBuf,
    /// Whether a profile guided the build.
    pub guided: bool,
}

/// Builds and says where it is.
pub fn run(retrain: bool, plain: bool) -> Result<()> {
    let shipped = build(retrain, plain)?;
    let kind = if shipped.guided { "profile-guided" } else { "plain" };
    println!("{:>9} bytes  {} ({kind})", fs::metadata(&shipped.program)?.len(), shipped.program.display());
    println!("{:>15}  {}", "", shipped.plugins.display());
    Ok(())
}

/// Builds plugins and gateway; with `retrain` by a new profile, with `plain` by none.
///
/// # Errors
/// Something does not build, or the training fails.
pub fn build(retrain: bool, plain: bool) -> Result<Shipped> {
    let root = plugins::root();
    let target = plugins::target_directory(&root);
    let components = plugins::build(&[])?;
    let guide = Guide::new(&root, &target)?;
    let guided = !plain && guide.prepare(&target.join("plugins"), retrain)?;
    let built = if guided { guide.build()? } else { plain_build(&root, &target)? };
    let dist = target.join("dist");
    let shipped = Shipped { program: dist.join("portcullis"), plugins: dist.join("plugins"), guided };
    place(&built, &shipped.program)?;
    place_all(&components, &shipped.plugins)?;
    Ok(shipped)
}

/// The ordinary release build.
///
/// # Errors
/// It does not build.
pub fn plain_build(root: &Path, target: &Path) -> Result<PathBuf> {
    let mut cargo = command::cargo(root);
    command::step("building the gateway", cargo.args(["build", "--release", "-p", "portcullis"]))?;
    Ok(target.join("release/portcullis"))
}

/// Makes a folder hold these files and no others.
fn place_all(files: &[PathBuf], folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let name = |path: &Path| path.file_name().map(OsStr::to_owned);
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if !files.iter().any(|file| name(file) == name(&path)) {
            fs::remove_file(&path).with_context(|| path.display().to_string())?;
        }
    }
    for file in files {
        place(file, &folder.join(name(file).context("a file has a name")?))?;
    }
    Ok(())
}

/// Copies a file where it differs. It is written aside and renamed, since the old one may be running or watched.
fn place(from: &Path, to: &Path) -> Result<()> {
    let new = fs::read(from).with_context(|| from.display().to_string())?;
    if fs::read(to).is_ok_and(|old| old == new) {
        return Ok(());
    }
    let aside = to.with_extension("partial");
    fs::create_dir_all(to.parent().context("a file stands in a folder")?)?;
    fs::copy(from, &aside)?;
    fs::rename(&aside, to).with_context(|| to.display().to_string())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    #[test]
    fn a_folder_holds_what_was_built_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let (built, dist) = (folder.path().join("built"), folder.path().join("dist/plugins"));
        fs::create_dir(&built).unwrap();
        let files = ["a.wasm", "b.wasm"].map(|name| built.join(name));
        for file in &files {
            fs::write(file, "one").unwrap();
        }
        place_all(&files, &dist).unwrap();
        fs::write(dist.join("gone.wasm"), "").unwrap();
        fs::write(&files[1], "two").unwrap();
        let inode = |name: &str| fs::metadata(dist.join(name)).unwrap().ino();
        let before = inode("a.wasm");
        place_all(&files, &dist).unwrap();
        assert_eq!(inode("a.wasm"), before, "what is as it was is not touched");
        assert_eq!(fs::read_to_string(dist.join("b.wasm")).unwrap(), "two");
        let mut names: Vec<_> = fs::read_dir(&dist).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["a.wasm", "b.wasm"]);
    }

    #[test]
    fn programs_stay_programs() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("built"), folder.path().join("dist/program"));
        fs::write(&from, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&from, fs::Permissions::from_mode(0o755)).unwrap();
        place(&from, &to).unwrap();
        assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o755);
    }
}
