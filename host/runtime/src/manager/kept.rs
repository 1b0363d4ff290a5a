//! Copies of components that serve or served. The plugin folder holds one file a plugin: when a version that failed there is met
//! at a start, only such a copy can serve in its place. A copy is checked like any file before it serves.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::{files, load};

const FOLDER: &str = "versions";
/// Copies kept beside those that are needed; past that the least recently loaded go.
const MAX_FILES: usize = 16;
const SUFFIX: &str = "wasm";

pub(super) struct Kept {
    folder: Option<PathBuf>,
    complained: bool,
}

impl Kept {
    pub fn new(state_dir: Option<&Path>) -> Kept {
        Kept { folder: state_dir.map(|path| path.join(FOLDER)), complained: false }
    }

    /// Keeps a component that passed its checks.
    pub fn keep(&mut self, hash: &str, bytes: &[u8]) {
        let Some(folder) = &self.folder else { return };
        let path = folder.join(format!("{hash}.{SUFFIX}"));
        let kept = match fs::File::options().write(true).open(&path) {
            Ok(file) => file.set_modified(SystemTime::now()),
            Err(_) => files::create_private(folder).and_then(|()| files::write(&path, bytes)),
        };
        if let Err(error) = kept
            && !std::mem::replace(&mut self.complained, true)
        {
            tracing::warn!(path = %folder.display(), %error, "components are not kept: after a restart there is no older version");
        }
    }

    /// A component's bytes, if they are there and are its.
    pub fn bytes(&self, hash: &str) -> Option<Vec<u8>> {
        let bytes = fs::read(self.folder.as_ref()?.join(format!("{hash}.{SUFFIX}"))).ok()?;
        (load::hash(&bytes) == hash).then_some(bytes)
    }

    /// Removes what is too many, and none that is needed.
    pub fn prune(&self, needed: impl Fn(&str) -> bool) {
        let Some(entries) = self.folder.as_ref().and_then(|folder| fs::read_dir(folder).ok()) else { return };
        let mut spare: Vec<_> = entries
            .flatten()
            .filter(|entry| entry.path().extension().is_some_and(|extension| extension == SUFFIX))
            .filter(|entry| !entry.path().file_stem().and_then(|stem| stem.to_str()).is_some_and(&needed))
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        spare.sort();
        let surplus = spare.len().saturating_sub(MAX_FILES);
        for (_, path) in &spare[..surplus] {
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_changed_is_not_what_was_kept() {
        let state = tempfile::tempdir().unwrap();
        let mut kept = Kept::new(Some(state.path()));
        let hash = load::hash(b"component");
        assert_eq!(kept.bytes(&hash), None);
        kept.keep(&hash, b"component");
        assert_eq!(kept.bytes(&hash).as_deref(), Some(&b"component"[..]));
        fs::write(state.path().join(FOLDER).join(format!("{hash}.wasm")), b"other").unwrap();
        assert_eq!(kept.bytes(&hash), None);
    }

    #[test]
    fn what_is_needed_stays() {
        let state = tempfile::tempdir().unwrap();
        let mut kept = Kept::new(Some(state.path()));
        let hashes: Vec<String> = (0..MAX_FILES + 5).map(|n| load::hash(&n.to_be_bytes())).collect();
        for (n, hash) in hashes.iter().enumerate() {
            kept.keep(hash, &n.to_be_bytes());
            let file =
                fs::File::options().write(true).open(state.path().join(FOLDER).join(format!("{hash}.wasm"))).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(n as u64)).unwrap();
        }
        kept.prune(|hash| hash == hashes[0]);
        let there: Vec<bool> = hashes.iter().map(|hash| kept.bytes(hash).is_some()).collect();
        let expected: Vec<bool> = (0..hashes.len()).map(|n| n == 0 || n >= 5).collect();
        assert_eq!(there, expected);
    }
}
