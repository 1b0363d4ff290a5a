//! One component, compiled, linked and type-checked: what its instances are made of.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use wasmtime::component::InstancePre;

use crate::bindings::{base, dialect, guard, observer, policy, provider, router};
use crate::cache;
use crate::component::{Role, Shape};
use crate::engine::{Counts, Runtime};
use crate::error::LoadError;
use crate::host::HostState;

pub(crate) struct Code {
    pub runtime: Arc<Runtime>,
    pub hash: String,
    pub roles: Vec<Role>,
    pub wasi: bool,
    pub pre: InstancePre<HostState>,
    pub exports: Exports,
    _counted: Counted,
}

/// Where each role's functions stand in the component.
pub(crate) struct Exports {
    pub plugin: base::exports::portcullis::plugin::plugin::GuestIndices,
    pub dialect: Option<dialect::exports::portcullis::plugin::dialect::GuestIndices>,
    pub provider: Option<provider::exports::portcullis::plugin::provider::GuestIndices>,
    pub router: Option<router::exports::portcullis::plugin::router::GuestIndices>,
    pub guard: Option<guard::exports::portcullis::plugin::guard::GuestIndices>,
    pub policy: Option<policy::exports::portcullis::plugin::policy::GuestIndices>,
    pub observer: Option<observer::exports::portcullis::plugin::observer::GuestIndices>,
}

impl Code {
    /// Compiles and links. What a function's types are is checked when an instance first looks it up: see
    /// [`Instance::check_types`](crate::instance::Instance::check_types).
    pub fn new(runtime: Arc<Runtime>, shape: &Shape, bytes: &[u8], hash: String) -> Result<Code, LoadError> {
        let component = cache::compiled(&runtime, bytes, &hash)?;
        if let Some(needed) = component.resources_required()
            && needed.max_initial_memory_size.is_some_and(|size| size > runtime.options.max_memory_bytes as u64)
        {
            return Err(LoadError::Compile("it starts with more memory than any plugin may have".to_owned()));
        }
        let wrong = |error: wasmtime::Error| LoadError::WrongContract(format!("{error:#}"));
        let pre = runtime.linker(shape.wasi).instantiate_pre(&component).map_err(wrong)?;
        let exports = Exports::new(&pre, &shape.roles).map_err(wrong)?;
        let counted = Counted::new(runtime.counts.clone());
        Ok(Code { runtime, hash, roles: shape.roles.clone(), wasi: shape.wasi, pre, exports, _counted: counted })
    }
}

impl Exports {
    fn new(pre: &InstancePre<HostState>, roles: &[Role]) -> wasmtime::Result<Exports> {
        macro_rules! indices {
            ($role:ident, $name:ident) => {
                match roles.contains(&Role::$role) {
                    true => Some($name::exports::portcullis::plugin::$name::GuestIndices::new(pre)?),
                    false => None,
                }
            };
        }
        Ok(Exports {
            plugin: base::exports::portcullis::plugin::plugin::GuestIndices::new(pre)?,
            dialect: indices!(Dialect, dialect),
            provider: indices!(Provider, provider),
            router: indices!(Router, router),
            guard: indices!(Guard, guard),
            policy: indices!(Policy, policy),
            observer: indices!(Observer, observer),
        })
    }
}

/// Counts a compiled component as long as it lives.
struct Counted(Arc<Counts>);

impl Counted {
    fn new(counts: Arc<Counts>) -> Self {
        counts.components.fetch_add(1, Ordering::Relaxed);
        Counted(counts)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let components: &AtomicUsize = &self.0.components;
        components.fetch_sub(1, Ordering::Relaxed);
    }
}
