//! The routes of all dialects, as one table.

use std::borrow::Cow;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use portcullis_core::Name;
use portcullis_runtime::contract::manifest;
use portcullis_runtime::{Plugin, Role};
use portcullis_wire::framing::Framing;
use portcullis_wire::json::{Condition, Pattern, PatternSet, Pointer};
use portcullis_wire::texts::TextMap;

use crate::attribution::Places;
use crate::continuation::Continuation;
use crate::conversation::ConversationMap;
use crate::endpoint::open_header;
use crate::text_map;

/// Paths that no plugin may claim.
const RESERVED: &[&str] = &["healthz", "readyz", "metrics", "admin"];
/// What a route can do in this version of the contract.
const OPERATIONS: &[&str] = &[
    "chat",
    "models",
    "embeddings",
    "completions",
    "rerank",
    "moderations",
    "images",
    "audio",
    "files",
    "batches",
    "count-tokens",
];
const RESERVED_PATHS: &[&str] = &["/v1/receipts"];

/// Where a fact about a request stands.
#[derive(Debug, Clone)]
pub enum Place {
    Absent,
    Body(Pointer),
    Path(String),
    /// A field of a multipart form.
    Form(String),
    Always,
}

/// A dialect's route, checked and compiled once. See `route` in `wit/describe.wit`.
pub struct Route {
    pub plugin: Arc<Plugin>,
    pub name: String,
    pub operation: Name,
    pub method: Method,
    /// As the dialect declares it.
    pub path: String,
    template: Vec<Segment>,
    /// The whole path where it has no parameter.
    literal: Option<String>,
    when_header: Option<WhenHeader>,
    /// A query pair that a request must have for the route to be taken.
    when_query: Option<QueryPair>,
    pub format: Name,
    pub model: Place,
    pub auto_when: Vec<Condition>,
    pub stream: Place,
    pub output_limit: Vec<Pointer>,
    pub choices: Vec<Pointer>,
    pub reencode_when: Vec<Condition>,
    pub tool_names: PatternSet,
    /// The members of the top level that tools stand in.
    pub tool_members: Vec<String>,
    pub prompts: Vec<Pattern>,
    pub conversation: ConversationMap,
    pub request_texts: Arc<TextMap>,
    pub answer_texts: Arc<TextMap>,
    pub stream_texts: Arc<TextMap>,
    pub framing: Framing,
    pub continuation: Option<Continuation>,
    /// Headers that decoding is shown.
    pub headers: Vec<HeaderName>,
    /// Where requests say whom they are for.
    pub(crate) attribution: Places,
}

/// One segment of a path template: literal text around at most one parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Literal(String),
    Parameter {
        before: String,
        name: String,
        after: String,
    },
    /// `{+name}`: a parameter that may hold slashes (`provider/model`), and so as many segments as are left for it.
    Spanning {
        before: String,
        name: String,
        after: String,
    },
}

/// A route with the values of its path parameters, still percent-encoded ones decoded.
pub struct Matched {
    pub route: Arc<Route>,
    pub parameters: Vec<(String, String)>,
}

/// Why no route matched.
pub enum NoRoute {
    Unknown,
    /// The path is this route's, the method is not.
    OtherMethod(Arc<Route>),
}

#[derive(Default)]
pub struct RouteTable {
    routes: Vec<Arc<Route>>,
}

impl RouteTable {
    /// # Errors
    /// A sentence for the operator when a route is malformed, reserved, or claimed twice.
    pub fn build(plugins: &[Arc<Plugin>]) -> Result<Self, String> {
        let mut table = RouteTable::default();
        for plugin in plugins.iter().filter(|plugin| plugin.roles().contains(&Role::Dialect)) {
            for route in &plugin.manifest().routes {
                let route = Route::compile(plugin, route).map_err(|why| format!("{}: {why}", plugin.name()))?;
                if let Some(other) = table.routes.iter().find(|other| other.conflicts(&route)) {
                    return Err(format!(
                        "{}: route `{}` is already taken by `{}` of {}",
                        plugin.name(),
                        route.name,
                        other.name,
                        other.plugin.name()
                    ));
                }
                table.routes.push(Arc::new(route));
            }
        }
        // A route that asks for a header is the more particular one, and one that asks for its value more so; then one that asks for
        // a query pair.
        table.routes.sort_by_key(|route| {
            let header = match &route.when_header {
                Some(WhenHeader { value: Some(_), .. }) => 0,
                Some(WhenHeader { value: None, .. }) => 1,
                None => 2,
            };
            (header, route.when_query.is_none())
        });
        Ok(table)
    }

    /// The route for a request.
    pub fn find(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<Matched, NoRoute> {
        let mut other_method = None;
        for route in &self.routes {
            // The path first: it tells most routes apart, at 2 ns for one without parameters; a header costs 25.
            let Some(parameters) = route.parameters_of(uri.path()) else { continue };
            if route.when_header.as_ref().is_some_and(|header| !header.holds(headers)) || !route.asks(uri.query()) {
                continue;
            }
            if route.method == *method {
                return Ok(Matched { route: Arc::clone(route), parameters });
            }
            other_method.get_or_insert(route);
        }
        Err(other_method.map_or(NoRoute::Unknown, |route| NoRoute::OtherMethod(Arc::clone(route))))
    }

    /// Whether any dialect takes chat requests.
    pub fn has_chat(&self) -> bool {
        self.routes.iter().any(|route| &*route.operation == "chat")
    }

    /// The route whose answers are kept, for a path below its own, and the name of the answer that is meant.
    pub fn kept(&self, path: &str, headers: &HeaderMap) -> Option<(&Arc<Route>, String)> {
        let (above, name) = path.rsplit_once('/')?;
        let mut keeping = self.routes.iter().filter(|route| {
            route.continuation.is_some() && route.when_header.as_ref().is_none_or(|header| header.holds(headers))
        });
        let route = keeping.find(|route| route.parameters_of(above).is_some())?;
        Some((route, decode_segment(name)?))
    }

    /// The dialect whose shape an error has where no route matched: one that is known by a header which is there. Else none,
    /// and the error has the shape that most clients know.
    pub fn dialect_for(&self, headers: &HeaderMap) -> Option<&Arc<Plugin>> {
        let mut by_header = self.routes.iter().filter_map(|route| Some((route.when_header.as_ref()?, route)));
        by_header.find(|(header, _)| header.holds(headers)).map(|(_, route)| &route.plugin)
    }
}

impl Route {
    /// Whether a request can be decoded, and so reach a provider of another format.
    pub fn translates(&self) -> bool {
        &*self.operation == "chat"
    }

    /// Whether it costs nothing anywhere: it makes or reads what others will be charged for, or only counts.
    pub fn is_free(&self) -> bool {
        match &*self.operation {
            "files" | "count-tokens" => true,
            // Looking after one that was made, which alone is charged.
            "batches" => {
                self.method != Method::POST
                    || self.template.iter().any(|segment| !matches!(segment, Segment::Literal(_)))
            }
            _ => false,
        }
    }

    fn compile(plugin: &Arc<Plugin>, route: &manifest::Route) -> Result<Self, String> {
        let problem = |what: &str, why: &dyn std::fmt::Display| format!("route `{}`: {what}: {why}", route.name);
        let pointer = |text: &String| Pointer::parse(text).map_err(|error| problem(text, &error));
        let patterns = |list: &[String]| -> Result<Vec<Pattern>, String> {
            list.iter().map(|text| Pattern::parse(text).map_err(|error| problem(text, &error))).collect()
        };
        let condition = |condition: &portcullis_runtime::contract::types::Condition| {
            text_map::condition(condition).map_err(|error| problem("condition", &error))
        };
        let place = |location: &manifest::Location| {
            Ok::<_, String>(match location {
                manifest::Location::Absent => Place::Absent,
                manifest::Location::Body(at) if at.split('/').any(|segment| segment == "*") => {
                    return Err(problem(at, &"a route names one place"));
                }
                manifest::Location::Body(at) => Place::Body(pointer(at)?),
                manifest::Location::Path(name) => Place::Path(name.clone()),
                manifest::Location::Form(name) => Place::Form(name.clone()),
                manifest::Location::Always => Place::Always,
            })
        };
        let texts =
            |map: &manifest::TextMap| text_map::compile(map).map(Arc::new).map_err(|why| problem("texts", &why));
        let tool_names = patterns(&route.features.tool_names)?;
        let (path, when_query) = query_of(&route.path).map_err(|why| problem(&route.path, &why))?;
        let template = template(path).map_err(|why| problem(path, &why))?;
        if !OPERATIONS.contains(&route.operation.as_str()) {
            return Err(problem(
                "operation",
                &format!("`{}` is not one of {}", route.operation, OPERATIONS.join(", ")),
            ));
        }
        Ok(Route {
            plugin: Arc::clone(plugin),
            name: route.name.clone(),
            operation: route.operation.as_str().into(),
            path: route.path.clone(),
            method: route.method.parse().map_err(|error| problem("method", &error))?,
            literal: literal(&template),
            template,
            when_header: route
                .when_header
                .as_ref()
                .map(|text| WhenHeader::parse(text).map_err(|error| problem(text, &error)))
                .transpose()?,
            when_query,
            format: route.format.as_str().into(),
            model: place(&route.model)?,
            auto_when: route.auto_when.iter().map(condition).collect::<Result<_, _>>()?,
            stream: place(&route.stream)?,
            output_limit: route.output_limit.iter().map(pointer).collect::<Result<_, _>>()?,
            choices: route.choices.iter().map(pointer).collect::<Result<_, _>>()?,
            reencode_when: route.reencode_when.iter().map(condition).collect::<Result<_, _>>()?,
            tool_members: tool_names.iter().filter_map(|pattern| pattern.head().map(str::to_owned)).collect(),
            tool_names: PatternSet::new(&tool_names),
            conversation: ConversationMap::compile(&route.features).map_err(|why| problem("features", &why))?,
            prompts: patterns(&route.features.prompts)?,
            request_texts: texts(&route.request_texts)?,
            answer_texts: texts(&route.answer_texts)?,
            stream_texts: texts(&route.stream_texts)?,
            framing: text_map::framing(route.stream_framing),
            continuation: route
                .continuation
                .as_ref()
                .map(|continuation| Continuation::compile(continuation).map_err(|why| problem("continuation", &why)))
                .transpose()?,
            headers: route
                .headers
                .iter()
                .map(|name| open_header(name).map_err(|why| problem("header", &why)))
                .collect::<Result<_, _>>()?,
            attribution: Places::of(&route.extra).map_err(|why| problem("extra", &why))?,
        })
    }

    fn conflicts(&self, other: &Route) -> bool {
        self.method == other.method
            && self.when_header == other.when_header
            && self.when_query == other.when_query
            && overlap(&self.template, &other.template)
    }

    /// Whether a request's query has the pair that this route asks for.
    fn asks(&self, query: Option<&str>) -> bool {
        let Some((name, value)) = &self.when_query else { return true };
        let mut pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        pairs.any(|(given, says)| given == name.as_str() && says == value.as_str())
    }

    fn parameters_of(&self, path: &str) -> Option<Vec<(String, String)>> {
        if let Some(literal) = &self.literal {
            return (literal == path).then(Vec::new);
        }
        let mut parameters = Vec::new();
        let path = path.strip_prefix('/')?;
        let mut segments = path.split('/');
        for expected in &self.template {
            let segment = match expected {
                Segment::Spanning { .. } => {
                    let more = (path.split('/').count() + 1).checked_sub(self.template.len())?;
                    segments.by_ref().take(more).collect::<Vec<_>>().join("/").into()
                }
                _ => Cow::Borrowed(segments.next()?),
            };
            match expected {
                Segment::Spanning { before, name, after } => {
                    let value = segment.strip_prefix(before.as_str())?.strip_suffix(after.as_str())?;
                    let parts: Option<Vec<_>> = value.split('/').map(decode_segment).collect();
                    parameters.push((name.clone(), parts?.join("/")));
                }
                Segment::Literal(text) if *text == *segment => {}
                Segment::Literal(_) => return None,
                Segment::Parameter { before, name, after } => {
                    let value = segment.strip_prefix(before.as_str())?.strip_suffix(after.as_str())?;
                    parameters.push((name.clone(), decode_segment(value)?));
                }
            }
        }
        segments.next().is_none().then_some(parameters)
    }
}

/// A name and a value, both plain.
type QueryPair = (String, String);

/// A path without the query pair that it may end with, and the pair.
fn query_of(path: &str) -> Result<(&str, Option<QueryPair>), &'static str> {
    let Some((path, pair)) = path.split_once('?') else { return Ok((path, None)) };
    match pair.split_once('=') {
        Some((name, value)) if !name.is_empty() && !pair.contains(['&', '%', '+']) => {
            Ok((path, Some((name.to_owned(), value.to_owned()))))
        }
        _ => Err("a path's query is one plain pair"),
    }
}

fn literal(template: &[Segment]) -> Option<String> {
    template.iter().try_fold(String::new(), |path, segment| match segment {
        Segment::Literal(text) => Some(path + "/" + text),
        Segment::Parameter { .. } | Segment::Spanning { .. } => None,
    })
}

/// A header that a request must have for a route to be taken.
#[derive(Debug, PartialEq, Eq)]
struct WhenHeader {
    name: HeaderName,
    /// In lower case.
    value: Option<String>,
}

impl WhenHeader {
    /// `name`, or `name: value`.
    fn parse(text: &str) -> Result<Self, http::Error> {
        let (name, value) = text.split_once(':').map_or((text, None), |(name, value)| (name, Some(value.trim())));
        let value = value.map(|value| HeaderValue::from_str(value).map(|_| value.to_ascii_lowercase())).transpose()?;
        Ok(WhenHeader { name: name.parse()?, value })
    }

    fn holds(&self, headers: &HeaderMap) -> bool {
        match &self.value {
            None => headers.contains_key(&self.name),
            Some(value) => {
                headers.get_all(&self.name).iter().any(|given| given.as_bytes().eq_ignore_ascii_case(value.as_bytes()))
            }
        }
    }
}

/// Whether one path fits both. Where a parameter spans segments, all that could be under it counts as fitting.
fn overlap(one: &[Segment], two: &[Segment]) -> bool {
    let spans = |template: &[Segment]| template.iter().position(|segment| matches!(segment, Segment::Spanning { .. }));
    let end = match (spans(one), spans(two)) {
        (None, None) => return one.len() == two.len() && one.iter().zip(two).all(|(one, two)| one.overlaps(two)),
        (Some(_), None) if two.len() < one.len() => return false,
        (None, Some(_)) if one.len() < two.len() => return false,
        (one, two) => one.into_iter().chain(two).min().unwrap_or(0),
    };
    let (Some(last_of_one), Some(last_of_two)) = (one.last(), two.last()) else { return false };
    one.iter().zip(two).take(end).all(|(one, two)| one.overlaps(two)) && last_of_one.ends_alike(last_of_two)
}

impl Segment {
    /// Whether one text can end as both do.
    fn ends_alike(&self, other: &Segment) -> bool {
        let end = |segment: &'_ Segment| match segment {
            Segment::Literal(text) => text.clone(),
            Segment::Parameter { after, .. } | Segment::Spanning { after, .. } => after.clone(),
        };
        let (one, two) = (end(self), end(other));
        one.ends_with(&two) || two.ends_with(&one)
    }

    fn overlaps(&self, other: &Segment) -> bool {
        match (self, other) {
            (Segment::Literal(one), Segment::Literal(two)) => one == two,
            (
                Segment::Parameter { before, after, .. } | Segment::Spanning { before, after, .. },
                Segment::Literal(text),
            )
            | (
                Segment::Literal(text),
                Segment::Parameter { before, after, .. } | Segment::Spanning { before, after, .. },
            ) => text.len() > before.len() + after.len() && text.starts_with(before) && text.ends_with(after),
            (
                Segment::Parameter { before: one, after: one_after, .. }
                | Segment::Spanning { before: one, after: one_after, .. },
                Segment::Parameter { before: two, after: two_after, .. }
                | Segment::Spanning { before: two, after: two_after, .. },
            ) => {
                (one.starts_with(two.as_str()) || two.starts_with(one.as_str()))
                    && (one_after.ends_with(two_after.as_str()) || two_after.ends_with(one_after.as_str()))
            }
        }
    }
}

fn template(path: &str) -> Result<Vec<Segment>, &'static str> {
    let Some(rest) = path.strip_prefix('/') else { return Err("a path begins with `/`") };
    if RESERVED.iter().any(|reserved| rest.split('/').next() == Some(reserved))
        || RESERVED_PATHS.iter().any(|reserved| path.starts_with(reserved))
    {
        return Err("the path is reserved for the gateway");
    }
    let segments: Result<Vec<Segment>, &'static str> = rest
        .split('/')
        .map(|segment| match segment.split_once('{') {
            None if segment.contains('}') => Err("an unmatched `}`"),
            None => Ok(Segment::Literal(segment.to_owned())),
            Some((before, rest)) => {
                let (name, after) = rest.split_once('}').ok_or("an unmatched `{`")?;
                if name.is_empty() || after.contains(['{', '}']) {
                    return Err("a segment holds one named parameter at most");
                }
                let (before, after) = (before.to_owned(), after.to_owned());
                Ok(match name.strip_prefix('+') {
                    Some("") => return Err("a parameter has a name"),
                    Some(name) => Segment::Spanning { before, name: name.to_owned(), after },
                    None => Segment::Parameter { before, name: name.to_owned(), after },
                })
            }
        })
        .collect();
    let segments = segments?;
    if segments.iter().filter(|segment| matches!(segment, Segment::Spanning { .. })).count() > 1 {
        return Err("a path holds one parameter that spans segments at most");
    }
    Ok(segments)
}

/// Percent-decodes a segment; `None` where it is empty or not UTF-8.
fn decode_segment(segment: &str) -> Option<String> {
    if segment.is_empty() {
        return None;
    }
    if !segment.contains('%') {
        return Some(segment.to_owned());
    }
    let bytes = segment.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'%' {
            let digits = segment.get(at + 1..at + 3)?;
            decoded.push(u8::from_str_radix(digits, 16).ok()?);
            at += 3;
        } else {
            decoded.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_have_one_parameter_a_segment() {
        let segments = template("/v1beta/models/{model}:generateContent").unwrap();
        assert_eq!(segments.len(), 3);
        for bad in ["v1", "/a/{x", "/a/x}", "/a/{}", "/a/{x}{y}", "/healthz", "/admin/v1", "/v1/receipts/{id}"] {
            assert!(template(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_path_may_ask_for_a_query_pair() {
        let pair = Some(("alt".to_owned(), "sse".to_owned()));
        assert_eq!(query_of("/a/{x}:y?alt=sse"), Ok(("/a/{x}:y", pair)));
        assert_eq!(query_of("/a"), Ok(("/a", None)));
        for bad in ["/a?", "/a?alt", "/a?=sse", "/a?b=c&d=e", "/a?b=%20"] {
            assert!(query_of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn overlapping_segments_conflict() {
        let of = |text: &str| template(text).unwrap().remove(0);
        assert!(of("/{a}").overlaps(&of("/x")));
        assert!(of("/{a}:one").overlaps(&of("/{b}:one")));
        assert!(!of("/{a}:one").overlaps(&of("/{b}:two")));
        assert!(!of("/{a}:one").overlaps(&of("/x:two")));
    }

    #[test]
    fn a_header_is_asked_for_by_name_or_by_value() {
        let headers = |pairs: &[(&'static str, &'static str)]| -> HeaderMap {
            pairs
                .iter()
                .map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
                .collect()
        };
        let (named, valued) = (WhenHeader::parse("x-a").unwrap(), WhenHeader::parse("X-A: Flat").unwrap());
        for (given, by_name, by_value) in [
            (headers(&[]), false, false),
            (headers(&[("x-b", "flat")]), false, false),
            (headers(&[("x-a", "other")]), true, false),
            (headers(&[("x-a", "flatter")]), true, false),
            (headers(&[("x-a", "FLAT")]), true, true),
        ] {
            assert_eq!((named.holds(&given), valued.holds(&given)), (by_name, by_value), "{given:?}");
        }
        for bad in ["", "a b", ": flat", "x-a: a\u{7f}b"] {
            assert!(WhenHeader::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_spanning_parameter_takes_what_is_left() {
        let route = |path: &str| template(path).unwrap();
        let generate = route("/v1beta/models/{+model}:generateContent");
        assert!(template("/a/{+x}/{+y}").is_err() && template("/a/{+}").is_err());
        assert!(overlap(&generate, &route("/v1beta/models/a/b/{x}:generateContent")));
        assert!(overlap(&generate, &route("/v1beta/models/{model}:generateContent")));
        assert!(!overlap(&generate, &route("/v1beta/models/{model}:countTokens")));
        assert!(!overlap(&generate, &route("/v1beta/models")));
        assert!(!overlap(&generate, &route("/v1/models/{+model}:generateContent")));
    }

    #[test]
    fn segments_are_decoded_once() {
        assert_eq!(decode_segment("a%2Fb").as_deref(), Some("a/b"));
        assert_eq!(decode_segment("a%252F").as_deref(), Some("a%2F"));
        assert_eq!(decode_segment("%f"), None);
        assert_eq!(decode_segment("%ff"), None);
    }
}
