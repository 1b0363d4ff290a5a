//! Traces by OpenTelemetry's conventions for generative AI, made of a request's receipt once it is over.
//!
//! Keeps: nothing of what was said is in a span, since a receipt holds codes, names and numbers (invariant 10). And: without an
//! endpoint a request pays one look at an option.

mod export;
mod spans;
mod trace;

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SpanProcessor};
use portcullis_core::Receipt;

use crate::config::TelemetryConfig;

pub(crate) use spans::Target;
pub(crate) use trace::Trace;

/// How long spans wait for company.
const DELAY: Duration = Duration::from_secs(2);
/// Spans that wait at most; more are dropped.
const QUEUE: usize = 8192;
const BATCH: usize = 512;
/// How long an export may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long the last one may take when the gateway stops.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Where finished requests leave their spans.
#[derive(Debug)]
pub(crate) struct Telemetry {
    processor: BatchSpanProcessor,
}

impl Telemetry {
    /// `None` where the operator wants no traces. To be called within the async runtime, over which spans are sent.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub fn start(config: &TelemetryConfig) -> Result<Option<Arc<Self>>, String> {
        let Some(endpoint) = &config.endpoint else { return Ok(None) };
        let base = endpoint.trim_end_matches('/');
        let url = if base.ends_with("/v1/traces") { base.to_owned() } else { format!("{base}/v1/traces") };
        let headers = config.headers.iter().map(|(name, value)| (name.clone(), value.expose().to_owned()));
        let client = export::Client::here().ok_or("traces are sent over the async runtime, and there is none")?;
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(url)
            .with_timeout(TIMEOUT)
            .with_headers(headers.collect())
            .with_http_client(client)
            .build()
            .map_err(|error| format!("telemetry: {error}"))?;
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE)
            .with_max_export_batch_size(BATCH)
            .with_scheduled_delay(DELAY)
            .build();
        let mut processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
        let resource = Resource::builder_empty()
            .with_service_name(config.service.clone())
            .with_attributes([KeyValue::new("service.version", env!("CARGO_PKG_VERSION"))])
            .build();
        processor.set_resource(&resource);
        Ok(Some(Arc::new(Telemetry { processor })))
    }

    /// Leaves the spans of a request that is over.
    pub fn finish(
        &self,
        trace: &Trace,
        method: &str,
        path: &str,
        receipt: &Receipt,
        target: impl Fn(&str) -> Option<Target>,
    ) {
        if trace.is_sampled() {
            for span in spans::of(trace, method, path, receipt, target) {
                self.processor.on_end(span);
            }
        }
    }

    /// Sends what waits.
    pub async fn stop(self: Arc<Self>) {
        let stopped = tokio::task::spawn_blocking(move || self.processor.shutdown_with_timeout(LAST_WORDS)).await;
        if let Ok(Err(error)) = stopped {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use http::{HeaderMap, HeaderValue, Response};
    use http_body_util::{BodyExt, Full};
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::common::v1::{KeyValue as Pair, any_value::Value};
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span, span::SpanKind, status::StatusCode};
    use prost::Message;
    use tokio::net::TcpListener;

    use super::trace::TRACEPARENT;
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    type Received = Arc<Mutex<Vec<(String, HeaderMap, ExportTraceServiceRequest)>>>;

    /// A receiver of OTLP over HTTP, as a collector is one.
    async fn receiver() -> (String, Received) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let received = Received::default();
        let kept = Arc::clone(&received);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let kept = Arc::clone(&kept);
                let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                    let kept = Arc::clone(&kept);
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await?.to_bytes();
                        let spans = ExportTraceServiceRequest::decode(body).unwrap();
                        kept.lock().unwrap().push((head.uri.to_string(), head.headers, spans));
                        Ok::<_, hyper::Error>(Response::new(Full::<bytes::Bytes>::default()))
                    }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        (url, received)
    }

    fn receipt() -> Receipt {
        serde_json::from_str(
            r#"{"request_id":"req_019e7000000070008000000000000001","time_ms":1780000000000,
            "caller":{"key_id":"key_019e7000000070008000000000000002","organisation":"org_019e7000000070008000000000000003",
                "environment":"production"},
            "operation":"chat","dialect":"openai","route":"chat-completions","requested_model":"auto","stream":true,"passthrough":true,
            "plugins":[{"name":"pii","version":"1.0.0","hash":"ab","role":"guard","verdict":"pass","micros":3,"calls":1}],
            "attempts":[
                {"number":1,"provider":"one","model":"m","status":503,"failure":"overloaded","started_ms":2,"duration_us":5000},
                {"number":2,"provider":"two","model":"n","answered_model":"n-2026","upstream_id":"chatcmpl-1","status":200,
                    "started_ms":10,"duration_us":90000,"ended":"settled"}],
            "usage":{"input":100,"cache_read":20,"cache_write_short":3,"output":30,"reasoning":5},
            "timings":{"total_us":110000,"overhead_us":60,"first_byte_us":40000},
            "outcome":{"status":200,"code":"ok","finish_reasons":["tool-calls"]}}"#,
        )
        .unwrap()
    }

    fn target(name: &str) -> Option<Target> {
        (name == "two").then(|| Target { plugin: "bedrock".to_owned(), host: "bedrock.example".to_owned(), port: 443 })
    }

    fn shown(pairs: &[Pair]) -> BTreeMap<&str, String> {
        let value = |pair: &Pair| match pair.value.as_ref().and_then(|value| value.value.as_ref()) {
            Some(Value::StringValue(text)) => text.clone(),
            Some(Value::IntValue(number)) => number.to_string(),
            Some(Value::BoolValue(truth)) => truth.to_string(),
            Some(Value::DoubleValue(number)) => number.to_string(),
            other => format!("{other:?}"),
        };
        pairs.iter().map(|pair| (pair.key.as_str(), value(pair))).collect()
    }

    async fn sent(trace: &Trace, config: &TelemetryConfig, received: &Received) -> Vec<ResourceSpans> {
        let telemetry = Telemetry::start(config).unwrap().unwrap();
        telemetry.finish(trace, "POST", "/v1/chat/completions", &receipt(), target);
        telemetry.stop().await;
        let received = received.lock().unwrap();
        received.iter().flat_map(|(_, _, spans)| spans.resource_spans.clone()).collect()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_receiver_gets_a_request_and_its_attempts() {
        let (url, received) = receiver().await;
        let mut config = crate::config::Config::parse(
            &format!("[telemetry]\nendpoint = \"{url}\"\nservice = \"gate\"\nheaders = {{ x-token = \"t0k\" }}\n"),
            "test",
        )
        .unwrap()
        .telemetry;
        config.resolve(&crate::config::ProcessEnvironment).unwrap();
        let headers = HeaderMap::from_iter([(TRACEPARENT, HeaderValue::from_static(PARENT))]);
        let trace = Trace::begin(&headers, &config, true).unwrap();
        let resources = sent(&trace, &config, &received).await;
        {
            let received = received.lock().unwrap();
            let (path, headers, _) = &received[0];
            assert_eq!((path.as_str(), &headers["x-token"]), ("/v1/traces", &HeaderValue::from_static("t0k")));
            assert_eq!(headers["content-type"], "application/x-protobuf");
        }
        let resource = shown(&resources[0].resource.as_ref().unwrap().attributes);
        assert_eq!(resource["service.name"], "gate");
        let spans: Vec<&Span> =
            resources.iter().flat_map(|all| &all.scope_spans).flat_map(|scope| &scope.spans).collect();
        let [request, first, second] = spans[..] else { panic!("{spans:?}") };

        assert_eq!((request.name.as_str(), request.kind), ("POST /v1/chat/completions", SpanKind::Server as i32));
        assert_eq!(hex::encode(&request.trace_id), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(hex::encode(&request.parent_span_id), "00f067aa0ba902b7");
        assert_eq!(request.start_time_unix_nano, 1_780_000_000_000_000_000);
        assert_eq!(request.end_time_unix_nano - request.start_time_unix_nano, 110_000_000);
        let about = shown(&request.attributes);
        assert_eq!(about["http.response.status_code"], "200");
        assert_eq!(about["portcullis.request_id"], "req_019e7000000070008000000000000001");

        assert_eq!((first.name.as_str(), first.kind), ("chat m", SpanKind::Client as i32));
        assert_eq!((&first.parent_span_id, &second.parent_span_id), (&request.span_id, &request.span_id));
        assert_eq!(first.status.as_ref().unwrap().code, StatusCode::Error as i32);
        let about = shown(&first.attributes);
        assert_eq!((about["error.type"].as_str(), about.get("gen_ai.usage.input_tokens")), ("overloaded", None));

        let about = shown(&second.attributes);
        for (name, value) in [
            ("gen_ai.operation.name", "chat"),
            ("gen_ai.provider.name", "aws.bedrock"),
            ("gen_ai.request.model", "n"),
            ("gen_ai.request.stream", "true"),
            ("gen_ai.response.model", "n-2026"),
            ("gen_ai.response.id", "chatcmpl-1"),
            ("gen_ai.usage.input_tokens", "123"),
            ("gen_ai.usage.cache_read.input_tokens", "20"),
            ("gen_ai.usage.cache_creation.input_tokens", "3"),
            ("gen_ai.usage.output_tokens", "30"),
            ("gen_ai.usage.reasoning.output_tokens", "5"),
            ("gen_ai.response.time_to_first_chunk", "0.03"),
            ("server.address", "bedrock.example"),
            ("server.port", "443"),
        ] {
            assert_eq!(about.get(name).map(String::as_str), Some(value), "{name}");
        }
        assert!(about["gen_ai.response.finish_reasons"].contains("tool_calls"));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_not_sampled_is_not_sent() {
        let (url, received) = receiver().await;
        let config = TelemetryConfig { endpoint: Some(url), sample: 0.0, ..TelemetryConfig::default() };
        let trace = Trace::begin(&HeaderMap::new(), &config, true).unwrap();
        assert!(sent(&trace, &config, &received).await.is_empty());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_receiver_that_is_not_there_holds_nobody_up() {
        let config = TelemetryConfig { endpoint: Some("http://127.0.0.1:1".to_owned()), ..TelemetryConfig::default() };
        let trace = Trace::begin(&HeaderMap::new(), &config, true).unwrap();
        let begun = std::time::Instant::now();
        assert!(sent(&trace, &config, &Received::default()).await.is_empty());
        assert!(begun.elapsed() < LAST_WORDS + Duration::from_secs(2));
    }
}
