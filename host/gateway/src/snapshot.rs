//! One set of plugins with one configuration, and the tables made of them. Immutable: a change makes a new one.

use std::sync::Arc;

use portcullis_runtime::{Plugin, Role};

use crate::catalog::{Catalog, HealthRegistry};
use crate::config::{Config, ScopeConfig};
use crate::route::RouteTable;
use crate::upstream::{Health, HealthSettings};

pub struct Snapshot {
    pub config: Arc<Config>,
    pub routes: RouteTable,
    pub catalog: Catalog,
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
    /// # Errors
    /// A sentence for the operator.
    pub fn build(config: Arc<Config>, plugins: &[Arc<Plugin>], health: &HealthRegistry) -> Result<Self, String> {
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
            routes: RouteTable::build(plugins)?,
            catalog: Catalog::build(&config, plugins, &|name| health.of(name, || Health::new(settings)))?,
            policies: stages(Role::Policy),
            guards: stages(Role::Guard),
            router: with(Role::Router).next().cloned(),
            observers: with(Role::Observer).cloned().collect(),
            plugins: plugins.to_vec(),
            config,
        })
    }

    /// Whether chat requests can be served: a dialect to take them and a model to send them to.
    pub fn is_ready(&self) -> bool {
        self.routes.has_chat() && !self.catalog.offers().is_empty()
    }
}
