//! What can be reached: connections, the models each offers, and what those cost.
//!
//! Built once for each set of plugins and configuration; a request keeps the one it started with (invariant 8).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use portcullis_core::price::{Price, PriceList, Rates, ServiceRates, Tier, UnitRate, parse_day};
use portcullis_core::{ConnectionId, Name, OrganisationId};
use portcullis_runtime::contract::manifest;
use portcullis_runtime::{Plugin, Role};
use portcullis_wire::framing::Framing;

use crate::config::{CatalogueEntry, CatalogueFile, Config, ProviderConfig, Settle, overlaid};
use crate::credential::Credential;
use crate::endpoint::Endpoint;
use crate::stored::StoredProvider;
use crate::upstream::{Address, Health};

/// A provider plugin with an address and a credential.
pub struct Connection {
    pub name: Name,
    /// Where the database keeps it.
    pub id: Option<ConnectionId>,
    /// Who alone may use it; `None` for everybody.
    pub organisation: Option<OrganisationId>,
    /// Its part of the requests beside others of its name.
    pub weight: u32,
    pub plugin: Arc<Plugin>,
    pub address: Arc<Address>,
    pub credential: Credential,
    pub region: Option<String>,
    pub stream_usage: bool,
    /// What a provider's own word on its cost counts for.
    pub settle: Settle,
    /// Every key may see what its account keeps: files, batches, and what requests name.
    pub shared_objects: bool,
    /// Endpoints by operation.
    pub endpoints: Vec<Arc<Endpoint>>,
    pub health: Arc<Health>,
    offers_any: bool,
}

impl Connection {
    /// The endpoint for an operation; of several, one whose bytes the client can read, or else one of its format.
    pub fn endpoint(&self, operation: &str, wire: Wire<'_>) -> Option<&Arc<Endpoint>> {
        let fitting = self.endpoints.iter().filter(|endpoint| {
            endpoint.operation == operation && endpoint.streams.is_none_or(|streams| streams == wire.stream)
        });
        fitting.min_by_key(|endpoint| match endpoint.format == wire.format {
            true if endpoint.speaks(wire.format, wire.stream, wire.framing) => 0,
            true => 1,
            false => 2,
        })
    }

    /// `None` sees every connection.
    fn is_seen_by(&self, organisation: Option<OrganisationId>) -> bool {
        organisation.is_none() || self.organisation.is_none() || self.organisation == organisation
    }
}

/// What a client speaks.
#[derive(Debug, Clone, Copy)]
pub struct Wire<'a> {
    pub format: &'a str,
    /// It asks for a stream, which is to be framed so.
    pub stream: bool,
    pub framing: Framing,
}

/// What is known of one model.
#[derive(Debug, Clone)]
pub struct ModelFacts {
    pub id: Name,
    /// Other names by which the provider can be asked.
    pub aliases: Vec<String>,
    /// Names for clients alone.
    pub synonyms: Vec<String>,
    pub operations: Vec<String>,
    /// Tokens of input and output together; 0 where unknown.
    pub context: u32,
    /// Tokens; 0 where unknown.
    pub max_output: u32,
    pub capabilities: Vec<String>,
    pub quality: Option<f32>,
    pub prices: PriceList,
    /// Whether the catalogue knows it, so that its capabilities can be relied on.
    pub known: bool,
}

impl ModelFacts {
    /// Every name that means it, its id first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let others = self.aliases.iter().chain(&self.synonyms).map(String::as_str);
        std::iter::once(&*self.id).chain(others)
    }
}

/// One model of one connection: what a request can be sent to.
#[derive(Clone)]
pub struct Offer {
    pub connection: Arc<Connection>,
    pub model: Arc<ModelFacts>,
    /// The name the provider is asked by: the model's id, or the alias that the client chose (a dated snapshot, say).
    pub name: Name,
}

/// Marks a model that is served by one of its provider's endpoints alone: `endpoint:responses`.
const ENDPOINT_CAPABILITY: &str = "endpoint:";

impl Offer {
    /// The endpoint for an operation: the one that alone serves this model, else the one that fits the client best.
    pub fn endpoint(&self, operation: &str, wire: Wire<'_>) -> Option<&Arc<Endpoint>> {
        let mut capabilities = self.model.capabilities.iter();
        match capabilities.find_map(|capability| capability.strip_prefix(ENDPOINT_CAPABILITY)) {
            Some(name) => {
                let named = self.connection.endpoints.iter().find(|endpoint| endpoint.name == name)?;
                // Of other operations it says nothing.
                if named.operation == operation { Some(named) } else { self.connection.endpoint(operation, wire) }
            }
            None => self.connection.endpoint(operation, wire),
        }
    }
}

/// Everything on offer.
#[derive(Default)]
pub struct Catalog {
    /// Several of one name differ in whose they are, or share its requests.
    connections: HashMap<Name, Vec<Arc<Connection>>>,
    /// Some are of the database: not everybody may use every one.
    stored: bool,
    offers: Vec<Offer>,
    /// Offers by model id and alias, without the connection's name.
    by_name: HashMap<String, Vec<Offer>>,
    auto: Vec<Offer>,
    overrides: Vec<(String, Price)>,
    /// See [`Self::absent`].
    absent: Vec<(String, String)>,
    /// The operator's own catalogue.
    own: Arc<CatalogueFile>,
}

impl Catalog {
    /// Connections whose plugin is not loaded, each with the plugin's name.
    pub fn absent(&self) -> &[(String, String)] {
        &self.absent
    }

    /// Joins the operator's connections with the provider plugins' catalogues. A connection whose plugin is not loaded is
    /// left out, and among the [`absent`](Self::absent): dropping the plugin in brings it to life. What credentials the `former` catalogue has fetched is
    /// kept where the configuration asks for the same.
    pub fn build(
        config: &Config,
        stored: &[StoredProvider],
        plugins: &[Arc<Plugin>],
        health_of: &dyn Fn(&str) -> Arc<Health>,
        former: Option<&Catalog>,
    ) -> Result<Self, String> {
        let mut catalog = Catalog { own: Arc::clone(&config.catalogue.content), ..Catalog::default() };
        for price in &config.pricing.price {
            let entry = price.price().map_err(|error| error.to_string())?;
            catalog.overrides.push((price.model.clone(), entry));
        }
        let of_file = config.providers.iter().map(|(name, provider)| (name, provider, None));
        // The operator's file goes before the database by name.
        let of_store = stored.iter().filter(|stored| !config.providers.contains_key(&stored.provider));
        let of_store = of_store.filter(|stored| {
            let checked = stored.check(&config.connections);
            if let Err(why) = &checked {
                tracing::warn!(connection = %stored.id, provider = %stored.provider, why, "a connection is not used");
            }
            checked.is_ok()
        });
        let of_store = of_store.map(|stored| (&stored.provider, &stored.config, Some(stored)));
        for (name, provider, stored) in of_file.chain(of_store) {
            let found = plugins.iter().find(|plugin| plugin.name() == provider.plugin && has_role(plugin));
            let Some(plugin) = found else {
                catalog.absent.push((name.clone(), provider.plugin.clone()));
                continue;
            };
            let id = stored.map(|stored| stored.id);
            let namesakes = former.and_then(|former| former.connections.get(&**name)).into_iter().flatten();
            let before = namesakes.filter(|before| before.id == id).map(|before| &before.credential).next();
            let made = Credential::of(name, provider, before).and_then(|credential| {
                let health = id.map_or_else(|| health_of(name), |id| health_of(&id.to_string()));
                connect(name, provider, plugin, health, credential)
            });
            let mut connection = match (made, stored) {
                (Ok(connection), _) => connection,
                // One that the database keeps must not keep the others out.
                (Err(why), Some(stored)) => {
                    tracing::warn!(connection = %stored.id, provider = %name, why, "a connection is not used");
                    continue;
                }
                (Err(why), None) => return Err(why),
            };
            if let Some(stored) = stored {
                (connection.id, connection.organisation, connection.weight) = (id, stored.organisation, stored.weight);
                catalog.stored = true;
            }
            let connection = Arc::new(connection);
            for model in catalog.models_of(&connection, provider) {
                catalog.add(Offer {
                    connection: Arc::clone(&connection),
                    name: model.id.clone(),
                    model: Arc::new(model),
                });
            }
            catalog.connections.entry(connection.name.clone()).or_default().push(connection);
        }
        catalog.auto = catalog.auto_offers(&config.routing.auto);
        Ok(catalog)
    }

    /// What a model's name, as a client gives it, can mean: `auto`, `connection/model`, or a bare name of the catalogue.
    /// Of connections an organisation's own are seen by that organisation only, by whatever name.
    pub fn resolve(&self, operation: &str, name: &str, organisation: OrganisationId) -> Vec<Offer> {
        self.open_to(self.meant(operation, name, Some(organisation)), organisation)
    }

    /// `None` sees every connection.
    fn meant(&self, operation: &str, name: &str, organisation: Option<OrganisationId>) -> Vec<Offer> {
        let fits = |offer: &&Offer| offer.model.operations.iter().any(|known| known == operation);
        if name == "auto" {
            return self.auto.iter().filter(fits).cloned().collect();
        }
        if let Some((connection, model)) = name.split_once('/')
            && let Some(connections) = self.seen(connection, organisation)
        {
            let of = |connection: &Arc<Connection>| {
                let mut named = self.by_name.get(model).into_iter().flatten().filter(fits);
                let listed = named.find(|offer| Arc::ptr_eq(&offer.connection, connection)).cloned();
                listed.or_else(|| self.any(connection, model, operation))
            };
            return connections.into_iter().filter_map(of).collect();
        }
        let named = self.by_name.get(name).into_iter().flatten();
        named.filter(fits).cloned().collect()
    }

    /// The connections of a name, where there are any.
    fn seen(&self, name: &str, organisation: Option<OrganisationId>) -> Option<Vec<&Arc<Connection>>> {
        let sees = |connection: &&Arc<Connection>| connection.is_seen_by(organisation);
        let seen: Vec<_> = self.connections.get(name)?.iter().filter(sees).collect();
        (!seen.is_empty()).then_some(seen)
    }

    /// Of offers those that an organisation may use: everybody's and its own, and of one name its own alone where it has any.
    pub fn open_to(&self, mut offers: Vec<Offer>, organisation: OrganisationId) -> Vec<Offer> {
        if !self.stored {
            return offers;
        }
        offers.retain(|offer| offer.connection.is_seen_by(Some(organisation)));
        let own: Vec<Name> = offers
            .iter()
            .filter(|offer| offer.connection.organisation.is_some())
            .map(|offer| offer.connection.name.clone())
            .collect();
        offers.retain(|offer| offer.connection.organisation.is_some() || !own.contains(&offer.connection.name));
        offers
    }

    /// Whether several connections can share requests.
    pub fn has_pools(&self) -> bool {
        self.stored && self.connections.values().any(|namesakes| namesakes.len() > 1)
    }

    /// Whether a model's name means one that is on offer, for whatever it can do.
    pub fn knows(&self, name: &str, organisation: OrganisationId) -> bool {
        let seen = |offer: &&Offer| offer.connection.is_seen_by(Some(organisation));
        let named = |name: &str| self.by_name.get(name).into_iter().flatten().filter(seen);
        let at = |connection: &str, model: &str| named(model).any(|offer| *offer.connection.name == *connection);
        named(name).next().is_some() || name.split_once('/').is_some_and(|(connection, model)| at(connection, model))
    }

    /// Where a request without a model can go: connections that offer the operation in the client's own format, and whose account
    /// is open to all. What a tenant owns stays with it (invariant 11), and here nobody knows whose a file is.
    pub fn without_model(&self, operation: &str, format: &str, named: Option<&str>) -> Vec<Offer> {
        let fitting = self.connections.values().flatten().filter(|connection| {
            connection.shared_objects
                && named.is_none_or(|named| *connection.name == *named)
                && connection.endpoints.iter().any(|known| known.operation == operation && known.format == format)
        });
        let mut offers: Vec<Offer> = fitting
            .map(|connection| {
                let facts = ModelFacts { operations: vec![operation.to_owned()], ..self.unlisted(connection, "") };
                Offer { connection: Arc::clone(connection), name: facts.id.clone(), model: Arc::new(facts) }
            })
            .collect();
        offers.sort_by(|one, two| one.connection.name.cmp(&two.connection.name));
        offers
    }

    /// The first of this name.
    pub fn connection(&self, name: &str) -> Option<&Arc<Connection>> {
        self.connections.get(name)?.first()
    }

    pub fn has_connection(&self, name: &str) -> bool {
        self.connections.contains_key(name)
    }

    /// Every offer, for the list of models.
    pub fn offers(&self) -> &[Offer] {
        &self.offers
    }

    pub fn connections(&self) -> impl Iterator<Item = &Arc<Connection>> {
        self.connections.values().flatten()
    }

    /// The facts of the model that answered, where a connection's catalogue knows the name it gave: settlement prices the
    /// model that answered (invariant 4).
    pub fn answered(&self, connection: &Arc<Connection>, name: &str) -> Option<Arc<ModelFacts>> {
        let offers = self.by_name.get(name)?;
        offers.iter().find(|offer| Arc::ptr_eq(&offer.connection, connection)).map(|offer| Arc::clone(&offer.model))
    }

    fn any(&self, connection: &Arc<Connection>, model: &str, operation: &str) -> Option<Offer> {
        if !connection.offers_any || model.is_empty() {
            return None;
        }
        let facts = ModelFacts { operations: vec![operation.to_owned()], ..self.unlisted(connection, model) };
        let name = facts.id.clone();
        Some(Offer { connection: Arc::clone(connection), model: Arc::new(facts), name })
    }

    fn add(&mut self, offer: Offer) {
        for name in std::iter::once(&*offer.model.id).chain(offer.model.aliases.iter().map(String::as_str)) {
            let named = Offer { name: name.into(), ..offer.clone() };
            self.by_name.entry(name.to_owned()).or_default().push(named);
        }
        for name in offer.model.synonyms.iter().filter(|name| !offer.model.aliases.contains(name)) {
            self.by_name.entry(name.clone()).or_default().push(offer.clone());
        }
        self.offers.push(offer);
    }

    fn auto_offers(&self, chosen: &[String]) -> Vec<Offer> {
        if chosen.is_empty() {
            return self.offers.clone();
        }
        chosen.iter().flat_map(|name| self.meant("chat", name, None)).collect()
    }

    fn models_of(&self, connection: &Connection, provider: &ProviderConfig) -> Vec<ModelFacts> {
        let wanted = |id: &String| provider.only.is_empty() || provider.only.contains(id);
        let listed = connection.plugin.manifest().models.iter();
        let mut models: Vec<ModelFacts> =
            listed.filter(|model| wanted(&model.id)).map(|model| self.listed(connection, model)).collect();
        let is_there =
            |models: &[ModelFacts], name: &String| models.iter().any(|model| model.names().any(|known| known == name));
        for entry in self.own.additions(&connection.name, connection.plugin.name()) {
            if wanted(&entry.id) && !is_there(&models, &entry.id) {
                models.push(self.unlisted(connection, &entry.id));
            }
        }
        for name in &provider.models {
            if name != "*" && !is_there(&models, name) {
                models.push(self.unlisted(connection, name));
            }
        }
        models
    }

    fn listed(&self, connection: &Connection, model: &manifest::Model) -> ModelFacts {
        let facts = ModelFacts {
            id: model.id.as_str().into(),
            aliases: model.aliases.clone(),
            synonyms: model.synonyms.clone(),
            operations: model.operations.clone(),
            context: model.context,
            max_output: model.max_output,
            capabilities: model.capabilities.clone(),
            quality: model.quality.as_ref().map(|quality| quality.score),
            prices: PriceList::default(),
            known: true,
        };
        self.completed(connection, facts, prices_of(model))
    }

    fn unlisted(&self, connection: &Connection, name: &str) -> ModelFacts {
        let facts = ModelFacts {
            id: name.into(),
            aliases: Vec::new(),
            synonyms: Vec::new(),
            operations: vec!["chat".to_owned()],
            context: 0,
            max_output: 0,
            capabilities: Vec::new(),
            quality: None,
            prices: PriceList::default(),
            known: false,
        };
        self.completed(connection, facts, Vec::new())
    }

    /// Puts what the operator says before what the plugin says.
    fn completed(&self, connection: &Connection, mut facts: ModelFacts, prices: Vec<Price>) -> ModelFacts {
        let names: Vec<&str> = facts.names().collect();
        let said = self.own.about(&connection.name, connection.plugin.name(), &names);
        facts.prices = self.prices(connection, &facts.id, prices, &said);
        facts.known |= said.iter().any(|entry| entry.capabilities.is_some());
        macro_rules! first {
            ($member:ident) => {
                if let Some(said) = said.iter().find_map(|entry| entry.$member.clone()) {
                    facts.$member = said;
                }
            };
        }
        first!(operations);
        first!(context);
        first!(max_output);
        first!(capabilities);
        facts.quality = said.iter().find_map(|entry| Some(entry.quality.as_ref()?.score)).or(facts.quality);
        first!(aliases);
        first!(synonyms);
        facts
    }

    /// The operator's own price where there is one, else that of the operator's catalogue, else the plugin's.
    fn prices(&self, connection: &Connection, model: &str, own: Vec<Price>, said: &[&CatalogueEntry]) -> PriceList {
        let exact = format!("{}/{model}", connection.name);
        let any = format!("{}/*", connection.name);
        let named = |wanted: &str| self.overrides.iter().find(|(name, _)| name == wanted);
        match named(&exact).or_else(|| named(&any)) {
            Some((_, price)) => PriceList::new(vec![price.clone()]),
            None => {
                let priced = said.iter().find(|entry| !entry.prices.is_empty());
                overlaid(own, priced.map_or(&[], |entry| &entry.prices))
            }
        }
    }
}

fn has_role(plugin: &Plugin) -> bool {
    plugin.roles().contains(&Role::Provider)
}

fn connect(
    name: &str,
    provider: &ProviderConfig,
    plugin: &Arc<Plugin>,
    health: Arc<Health>,
    credential: Credential,
) -> Result<Connection, String> {
    let address =
        Address::parse(&provider.base_url).ok_or_else(|| format!("providers.{name}.base_url is not a URL"))?;
    let endpoints = plugin.manifest().endpoints.iter();
    let endpoints = endpoints.map(|endpoint| Endpoint::compile(endpoint).map(Arc::new)).collect::<Result<_, _>>()?;
    Ok(Connection {
        name: name.into(),
        id: None,
        organisation: None,
        weight: 1,
        plugin: Arc::clone(plugin),
        address: Arc::new(address),
        credential,
        region: provider.region.clone(),
        stream_usage: provider.stream_usage,
        settle: provider.settle,
        shared_objects: provider.shared_objects,
        endpoints,
        health,
        offers_any: provider.models.iter().any(|model| model == "*"),
    })
}

/// A plugin's own prices of a model.
pub fn prices_of(model: &manifest::Model) -> Vec<Price> {
    model.prices.iter().filter_map(price).collect()
}

/// A catalogue's price; one with a malformed day is left out with a warning, which leaves the price unknown and never zero.
fn price(price: &manifest::Price) -> Option<Price> {
    let Ok(effective) = parse_day(&price.effective) else {
        tracing::warn!(day = %price.effective, "a catalogue's price has no valid day");
        return None;
    };
    let services = price.services.iter().map(|service| ServiceRates {
        service_tier: service.service_tier.clone(),
        rates: rates(&service.rates),
        tiers: tiers(&service.tiers),
        units: units(&service.units),
    });
    Some(Price {
        effective,
        source: price.source.clone(),
        rates: rates(&price.rates),
        tiers: tiers(&price.tiers),
        units: units(&price.units),
        services: services.collect(),
    })
}

fn tiers(tiers: &[manifest::Tier]) -> Vec<Tier> {
    tiers.iter().map(|tier| Tier { above: tier.above, rates: rates(&tier.rates) }).collect()
}

fn units(units: &[manifest::UnitRate]) -> Vec<UnitRate> {
    units.iter().map(|known| UnitRate { unit: known.unit.clone(), rate: known.rate }).collect()
}

fn rates(rates: &manifest::Rates) -> Rates {
    Rates {
        input: rates.input,
        output: rates.output,
        cache_read: rates.cache_read,
        cache_write_short: rates.cache_write_short,
        cache_write_long: rates.cache_write_long,
        reasoning: rates.reasoning,
        audio_input: rates.audio_input,
        audio_output: rates.audio_output,
        image: rates.image,
        search: rates.search,
    }
}

/// Connections' health outlives configurations: a reload forgets no open breaker.
#[derive(Default)]
pub struct HealthRegistry {
    by_name: std::sync::Mutex<BTreeMap<String, Arc<Health>>>,
}

impl HealthRegistry {
    pub fn of(&self, name: &str, make: impl FnOnce() -> Health) -> Arc<Health> {
        let mut all = self.by_name.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Arc::clone(all.entry(name.to_owned()).or_insert_with(|| Arc::new(make())))
    }
}
