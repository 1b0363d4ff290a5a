//! What a file is, read from its bytes before anything is compiled: a component of this contract, with which roles, importing
//! nothing that is not offered.

use std::fmt;

use serde::{Deserialize, Serialize};
use wasmparser::{Encoding, Parser, Payload};

use crate::error::LoadError;

/// The contract this host speaks.
pub(crate) const CONTRACT: &str = "portcullis:plugin";
pub(crate) const VERSION: &str = "0.1.0";

/// The custom section that holds a plugin's golden vectors, a JSON array.
const GOLDEN_SECTION: &str = "portcullis:golden";
/// Interfaces the host offers, or that only hold types.
const OFFERED: [&str; 3] = ["log", "types", "chat"];

/// What a plugin does. A component may fill several roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Dialect,
    Provider,
    Router,
    Guard,
    Policy,
    Observer,
}

impl Role {
    pub const ALL: [Role; 6] = [Role::Dialect, Role::Provider, Role::Router, Role::Guard, Role::Policy, Role::Observer];

    /// The interface's name in the contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Dialect => "dialect",
            Role::Provider => "provider",
            Role::Router => "router",
            Role::Guard => "guard",
            Role::Policy => "policy",
            Role::Observer => "observer",
        }
    }

    fn named(name: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.as_str() == name)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A component's outer shape.
#[derive(Debug, PartialEq)]
pub(crate) struct Shape {
    /// In the order of [`Role::ALL`].
    pub roles: Vec<Role>,
    /// It imports WASI and gets the emptied one.
    pub wasi: bool,
    /// The golden section, if there is one.
    pub golden: Option<Vec<u8>>,
}

/// Reads a component's shape.
pub(crate) fn shape(bytes: &[u8]) -> Result<Shape, LoadError> {
    if bytes.starts_with(b"\x7fELF") {
        return Err(LoadError::Precompiled);
    }
    let mut shape = Shape { roles: Vec::new(), wasi: false, golden: None };
    let mut described = false;
    let mut golden = Vec::new();
    let mut depth = 0_usize;
    let mut ended = false;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(|error| LoadError::NotAComponent(error.to_string()))? {
            Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => {
                return Err(LoadError::NotAComponent("it is a core module; make a component of it".to_owned()));
            }
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) if depth > 0 => depth -= 1,
            Payload::End(_) => ended = true,
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    let import = import.map_err(|error| LoadError::NotAComponent(error.to_string()))?;
                    shape.wasi |= import_is_wasi(import.name.name)?;
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    let export = export.map_err(|error| LoadError::NotAComponent(error.to_string()))?;
                    match contract_interface(export.name.name)? {
                        Some("plugin") => described = true,
                        Some(name) => shape.roles.extend(Role::named(name)),
                        None => {}
                    }
                }
            }
            Payload::CustomSection(section) if depth == 0 && section.name() == GOLDEN_SECTION => {
                golden.push(section.data());
            }
            _ => {}
        }
    }
    if !ended {
        return Err(LoadError::NotAComponent("it ends too early".to_owned()));
    }
    if !described {
        return Err(LoadError::WrongContract(format!("it does not export {CONTRACT}/plugin@{VERSION}")));
    }
    if shape.roles.is_empty() {
        return Err(LoadError::WrongContract("it fills no role".to_owned()));
    }
    if golden.len() > 1 {
        return Err(LoadError::Golden(format!("there are {} sections `{GOLDEN_SECTION}`", golden.len())));
    }
    shape.golden = golden.pop().map(<[u8]>::to_vec);
    shape.roles.sort();
    Ok(shape)
}

/// Whether an import is WASI's; an error if it is neither that nor the contract's.
fn import_is_wasi(name: &str) -> Result<bool, LoadError> {
    if name.starts_with("wasi:") {
        return Ok(true);
    }
    match contract_interface(name)? {
        Some(interface) if OFFERED.contains(&interface) => Ok(false),
        _ => Err(LoadError::WrongContract(format!("it imports {name}, which is not offered"))),
    }
}

/// The interface of a name of this contract; an error if it is of another version.
fn contract_interface(name: &str) -> Result<Option<&str>, LoadError> {
    let Some(rest) = name.strip_prefix(CONTRACT).and_then(|rest| rest.strip_prefix('/')) else {
        return Ok(None);
    };
    let (interface, version) = rest.split_once('@').unwrap_or((rest, ""));
    if version != VERSION {
        return Err(LoadError::WrongContract(format!("it names {name}; this gateway speaks version {VERSION}")));
    }
    Ok(Some(interface))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_contracts_or_wasis_or_refused() {
        for (name, expected) in [
            ("portcullis:plugin/log@0.1.0", Ok(false)),
            ("portcullis:plugin/types@0.1.0", Ok(false)),
            ("wasi:io/poll@0.2.3", Ok(true)),
            ("portcullis:plugin/guard@0.1.0", Err("is not offered")),
            ("portcullis:plugin/log@0.2.0", Err("speaks version 0.1.0")),
            ("portcullis:plugin/log", Err("speaks version 0.1.0")),
            ("portcullis:plugins/log@0.1.0", Err("is not offered")),
            ("acme:sockets/tcp@1.0.0", Err("acme:sockets/tcp@1.0.0")),
        ] {
            match (import_is_wasi(name), expected) {
                (Ok(wasi), Ok(expected)) => assert_eq!(wasi, expected, "{name}"),
                (Err(error), Err(words)) => assert!(error.to_string().contains(words), "{name}: {error}"),
                (answer, _) => panic!("{name}: {answer:?}"),
            }
        }
    }

    #[test]
    fn what_is_no_component_is_said_plainly() {
        assert!(matches!(shape(b"\x7fELF..."), Err(LoadError::Precompiled)));
        assert!(matches!(shape(b""), Err(LoadError::NotAComponent(_))));
        assert!(matches!(shape(b"no wasm at all"), Err(LoadError::NotAComponent(_))));
        let module = b"\0asm\x01\0\0\0";
        assert!(matches!(shape(module), Err(LoadError::NotAComponent(why)) if why.contains("core module")));
        let empty = b"\0asm\x0d\0\x01\0";
        assert!(matches!(shape(empty), Err(LoadError::WrongContract(why)) if why.contains("plugin@0.1.0")));
    }
}
