//! Which trace a request belongs to: W3C Trace Context, <https://www.w3.org/TR/trace-context/>.

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::{SpanId, TraceId};
use rand::RngExt;

use crate::config::TelemetryConfig;

pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// Longest `tracestate` that goes on: what the specification asks to be propagated at least.
const STATE_BYTES: usize = 512;

/// A request's place in a trace.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    pub(super) trace: TraceId,
    /// The client's span.
    pub(super) parent: Option<SpanId>,
    /// The request's own span; those of its attempts are counted on from it.
    span: u64,
    /// Whether spans are made.
    sampled: bool,
    /// Whether providers are told, and whether that they are to trace too.
    tell: Option<bool>,
    state: Option<HeaderValue>,
}

/// What a client says of its trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Parent {
    trace: TraceId,
    span: SpanId,
    sampled: bool,
}

impl Trace {
    /// `None` where nobody wants to know: there is no exporter, and no provider is told.
    pub fn begin(headers: &HeaderMap, config: &TelemetryConfig, exporting: bool) -> Option<Box<Self>> {
        if !exporting && !config.to_providers {
            return None;
        }
        let parent = headers.get(TRACEPARENT).filter(|_| config.from_clients).and_then(parse);
        if !exporting && parent.is_none() {
            return None;
        }
        let mut rng = rand::rng();
        let sampled = match parent {
            Some(parent) => parent.sampled,
            None => rng.random::<f64>() < config.sample,
        };
        let state = headers.get(TRACESTATE).filter(|state| parent.is_some() && state.len() <= STATE_BYTES).cloned();
        Some(Box::new(Trace {
            trace: parent.map_or_else(|| TraceId::from(rng.random_range(1..=u128::MAX)), |parent| parent.trace),
            parent: parent.map(|parent| parent.span),
            // Away from the end, for the attempts are counted on; and not 0, which is no span.
            span: rng.random_range(1..=u64::MAX >> 1),
            sampled: sampled && exporting,
            tell: config.to_providers.then_some(sampled),
            state,
        }))
    }

    pub fn is_sampled(&self) -> bool {
        self.sampled
    }

    pub(super) fn span(&self) -> SpanId {
        SpanId::from(self.span)
    }

    /// The span of an attempt; they count from 1.
    pub(super) fn attempt(&self, number: u32) -> SpanId {
        SpanId::from(self.span + u64::from(number))
    }

    /// Puts on a provider's request what it is told. Where no span of ours will be there, the client's own is named.
    pub fn put_on(&self, headers: &mut HeaderMap, number: u32) {
        let Some(sampled) = self.tell else { return };
        let span = match self.parent {
            Some(parent) if !self.sampled => parent,
            _ => self.attempt(number),
        };
        let text = format!("00-{}-{span}-{:02x}", self.trace, u8::from(sampled));
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(TRACEPARENT, value);
            headers.extend(self.state.clone().map(|state| (TRACESTATE, state)));
        }
    }
}

/// `version-trace-parent-flags`; of later versions what the first one has. Ids of zeroes and capitals are none.
fn parse(value: &HeaderValue) -> Option<Parent> {
    let text = value.to_str().ok()?;
    let mut parts = text.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |text: &str, length| {
        text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    let more = parts.next().is_some();
    if !hex(version, 2)
        || version == "ff"
        || (version == "00" && more)
        || !hex(trace, 32)
        || !hex(span, 16)
        || !hex(flags, 2)
    {
        return None;
    }
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    let flags = u8::from_str_radix(flags, 16).ok()?;
    (trace != TraceId::INVALID && span != SpanId::INVALID).then_some(Parent { trace, span, sampled: flags & 1 == 1 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(parent: &str) -> HeaderMap {
        [(TRACEPARENT, HeaderValue::from_str(parent).unwrap()), (TRACESTATE, HeaderValue::from_static("a=b"))]
            .into_iter()
            .collect()
    }

    fn config(to_providers: bool) -> TelemetryConfig {
        TelemetryConfig { to_providers, ..TelemetryConfig::default() }
    }

    fn told(trace: &Trace) -> Option<String> {
        let mut headers = HeaderMap::new();
        trace.put_on(&mut headers, 2);
        Some(headers.get(TRACEPARENT)?.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_client_s_trace_is_gone_on_from() {
        let trace = Trace::begin(&headers(PARENT), &config(true), true).unwrap();
        assert!(trace.is_sampled());
        assert_eq!(trace.parent.unwrap().to_string(), "00f067aa0ba902b7");
        let expected = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{}-01", trace.attempt(2));
        assert_eq!(told(&trace), Some(expected));
        assert_ne!(trace.attempt(1), trace.attempt(2));
    }

    #[test]
    fn what_the_client_does_not_want_traced_is_not() {
        let trace = Trace::begin(&headers(&PARENT.replace("-01", "-00")), &config(true), true).unwrap();
        assert!(!trace.is_sampled());
        assert_eq!(told(&trace).unwrap(), PARENT.replace("-01", "-00"));
    }

    #[test]
    fn without_an_exporter_the_client_s_own_is_passed_on_or_nothing() {
        let trace = Trace::begin(&headers(PARENT), &config(true), false).unwrap();
        assert!(!trace.is_sampled());
        assert_eq!(told(&trace).unwrap(), PARENT);
        assert_eq!(Trace::begin(&HeaderMap::new(), &config(true), false), None);
        assert_eq!(Trace::begin(&headers(PARENT), &config(false), false), None);
    }

    #[test]
    fn providers_are_told_nothing_unless_the_operator_says_so() {
        assert_eq!(told(&Trace::begin(&headers(PARENT), &config(false), true).unwrap()), None);
    }

    #[test]
    fn a_client_that_is_not_believed_begins_a_trace_of_its_own() {
        let config = TelemetryConfig { from_clients: false, sample: 0.0, ..TelemetryConfig::default() };
        let trace = Trace::begin(&headers(PARENT), &config, true).unwrap();
        assert_eq!((trace.parent, trace.is_sampled(), &trace.state), (None, false, &None));
        assert_ne!(trace.trace.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
    }

    #[test]
    fn other_shapes_are_no_parent() {
        let parsed = |text: &str| parse(&HeaderValue::from_str(text).unwrap()).is_some();
        assert!(
            parsed(PARENT)
                && parsed(&PARENT.replacen("00", "cc", 1))
                && parsed(&format!("{}-x", PARENT.replacen("00", "01", 1)))
        );
        for bad in [
            "",
            "00",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
        ] {
            assert!(!parsed(bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_without_a_panic(text in "[ -~]{0,80}") {
            let _ = parse(&HeaderValue::from_str(&text).unwrap());
        }
    }
}
