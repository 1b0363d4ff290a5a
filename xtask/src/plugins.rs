//! Builds `plugins/*` for `wasm32-unknown-unknown` and makes components of them that import the contract and nothing else.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use wasm_encoder::{ComponentSection, CustomSection};
use wasmparser::{Parser, Payload};

use crate::command;
use crate::toolchain::{TARGET, Wasm};

/// Read by the host when it loads the component: the plugin's own golden vectors, a JSON array.
const GOLDEN_SECTION: &str = "portcullis:golden";

/// Builds the named plugins, or all, into `target/plugins/NAME.wasm`, and returns those files.
pub fn build(only: &[String]) -> Result<Vec<PathBuf>> {
    let root = root();
    let mut names = Vec::new();
    for entry in fs::read_dir(root.join("plugins"))? {
        let entry = entry?;
        if entry.path().join("Cargo.toml").is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    if !only.is_empty() {
        ensure!(only.iter().all(|name| names.contains(name)), "plugins/ holds {}", names.join(", "));
        names.retain(|name| only.contains(name));
    }
    names.sort();
    let target = target_directory(&root);
    let wasm = Wasm::set_up(&root)?;
    let mut cargo = command::cargo(&root);
    cargo.args(["build", "--profile", "plugin", "--target", TARGET]);
    wasm.prepare(&mut cargo);
    for name in &names {
        cargo.args(["-p", &format!("portcullis-plugin-{name}")]);
    }
    command::step("building plugins", &mut cargo).context("the plugins do not build")?;
    let out = target.join("plugins");
    fs::create_dir_all(&out)?;
    let mut components = Vec::new();
    for name in &names {
        let file =
            target.join(TARGET).join("plugin").join(format!("portcullis_plugin_{}.wasm", name.replace('-', "_")));
        let folder = root.join("plugins").join(name);
        let (partial, path) = (out.join(format!(".{name}.partial")), out.join(format!("{name}.wasm")));
        if is_current(&path, &file, &folder.join("tests/golden"))? {
            println!("{:>9} bytes  {} (unchanged)", fs::metadata(&path)?.len(), path.display());
            components.push(path);
            continue;
        }
        let component = componentize(&fs::read(&file)?, &folder).with_context(|| name.clone())?;
        // Written aside and renamed, since a running gateway may be watching this folder.
        fs::write(&partial, &component)?;
        fs::rename(&partial, &path)?;
        println!("{:>9} bytes  {}", component.len(), path.display());
        components.push(path);
    }
    Ok(components)
}

/// Whether a component is newer than its module, its vectors, and the program that makes components.
fn is_current(component: &Path, module: &Path, golden: &Path) -> Result<bool> {
    let modified = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified());
    let Ok(made) = modified(component) else { return Ok(false) };
    let mut sources = vec![module.to_owned(), std::env::current_exe()?, golden.to_owned()];
    if let Ok(entries) = fs::read_dir(golden) {
        for entry in entries {
            sources.push(entry?.path());
        }
    }
    let times: Vec<SystemTime> = sources.iter().filter_map(|path| modified(path).ok()).collect();
    Ok(times.len() == sources.len() && times.iter().all(|time| *time < made))
}

fn componentize(module: &[u8], folder: &Path) -> Result<Vec<u8>> {
    let mut component = wit_component::ComponentEncoder::default().validate(true).module(module)?.encode()?;
    check_imports(&component)?;
    let vectors = golden_vectors(&folder.join("tests/golden"))?;
    let data = serde_json::to_vec(&vectors)?;
    CustomSection { name: GOLDEN_SECTION.into(), data: data.into() }.append_to_component(&mut component);
    Ok(component)
}

fn check_imports(component: &[u8]) -> Result<()> {
    let mut depth = 0;
    for payload in Parser::new(0).parse_all(component) {
        match payload? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth -= i32::from(depth > 0),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    let name = import?.name.name.to_owned();
                    if !name.starts_with("portcullis:plugin/") {
                        bail!("imports {name}, which is not of the contract");
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn golden_vectors(folder: &Path) -> Result<Vec<Value>> {
    let mut files: Vec<PathBuf> = match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?,
        Err(_) => bail!("has no golden vectors in {}", folder.display()),
    };
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    files
        .iter()
        .map(|path| {
            let mut vector: Value =
                serde_json::from_slice(&fs::read(path)?).with_context(|| path.display().to_string())?;
            vector["file"] = json!(path.file_stem().unwrap_or_default().to_string_lossy());
            Ok(vector)
        })
        .collect()
}

/// The workspace's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask stands in the workspace").to_owned()
}

/// Where cargo, started in the root, builds to.
pub fn target_directory(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |folder| root.join(folder))
}
