//! One loaded version of a plugin under one set of settings. Immutable: a change makes another.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::code::Code;
use crate::component::Role;
use crate::contract::manifest::Manifest;
use crate::error::{CallError, LoadError};
use crate::health::{Health, Verdict};
use crate::host::Identity;
use crate::instance::Instance;
use crate::pool::Pool;
use crate::session::{Behalf, Session, Tenant};
use crate::settings::{Access, Isolation, PluginSettings};

/// Told once that a version must make way for the one before.
pub(crate) type Withdraw = Arc<dyn Fn(&str, &str) + Send + Sync>;

/// A plugin as requests use it.
pub struct Plugin {
    pub(crate) code: Arc<Code>,
    pub(crate) health: Health,
    manifest: Arc<Manifest>,
    settings: PluginSettings,
    configuration: String,
    access: Access,
    identity: Arc<Identity>,
    pool: Pool<Instance>,
    withdraw: Option<Withdraw>,
}

impl Plugin {
    /// Puts a described component under settings. Nothing is called yet: see [`Plugin::rehearse`].
    pub(crate) fn new(
        code: Arc<Code>,
        manifest: Arc<Manifest>,
        settings: PluginSettings,
        replaces: bool,
        withdraw: Option<Withdraw>,
    ) -> Result<Plugin, LoadError> {
        let access = settings.narrow(&manifest.access);
        let sees_content = sees_content(&code.roles, access);
        let options = &code.runtime.options;
        let refuse = |why: &str| Err(LoadError::Settings(why.to_owned()));
        if code.roles.contains(&Role::Guard) && !access.content_read {
            return refuse("a guard reads content, and this one may not");
        }
        if settings.isolation == Isolation::Shared && sees_content {
            return refuse("isolation `shared` is for plugins that see no content");
        }
        if settings.memory_bytes > options.max_memory_bytes {
            return refuse(&format!("it may have at most {} bytes of memory", options.max_memory_bytes));
        }
        if settings.deadline.is_zero() || settings.wall_deadline.is_zero() {
            return refuse("its deadlines must be longer than nothing");
        }
        if !(settings.configuration.is_null() || settings.configuration.is_object()) {
            return refuse("its configuration must be an object");
        }
        let identity = Arc::new(Identity {
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            withhold: sees_content && !options.development,
        });
        let pool = Pool::new(code.runtime.counts.clone(), code.runtime.idle_limit());
        let health = Health::new(options.health, replaces, Instant::now());
        let configuration = settings.configuration_text();
        Ok(Plugin { code, health, manifest, settings, configuration, access, identity, pool, withdraw })
    }

    /// The same component under other settings.
    pub(crate) fn under(
        &self,
        settings: PluginSettings,
        replaces: bool,
        withdraw: Option<Withdraw>,
    ) -> Result<Plugin, LoadError> {
        Plugin::new(self.code.clone(), self.manifest.clone(), settings, replaces, withdraw)
    }

    /// Makes one configured instance, as every request will.
    pub(crate) fn rehearse(&self) -> Result<(), LoadError> {
        let mut instance = self.instantiate().map_err(LoadError::Configure)?;
        match self.configure(&mut instance).0 {
            Ok(Ok(())) => Ok(()),
            Ok(Err(words)) => Err(LoadError::Configuration(words)),
            Err(error) => Err(LoadError::Configure(error)),
        }
    }

    /// Lower-case, and the file's name.
    pub fn name(&self) -> &str {
        &self.manifest.name
    }

    /// A semantic version.
    pub fn version(&self) -> &str {
        &self.manifest.version
    }

    /// SHA-256 of the file, in hex.
    pub fn hash(&self) -> &str {
        &self.code.hash
    }

    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    pub fn roles(&self) -> &[Role] {
        &self.code.roles
    }

    pub fn has_role(&self, role: Role) -> bool {
        self.code.roles.contains(&role)
    }

    pub fn settings(&self) -> &PluginSettings {
        &self.settings
    }

    /// What it may see and change after the operator's narrowing. [`Session`] enforces it.
    pub fn access(&self) -> Access {
        self.access
    }

    /// `probation`, `trusted`, `held` or `withdrawn`.
    pub fn health(&self) -> &'static str {
        self.health.describe(Instant::now())
    }

    /// One request's hold on this version. `tenant` is the organisation, `key_id` tells whose failures count together.
    /// Costs no instance until the first call.
    pub fn session(self: &Arc<Self>, tenant: &str, key_id: &str, request_id: &str) -> Session {
        self.session_for(&Behalf::new(tenant, key_id, request_id))
    }

    /// As [`Plugin::session`], for a request that calls several plugins.
    pub fn session_for(self: &Arc<Self>, behalf: &Arc<Behalf>) -> Session {
        Session::new(self.clone(), behalf.clone())
    }

    /// A warm instance of the pool, or a new one, and how long that took.
    pub(crate) fn lease(&self, behalf: &Behalf) -> (Result<Instance, CallError>, Duration) {
        let warm = match self.settings.isolation {
            Isolation::Fresh => None,
            Isolation::Tenant => self.pool.take(behalf.tenant),
            Isolation::Shared => self.pool.take(Tenant::default()),
        };
        if let Some(mut instance) = warm {
            instance.store.data_mut().lease(&behalf.request_id);
            return (Ok(instance), Duration::ZERO);
        }
        let begin = Instant::now();
        let fresh = self.instantiate().and_then(|mut instance| {
            instance.store.data_mut().lease(&behalf.request_id);
            match self.configure(&mut instance).0? {
                Ok(()) => Ok(instance),
                Err(_) => Err(CallError::Instantiation("it refuses the configuration it took before".to_owned())),
            }
        });
        (fresh, begin.elapsed())
    }

    /// Takes an instance back that came through its calls unharmed.
    pub(crate) fn put_back(&self, tenant: Tenant, instance: Instance) {
        if !instance.reusable() {
            return;
        }
        let since = instance.used;
        match self.settings.isolation {
            Isolation::Tenant => self.pool.put(tenant, instance, since),
            Isolation::Shared => self.pool.put(Tenant::default(), instance, since),
            Isolation::Fresh => {}
        }
    }

    /// Drops instances idle since before `then`.
    pub(crate) fn trim(&self, then: Instant) {
        self.pool.trim(then);
    }

    /// A call failed by the plugin's fault.
    pub(crate) fn failed(&self, key: u64, error: &CallError, request_id: &str) {
        tracing::warn!(plugin = self.name(), version = self.version(), request_id, %error, "plugin call failed");
        if self.health.failure(key) == Verdict::Withdraw
            && let Some(withdraw) = &self.withdraw
        {
            withdraw(self.name(), self.hash());
        }
    }

    fn instantiate(&self) -> Result<Instance, CallError> {
        Instance::new(&self.code, self.identity.clone(), &self.settings)
    }

    fn configure(&self, instance: &mut Instance) -> (Result<Result<(), String>, CallError>, Duration) {
        let code = &*self.code;
        instance.call(code, |instance| {
            code.functions()?.plugin.configure.call(&mut instance.store, &instance.instance, (&self.configuration,))
        })
    }
}

/// Whether prompts or answers pass through a plugin, by its roles or by its access.
fn sees_content(roles: &[Role], access: Access) -> bool {
    access.content_read
        || access.content_write
        || roles.iter().any(|role| matches!(role, Role::Dialect | Role::Provider | Role::Guard))
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin")
            .field("name", &self.name())
            .field("version", &self.version())
            .field("hash", &self.hash())
            .field("roles", &self.roles())
            .finish_non_exhaustive()
    }
}
