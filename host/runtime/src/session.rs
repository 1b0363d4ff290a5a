//! One request's hold on one plugin.
//!
//! Keeps invariant 7 (a failed call discards the instance) and invariant 8 (the version is the one the request began with).

use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use crate::component::Role;
use crate::error::CallError;
use crate::instance::Instance;
use crate::plugin::Plugin;

/// Bytes of state a guest may hand back.
pub(crate) const MAX_STATE: usize = 64 << 10;

/// As [`MAX_STATE`], of a dialect: some protocols repeat the whole answer in its last frame.
pub(crate) const MAX_DIALECT_STATE: usize = 1 << 20;

static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// On whose behalf calls are made: what all sessions of one request have in common.
#[derive(Debug)]
pub struct Behalf {
    pub(crate) tenant: Tenant,
    /// Whose failures count together: a hash of the key's id.
    key: u64,
    pub(crate) request_id: Arc<str>,
}

/// An organisation, told by 128 bits that a secret of this process makes of its name: computed once a request and
/// compared for every plugin, twelve times a request, where the name itself would cost 25 ns each. The default is nobody's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tenant(u64, u64);

impl Hash for Tenant {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0);
    }
}

impl Tenant {
    pub fn new(name: &str) -> Self {
        Tenant(KEYS.hash_one((0_u8, name)), KEYS.hash_one((1_u8, name)))
    }

    /// Whether it stands for everybody.
    pub fn is_nobody(self) -> bool {
        self == Tenant::default()
    }
}

impl Behalf {
    /// `tenant` is the organisation, `key_id` tells whose failures count together.
    pub fn new(tenant: &str, key_id: &str, request_id: &str) -> Arc<Self> {
        Arc::new(Behalf { tenant: Tenant::new(tenant), key: KEYS.hash_one(key_id), request_id: request_id.into() })
    }
}

/// Calls into a plugin on behalf of one request. An instance is leased at the first call and goes back to where its isolation
/// says when the session is dropped. Calls are synchronous and take microseconds; make them where you are.
///
/// A stream that waits should not keep an instance from others: [`Session::release`] between its batches. What a stream
/// must remember is in the state its calls hand back, never in the instance.
pub struct Session {
    plugin: Arc<Plugin>,
    instance: Option<Instance>,
    behalf: Arc<Behalf>,
    spent: Duration,
}

impl Session {
    pub(crate) fn new(plugin: Arc<Plugin>, behalf: Arc<Behalf>) -> Session {
        Session { plugin, instance: None, behalf, spent: Duration::ZERO }
    }

    /// The version every call of this session reaches.
    pub fn plugin(&self) -> &Arc<Plugin> {
        &self.plugin
    }

    /// Time this session's calls took so far, the making of instances included.
    pub fn spent(&self) -> Duration {
        self.spent
    }

    /// Gives the instance back early; the next call leases one anew.
    pub fn release(&mut self) {
        if let Some(instance) = self.instance.take() {
            self.plugin.put_back(self.behalf.tenant, instance);
        }
    }

    /// One call under the plugin's limits and standing.
    pub(crate) fn call<R: Send>(
        &mut self,
        role: Role,
        call: impl FnOnce(&mut Instance, &Plugin) -> wasmtime::Result<R> + Send,
    ) -> Result<R, CallError> {
        if !self.plugin.has_role(role) {
            return Err(CallError::NotARole(role));
        }
        if !self.plugin.health.admit() {
            return Err(CallError::Held);
        }
        let answer = self.attempt(call);
        match &answer {
            Ok(_) => self.plugin.health.success(),
            Err(error) => self.blame(error),
        }
        answer
    }

    fn attempt<R: Send>(
        &mut self,
        call: impl FnOnce(&mut Instance, &Plugin) -> wasmtime::Result<R> + Send,
    ) -> Result<R, CallError> {
        let mut instance = match self.instance.take() {
            Some(instance) => instance,
            None => {
                let (leased, took) = self.plugin.lease(&self.behalf);
                self.spent += took;
                leased?
            }
        };
        let plugin = &*self.plugin;
        let (answer, took) = instance.call(&plugin.code, |instance| call(instance, plugin));
        self.spent += took;
        if answer.is_ok() {
            self.instance = Some(instance);
        }
        answer
    }

    /// Checks the size of state that a call hands back.
    pub(crate) fn bounded<R>(
        &mut self,
        answer: R,
        most: usize,
        state: impl FnOnce(&R) -> usize,
    ) -> Result<R, CallError> {
        let size = state(&answer);
        if size <= most {
            return Ok(answer);
        }
        self.instance = None;
        let error = CallError::StateTooLarge(size);
        self.blame(&error);
        Err(error)
    }

    #[cold]
    fn blame(&self, error: &CallError) {
        if error.blames_plugin() {
            self.plugin.failed(self.behalf.key, error, &self.behalf.request_id);
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // A panic between two calls says nothing about the guest, but an instance is cheap and doubt is not.
        if !std::thread::panicking() {
            self.release();
        }
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("plugin", &self.plugin).field("spent", &self.spent).finish_non_exhaustive()
    }
}
