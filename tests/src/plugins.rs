//! Plugin folders of copies, and components that differ as much as a test needs.
//!
//! Beside the project's own plugins there are those that misbehave as they are told: the runtime's `tests/guests`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use wasm_encoder::{ComponentSection, CustomSection};

use crate::gateway::built;

/// A component's bytes.
#[derive(Clone)]
pub struct Component(Vec<u8>);

impl Component {
    /// As it was built.
    pub fn built(name: &str) -> Self {
        let path = source().join(format!("{name}.wasm"));
        let bytes = fs::read(&path);
        Component(bytes.unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask plugins`", path.display())))
    }

    /// A plugin that does what its configuration tells it, as `guest`, version 1.0.0: see `host/runtime/tests/guests`.
    pub fn guest(role: &str) -> Self {
        let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let status = Command::new(env!("CARGO"))
            .current_dir(&checkout)
            .args(["build", "--quiet", "--profile", "plugin", "--target", "wasm32-unknown-unknown"])
            .args(["-p", "portcullis-runtime-guests", "--example", &format!("guest_{role}")])
            .status()
            .expect("cargo runs");
        assert!(status.success(), "the guest does not build");
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or(checkout.join("target"), PathBuf::from);
        let module = target.join(format!("wasm32-unknown-unknown/plugin/examples/guest_{role}.wasm"));
        let component = wit_component::ComponentEncoder::default()
            .module(&fs::read(module).expect("it was built"))
            .and_then(|mut encoder| encoder.encode());
        Component(component.expect("a component"))
    }

    /// A guest that says it is another version.
    pub fn version(self, version: &str) -> Self {
        self.exchange("version=1.0.0;", &format!("version={version};"))
    }

    /// The same plugin under another hash.
    pub fn variant(mut self, mark: u32) -> Self {
        let data = mark.to_be_bytes();
        CustomSection { name: "test-variant".into(), data: data.as_slice().into() }.append_to_component(&mut self.0);
        self
    }

    /// Exchanges text of equal length wherever it stands, such as the plugin's name.
    pub fn exchange(mut self, from: &str, to: &str) -> Self {
        assert_eq!(from.len(), to.len());
        let places: Vec<usize> = self
            .0
            .windows(from.len())
            .enumerate()
            .filter(|(_, found)| *found == from.as_bytes())
            .map(|(at, _)| at)
            .collect();
        assert!(!places.is_empty(), "{from} stands nowhere");
        for at in places {
            self.0[at..at + to.len()].copy_from_slice(to.as_bytes());
        }
        self
    }

    /// SHA-256 in hexadecimal, as receipts have it.
    pub fn hash(&self) -> String {
        hex::encode(Sha256::digest(&self.0))
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A folder that a gateway watches.
#[derive(Clone)]
pub struct PluginFolder(PathBuf);

impl PluginFolder {
    /// The names of all that was built.
    pub fn all() -> Vec<String> {
        let folder = source();
        let files = fs::read_dir(&folder);
        let files = files.unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask plugins`", folder.display()));
        let names = files.filter_map(|file| {
            let path = file.ok()?.path();
            let wasm = path.extension().is_some_and(|extension| extension == "wasm");
            wasm.then(|| path.file_stem()?.to_str().map(str::to_owned)).flatten()
        });
        names.collect()
    }

    pub fn create(path: PathBuf, names: &[String]) -> Self {
        fs::create_dir_all(&path).expect("the plugin folder");
        let folder = PluginFolder(path);
        for name in names {
            folder.put(name, &Component::built(name));
        }
        folder
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(format!("{name}.wasm"))
    }

    /// Puts a file in place at once, as a careful operator does.
    pub fn put(&self, name: &str, component: &Component) {
        self.put_bytes(name, component.bytes());
    }

    pub fn put_bytes(&self, name: &str, bytes: &[u8]) {
        let aside = self.0.join(format!(".{name}.new"));
        fs::write(&aside, bytes).expect("the file is written");
        fs::rename(aside, self.path(name)).expect("the file is put in place");
    }

    pub fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).expect("the file is removed");
    }

    /// Lays a component aside, under a name that is no plugin's, for [`link`](Self::link). It looks old, as files of a
    /// volume that was mounted do.
    pub fn lay_aside(&self, label: &str, component: &Component) -> PathBuf {
        let folder = self.0.join("versions");
        fs::create_dir_all(&folder).expect("a folder for versions");
        let path = folder.join(label);
        fs::write(&path, component.bytes()).expect("the file is written");
        let file = fs::File::options().write(true).open(&path).expect("the file");
        file.set_modified(SystemTime::now() - Duration::from_secs(3600)).expect("its time is set");
        path
    }

    /// Turns a plugin's link to a file at once.
    pub fn link(&self, name: &str, target: &Path) {
        let aside = self.0.join(format!(".{name}.link"));
        std::os::unix::fs::symlink(target, &aside).expect("the link is made");
        fs::rename(aside, self.path(name)).expect("the link is put in place");
    }
}

fn source() -> PathBuf {
    std::env::var_os("PORTCULLIS_PLUGINS").map_or_else(|| built("plugins"), PathBuf::from)
}
