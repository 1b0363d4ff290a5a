//! One set of plugins with one configuration, and the tables made of them. Immutable: a change makes a new one.

use std::sync::Arc;

use portcullis_runtime::{Plugin, Role};

use crate::catalog::{Catalog, HealthRegistry};
use crate::config::{Config, ScopeConfig};
use crate::limits::Book;
use crate::route::RouteTable;
use crate::stored::StoredProvider;
use crate::upstream::{Health, HealthSettings};

pub struct Snapshot {
    pub config: Arc<Config>,
    /// The database's connections.
    pub stored: Arc<[StoredProvider]>,
    pub routes: Arc<RouteTable>,
    pub catalog: Arc<Catalog>,
    pub(crate) limits: Book,
    pub policies: Vec<Stage>,
    pub guards: Vec<Stage>,
    /// The router that decides: the first by order.
    pub router: Option<Arc<Plugin>>,
    pub observers: Vec<Arc<Plugin>>,
    pub plugins: Vec<Arc<Plugin>>,
}

/// A plugin in the pipeline, with the requests it is for.
pub struct Stage {
    pub plugin: Arc<Plugin>,
    pub scope: ScopeConfig,
}

impl Snapshot {
    /// Builds the tables; those whose plugins and configuration are the `former` snapshot's are shared with it, so that a swap of
    /// one plugin costs what that plugin brings, also while requests hold many snapshots.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub fn build(
        config: Arc<Config>,
        stored: Arc<[StoredProvider]>,
        plugins: &[Arc<Plugin>],
        health: &HealthRegistry,
        former: Option<&Snapshot>,
    ) -> Result<Self, String> {
        let settings = HealthSettings {
            failures: config.routing.breaker_failures.max(1),
            cooldown_ms: config.routing.breaker_cooldown_ms,
        };
        let with = |role: Role| plugins.iter().filter(move |plugin| plugin.roles().contains(&role));
        let stages = |role: Role| {
            with(role)
                .map(|plugin| Stage {
                    plugin: Arc::clone(plugin),
                    scope: config.plugin.get(plugin.name()).map(|section| section.scope.clone()).unwrap_or_default(),
                })
                .collect()
        };
        Ok(Snapshot {
            routes: match former.filter(|former| former.has_same(Role::Dialect, plugins)) {
                Some(former) => Arc::clone(&former.routes),
                None => Arc::new(RouteTable::build(plugins)?),
            },
            catalog: match former
                .filter(|former| Arc::ptr_eq(&former.config, &config) && Arc::ptr_eq(&former.stored, &stored))
                .filter(|former| former.has_same(Role::Provider, plugins))
            {
                Some(former) => Arc::clone(&former.catalog),
                None => Arc::new(Catalog::build(
                    &config,
                    &stored,
                    plugins,
                    &|name| health.of(name, || Health::new(settings)),
                    former.map(|former| &*former.catalog),
                )?),
            },
            limits: Book::new(&config.tiers, &config.limit),
            policies: stages(Role::Policy),
            guards: stages(Role::Guard),
            router: with(Role::Router).next().cloned(),
            observers: with(Role::Observer).cloned().collect(),
            plugins: plugins.to_vec(),
            config,
            stored,
        })
    }

    /// Whether the plugins of a role are the very same.
    fn has_same(&self, role: Role, plugins: &[Arc<Plugin>]) -> bool {
        fn of(role: Role, plugins: &[Arc<Plugin>]) -> impl Iterator<Item = *const Plugin> {
            plugins.iter().filter(move |plugin| plugin.roles().contains(&role)).map(Arc::as_ptr)
        }
        of(role, &self.plugins).eq(of(role, plugins))
    }

    /// Whether chat requests can be served: a dialect to take them and a model to send them to.
    pub fn is_ready(&self) -> bool {
        self.routes.has_chat() && !self.catalog.offers().is_empty()
    }
}
