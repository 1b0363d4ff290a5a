//! One request and everything that is known of it, from its head to its receipt.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue, Response};
use portcullis_core::RequestId;
use portcullis_runtime::contract::{dialect, policy, types};
use portcullis_runtime::{Behalf, CallError, Plugin, Session};
use portcullis_store::ActiveKey;

use super::budget::Room;
use super::capture::Capture;
use super::continuation::{Asked, OpenTurn};
use super::facts::Facts;
use super::limits::Spent;
use super::record::Record;
use crate::Gateway;
use crate::answer::AnswerBody;
use crate::limits::Admission;
use crate::route::Route;
use crate::snapshot::Snapshot;
use crate::telemetry::Trace;

/// What is known of a request once its head was read and its key found.
pub(crate) struct Arrival {
    pub gateway: Arc<Gateway>,
    pub snapshot: Arc<Snapshot>,
    pub route: Arc<Route>,
    pub key: Arc<ActiveKey>,
    pub address: IpAddr,
    /// What the request holds of its limits, where any hold for it.
    pub admission: Option<Arc<Admission>>,
    pub request_id: RequestId,
    /// What `x-request-id` of the answer says: the client's own, or ours.
    pub correlation: HeaderValue,
    /// Milliseconds since the Unix epoch.
    pub now: u64,
    pub started: Instant,
    pub headers: HeaderMap,
    pub path: Vec<types::Pair>,
    pub query: Vec<types::Pair>,
}

pub(crate) struct Exchange {
    pub gateway: Arc<Gateway>,
    pub snapshot: Arc<Snapshot>,
    pub route: Arc<Route>,
    pub key: Arc<ActiveKey>,
    pub address: IpAddr,
    pub admission: Option<Arc<Admission>>,
    pub(super) spent: Spent,
    pub request_id: RequestId,
    pub correlation: HeaderValue,
    pub headers: HeaderMap,
    pub head: dialect::Head,
    pub context: types::Context,
    pub caller: Arc<types::Caller>,
    pub facts: Facts,
    pub constraints: policy::Constraints,
    /// The policies' output limit for the attempt at hand, tokens.
    pub attempt_output_limit: Option<u32>,
    pub record: Record,
    /// Where somebody wants to know.
    pub trace: Option<Box<Trace>>,
    /// What policies see, once one was asked.
    pub subject: Option<Arc<policy::Subject>>,
    /// What the dialect's answers repeat of the request.
    pub(super) echo: Vec<types::Field>,
    /// What was said so far, where the organisation wants it kept.
    pub(super) capture: Option<Box<Capture>>,
    /// What will be kept of it.
    pub(super) turn: Option<OpenTurn>,
    /// What the answer is to say of the conversation that it is in.
    pub(super) asked: Option<Asked>,
    /// Where the request names what the provider keeps for its whole account.
    pub(super) names_shared: Option<String>,
    /// What was got from the database for the attempt that is being prepared.
    pub(super) room: Option<Room>,
    pub started: Instant,
    /// Time spent waiting for providers, which is not the gateway's overhead.
    pub waited: Duration,
    behalf: Arc<Behalf>,
    sessions: Vec<Session>,
}

impl Exchange {
    pub fn new(arrival: Arrival, facts: Facts) -> Box<Self> {
        let Arrival {
            gateway,
            snapshot,
            route,
            key,
            address,
            admission,
            request_id,
            correlation,
            now,
            started,
            headers,
            path,
            query,
        } = arrival;
        let context = types::Context {
            now,
            seed: facts.seed,
            request_id: request_id.to_string(),
            development: snapshot.config.server.development,
            extra: Vec::new(),
        };
        let own = key.tags.iter().map(|tag| types::Pair { name: tag.name.clone(), value: tag.value.clone() }).collect();
        let (user, tags) = facts.attribution.clone().complete(&headers, own);
        let caller = Arc::new(types::Caller {
            key_id: key.id.to_string(),
            organisation: key.organisation.to_string(),
            team: key.team.as_ref().map(ToString::to_string),
            user,
            environment: key.environment.as_str().to_owned(),
            tags,
            region: None,
        });
        let behalf = Behalf::new(&caller.organisation, &caller.key_id, &context.request_id);
        let shown = route.headers.iter().flat_map(|name| headers.get_all(name).iter().map(move |value| (name, value)));
        let shown = shown.filter_map(|(name, value)| {
            Some(types::Pair { name: name.as_str().to_owned(), value: value.to_str().ok()?.to_owned() })
        });
        let head = dialect::Head { route: route.name.clone(), path, query, headers: shown.collect() };
        let constraints = policy::Constraints {
            models: None,
            providers: None,
            regions: None,
            tools: None,
            max_output_tokens: None,
            guards: Vec::new(),
            tags: Vec::new(),
            extra: Vec::new(),
        };
        gateway.metrics.begin(facts.stream);
        let trace = Trace::begin(&headers, &snapshot.config.telemetry, gateway.telemetry.is_some());
        let capture = Capture::of(key.capture_days);
        Box::new(Exchange {
            gateway,
            snapshot,
            route,
            key,
            address,
            admission,
            spent: Spent::default(),
            request_id,
            correlation,
            headers,
            head,
            context,
            caller,
            facts,
            constraints,
            attempt_output_limit: None,
            record: Record::default(),
            trace,
            subject: None,
            echo: Vec::new(),
            capture,
            turn: None,
            asked: None,
            names_shared: None,
            room: None,
            started,
            waited: Duration::ZERO,
            behalf,
            sessions: Vec::new(),
        })
    }

    /// Calls a plugin and enters it in the receipt. The instance stays with the request until
    /// [`release_plugins`](Self::release_plugins), so that a plugin with several calls in a row pays for one.
    pub fn call<T>(
        &mut self,
        plugin: &Arc<Plugin>,
        role: &'static str,
        call: impl FnOnce(&mut Session, &types::Context) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        let at = match self.sessions.iter().position(|session| Arc::ptr_eq(session.plugin(), plugin)) {
            Some(at) => at,
            None => {
                self.sessions.push(plugin.session_for(&self.behalf));
                self.sessions.len() - 1
            }
        };
        let session = &mut self.sessions[at];
        let before = session.spent();
        let result = call(session, &self.context);
        self.record.called(plugin, role, session.spent() - before, result.as_ref().err());
        result
    }

    /// Gives the plugins' instances back. To be called before every wait: no instance is pinned to a request that waits.
    pub fn release_plugins(&mut self) {
        self.sessions.clear();
    }

    /// Whether this request is within a stage's scope, or a policy demands the stage.
    pub fn in_scope(&self, stage: &crate::snapshot::Stage) -> bool {
        self.constraints.guards.iter().any(|name| *name == stage.plugin.name())
            || stage.scope.covers(
                &self.caller.organisation,
                self.caller.team.as_deref(),
                &self.caller.environment,
                &self.caller.key_id,
                &self.facts.model,
            )
    }

    /// Time spent in plugins.
    pub fn plugin_time(&self) -> Duration {
        self.record.plugin_time()
    }

    /// The gateway's own share of the time so far.
    pub fn overhead(&self) -> Duration {
        self.started.elapsed().saturating_sub(self.waited)
    }

    /// Puts the headers on an answer that every answer carries.
    pub fn dress(&self, response: &mut Response<AnswerBody>, target: Option<(&str, &str)>) {
        let headers = response.headers_mut();
        headers.insert("x-request-id", self.correlation.clone());
        let mut insert = |name: &'static str, text: &str| {
            if let Ok(value) = HeaderValue::from_str(text) {
                headers.insert(name, value);
            }
        };
        insert("x-portcullis-request-id", &self.context.request_id);
        if let Some((provider, model)) = target {
            insert("x-portcullis-provider", provider);
            insert("x-portcullis-model", model);
        }
        headers.insert("x-portcullis-overhead-us", HeaderValue::from(self.overhead().as_micros() as u64));
    }
}
