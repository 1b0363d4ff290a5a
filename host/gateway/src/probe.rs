//! Trying a connection: one short chat request with its credential, outside any client's, to see whether the provider takes it.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use http_body_util::Full;
use portcullis_core::{NanoUsd, OrganisationId};
use portcullis_runtime::contract::provider::{AnswerHead, Target};
use portcullis_runtime::contract::{chat, types};

use crate::Gateway;
use crate::catalog::{Catalog, Offer};
use crate::credential::Credential;
use crate::stored::StoredProvider;
use crate::upstream::{Health, HealthSettings, Patience, build_path};

/// Output tokens asked for: what a model that thinks before it answers can begin within.
const OUTPUT: u32 = 16;
/// Of a provider's refusal that is read.
const ERROR_BYTES: usize = 64 << 10;

/// How it went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// The model that was asked.
    pub model: String,
    /// The provider's answer's, where there was one.
    pub status: Option<u16>,
    pub milliseconds: u64,
    /// Why it does not work, as a kind and the provider's own words; `None` where it does.
    pub failure: Option<(String, String)>,
}

impl Gateway {
    /// Asks one model of a connection for a few tokens, which the account pays for: `model`, or the one with the cheapest input.
    ///
    /// # Errors
    /// A sentence where it cannot even be asked: no such plugin, no such model.
    pub async fn probe(&self, stored: StoredProvider, model: Option<&str>) -> Result<Probe, String> {
        let snapshot = self.snapshot();
        let mut config = (*snapshot.config).clone();
        config.providers.clear();
        stored.check(&config.connections)?;
        let plugin = &stored.config.plugin;
        if !snapshot.plugins.iter().any(|known| known.name() == plugin) {
            return Err(format!("no provider plugin `{plugin}` is loaded"));
        }
        let settings = HealthSettings { failures: u32::MAX, cooldown_ms: 0 };
        let health = |_: &str| Arc::new(Health::new(settings));
        let catalog = Catalog::build(&config, std::slice::from_ref(&stored), &snapshot.plugins, &health, None)?;
        let now = self.clock.now_ms();
        let offer = match model {
            Some(model) => {
                let organisation = stored.organisation.unwrap_or(OrganisationId::DEFAULT);
                catalog.resolve("chat", &format!("{}/{model}", stored.provider), organisation).into_iter().next()
            }
            None => cheapest(&catalog, now),
        };
        let offer = offer.ok_or("it offers no such model for chat: name one that it does")?;
        let context = types::Context {
            now,
            seed: 0,
            request_id: "probe".to_owned(),
            development: config.server.development,
            extra: Vec::new(),
        };
        let (endpoint, mut request) = build(&offer, &context)?;
        let begun = Instant::now();
        let told = |status, failure| Probe {
            model: offer.name.to_string(),
            status,
            milliseconds: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            failure,
        };
        let failed = |kind: &str, why: String| Some((kind.to_owned(), why));
        let address = &offer.connection.address;
        if let Credential::Fetched(authority) = &offer.connection.credential
            && let Err(error) = authority.authorise(&mut request, address, &self.pool, now).await
        {
            return Ok(told(None, failed("credential", error.to_string())));
        }
        let limits = &config.limits;
        let patience = Patience { connect: limits.connect_timeout(), first_byte: limits.upstream_idle() };
        let answer = match self.pool.send(address, request, patience).await {
            Ok(answer) => answer,
            Err(error) => return Ok(told(None, failed("unavailable", error.to_string()))),
        };
        let (head, body) = answer.into_parts();
        let status = head.status.as_u16();
        if head.status.is_success() {
            return Ok(told(Some(status), None));
        }
        let text = body.collect(ERROR_BYTES, limits.upstream_idle()).await.unwrap_or_default();
        let pairs = head.headers.iter().filter_map(|(name, value)| {
            Some(types::Pair { name: name.as_str().to_owned(), value: value.to_str().ok()?.to_owned() })
        });
        let head = AnswerHead { endpoint, status, headers: pairs.collect() };
        let mut session = offer.connection.plugin.session("", "", "probe");
        let decoded = session.decode_error(&context, &head, &String::from_utf8_lossy(&text));
        let failure = decoded.map_err(|error| error.to_string())?;
        Ok(told(Some(status), failed(&format!("{:?}", failure.kind), failure.message)))
    }
}

fn cheapest(catalog: &Catalog, now: u64) -> Option<Offer> {
    let price = |offer: &Offer| {
        let price = offer.model.prices.in_force(now).ok()?;
        price.worst_case(1_000, u64::from(OUTPUT)).ok().map(|cost| cost.total)
    };
    let chats = catalog.offers().iter().filter(|offer| offer.model.operations.iter().any(|known| known == "chat"));
    chats.min_by_key(|offer| price(offer).map_or((1, NanoUsd::ZERO), |price| (0, price))).cloned()
}

/// The request as the provider's plugin writes it, with the name of its endpoint.
fn build(offer: &Offer, context: &types::Context) -> Result<(String, Request<Full<Bytes>>), String> {
    let connection = &offer.connection;
    let target = Target {
        model: offer.name.to_string(),
        max_output_tokens: Some(OUTPUT),
        stream: false,
        capabilities: offer.model.capabilities.clone(),
        max_output: offer.model.max_output,
    };
    let mut session = connection.plugin.session("", "", &context.request_id);
    let encoded = session.encode_request(context, &target, &hello()).map_err(|error| error.to_string())?;
    let encoded = encoded.map_err(|failure| failure.message)?;
    let endpoint = connection.endpoints.iter().find(|known| known.name == encoded.endpoint);
    let endpoint = endpoint.ok_or("its plugin wrote for an endpoint that it does not declare")?;
    let mut path = build_path(
        &connection.address.base_path,
        &endpoint.path,
        |name| encoded.path.iter().find(|pair| pair.name == name).map(|pair| pair.value.as_str()),
        encoded.query.iter().map(|pair| (pair.name.as_str(), pair.value.as_str())),
        &endpoint.query,
    )
    .map_err(|error| error.to_string())?;
    let mut headers = HeaderMap::new();
    headers.insert(HOST, connection.address.authority.clone());
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("portcullis/", env!("CARGO_PKG_VERSION"))));
    headers.extend(endpoint.fixed_headers.iter().map(|(name, value)| (name.clone(), value.clone())));
    for pair in &encoded.headers {
        let name: Option<HeaderName> = pair.name.parse().ok().filter(|name| endpoint.may_set(name));
        let (Some(name), Ok(value)) = (name, HeaderValue::from_str(&pair.value)) else {
            return Err("its plugin set a header that it does not declare".to_owned());
        };
        headers.append(name, value);
    }
    match &connection.credential {
        Credential::Header(name, value) => {
            headers.insert(name, value.clone());
        }
        Credential::Query(pair) => {
            path.push(if path.contains('?') { '&' } else { '?' });
            path.push_str(pair);
        }
        Credential::Fetched(_) | Credential::None => {}
    }
    let mut request = Request::new(Full::new(Bytes::from(encoded.body)));
    *request.method_mut() = endpoint.method.clone();
    *request.uri_mut() = path.parse().map_err(|_| "its path is not a URI")?;
    *request.headers_mut() = headers;
    Ok((endpoint.name.clone(), request))
}

fn hello() -> chat::Request {
    chat::Request {
        format: String::new(),
        model: String::new(),
        messages: vec![chat::Message {
            role: chat::Role::User,
            parts: vec![chat::Part {
                content: chat::Content::Text("Hello".to_owned()),
                cache: None,
                carry: Vec::new(),
                extra: Vec::new(),
            }],
            name: None,
            extra: Vec::new(),
        }],
        tools: Vec::new(),
        tool_choice: None,
        parallel_tool_calls: None,
        response_format: None,
        sampling: chat::Sampling {
            temperature: None,
            top_p: None,
            top_k: None,
            frequency_penalty: None,
            presence_penalty: None,
            seed: None,
        },
        reasoning: None,
        stop: Vec::new(),
        max_output_tokens: Some(OUTPUT),
        choices: None,
        logprobs: None,
        stream: false,
        stream_usage: false,
        user: None,
        metadata: Vec::new(),
        extra: Vec::new(),
        echo: Vec::new(),
    }
}
