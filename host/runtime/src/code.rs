//! One component, compiled, linked and type-checked: what its instances are made of.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use wasmtime::component::InstancePre;

use crate::cache;
use crate::component::{Role, Shape};
use crate::engine::{Counts, Runtime};
use crate::error::LoadError;
use crate::functions::Functions;
use crate::host::HostState;
use crate::instance::Instance;

pub(crate) struct Code {
    pub runtime: Arc<Runtime>,
    pub hash: String,
    pub roles: Vec<Role>,
    pub wasi: bool,
    pub pre: InstancePre<HostState>,
    functions: OnceLock<Functions>,
    _counted: Counted,
}

/// Components in memory by their hash. A version that requests still hold is the same component when its file comes back: its
/// code is not mapped a second time.
#[derive(Default)]
pub(crate) struct Living(Mutex<HashMap<String, Weak<Code>>>);

impl Living {
    fn find(&self, hash: &str) -> Option<Arc<Code>> {
        self.lock().get(hash)?.upgrade()
    }

    fn keep(&self, code: &Arc<Code>) {
        let mut all = self.lock();
        all.retain(|_, code| code.strong_count() > 0);
        all.insert(code.hash.clone(), Arc::downgrade(code));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Weak<Code>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Code {
    /// The component with this hash, which is compiled and linked unless it is in memory.
    pub fn of(runtime: &Arc<Runtime>, shape: &Shape, bytes: &[u8], hash: String) -> Result<Arc<Code>, LoadError> {
        if let Some(code) = runtime.living.find(&hash) {
            return Ok(code);
        }
        let code = Arc::new(Code::new(runtime.clone(), shape, bytes, hash)?);
        runtime.living.keep(&code);
        Ok(code)
    }

    /// Compiles and links. Nothing can be called before [`Code::check_types`].
    fn new(runtime: Arc<Runtime>, shape: &Shape, bytes: &[u8], hash: String) -> Result<Code, LoadError> {
        let component = cache::compiled(&runtime, bytes, &hash)?;
        if let Some(needed) = component.resources_required()
            && needed.max_initial_memory_size.is_some_and(|size| size > runtime.options.max_memory_bytes as u64)
        {
            return Err(LoadError::Compile("it starts with more memory than any plugin may have".to_owned()));
        }
        let wrong = |error: wasmtime::Error| LoadError::WrongContract(format!("{error:#}"));
        let pre = runtime.linker(shape.wasi).instantiate_pre(&component).map_err(wrong)?;
        let counted = Counted::new(runtime.counts.clone());
        let (roles, wasi) = (shape.roles.clone(), shape.wasi);
        Ok(Code { runtime, hash, roles, wasi, pre, functions: OnceLock::new(), _counted: counted })
    }

    /// Finds every function of the component's roles and compares its types with the contract's.
    pub fn check_types(&self, instance: &mut Instance) -> wasmtime::Result<()> {
        let functions = Functions::checked(&self.pre, &self.roles, &mut instance.store, &instance.instance)?;
        // Found twice they are the same.
        let _ = self.functions.set(functions);
        Ok(())
    }

    /// Gives back the pages of compiled code that loading has touched: its golden vectors run nearly all of it, and requests run
    /// a part, which comes back from the file at its first use. About 2 MB a provider.
    pub fn rest(&self) {
        #[cfg(target_os = "linux")]
        {
            let range = self.pre.component().image_range();
            let length = range.end as usize - range.start as usize;
            // SAFETY: the range is the component's own mapping, which begins at a page. Paging out changes no byte of it; what the
            // kernel does not know or cannot page out stays.
            unsafe { libc::madvise(range.start.cast_mut().cast(), length, libc::MADV_PAGEOUT) };
        }
    }

    pub fn functions(&self) -> wasmtime::Result<&Functions> {
        self.functions.get().ok_or_else(|| wasmtime::format_err!("its functions were not checked"))
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
