//! What the host reads in a request by itself: one scan of the body's top level, never a tree.

use std::borrow::Cow;
use std::ops::Range;

use bytestring::ByteString;
use portcullis_runtime::contract::types;
use portcullis_wire::json::{self, Pointer, TopLevel};
use sha2::{Digest, Sha256};

use super::payload::Payload;
use crate::attribution::Attribution;
use crate::route::{Place, Route};

/// Bytes of text that make about one token in English; the estimate errs to the high side for other scripts.
const BYTES_PER_TOKEN: u64 = 4;
/// What a client asks for that leaves the choice to the gateway.
const ANY_MODEL: &str = "auto";
/// A recording's or picture's bytes that cost no more than a byte of text: speech at 6 kbit/s, about the least there is, is 10
/// tokens a second, 75 bytes each.
const FILE_BYTES_PER_TEXT_BYTE: u64 = 64;

#[derive(Debug, Clone)]
pub(crate) struct Facts {
    /// As the client named it.
    pub model: String,
    /// Where the model stands in the body, quotes included; absent where the path names it.
    pub model_at: Option<Range<usize>>,
    pub stream: bool,
    pub max_output_tokens: Option<u32>,
    /// Answers asked for at most, each of which may be as long as the output limit.
    pub choices: u64,
    pub body_bytes: u64,
    /// Estimated from the body's length.
    pub input_tokens: u64,
    pub tool_names: Vec<String>,
    /// Capabilities that the request asks for outside its conversation, which is walked only where there is a choice.
    pub needs: Vec<String>,
    /// Whether the route's conditions demand decoding even where formats agree.
    pub reencode: bool,
    /// See `seed` of the contract's context.
    pub seed: u64,
    pub attribution: Attribution,
}

impl Facts {
    /// Reads the facts. What is wrong with the body is the client's fault.
    pub fn read(route: &Route, body: &ByteString, path: &[types::Pair], key_id: &str) -> Result<Self, types::Failure> {
        let top = TopLevel::scan(body)
            .map_err(|error| invalid(None, format!("the body is not JSON as it should be: {error}")))?;
        let in_body = |pointer: &Pointer| locate(&top, body, pointer);
        let parameter = |name: &str| path.iter().find(|pair| pair.name == name).map(|pair| pair.value.clone());
        let (model, model_at) = match &route.model {
            Place::Body(at) => model_in(route, &top, body, at)?,
            Place::Path(name) => (parameter(name).unwrap_or_default(), None),
            Place::Absent | Place::Always | Place::Form(_) => (String::new(), None),
        };
        let stream = match &route.stream {
            Place::Body(at) => match in_body(at).map(|range| &body[range]) {
                None | Some("null" | "false") => false,
                Some("true") => true,
                Some(_) => return Err(invalid(Some("stream"), "`stream` is neither true nor false".to_owned())),
            },
            Place::Always => true,
            Place::Absent | Place::Path(_) | Place::Form(_) => false,
        };
        let limit = route.output_limit.iter().find_map(in_body).map(|range| &body[range]);
        let needs =
            route.conversation.needs().iter().filter(|(_, when)| when.at.wildcards() == 0 && holds(&top, body, when));
        let needs = needs.map(|(capability, _)| capability.clone()).collect();
        let tools_offered = route.tool_members.iter().any(|key| top.get(key).is_some());
        let tool_names = if tools_offered {
            route
                .tool_names
                .select(body)
                .into_iter()
                .filter_map(|(_, range)| string_in(&body[range]).map(Cow::into_owned))
                .collect()
        } else {
            Vec::new()
        };
        Ok(Facts {
            model,
            model_at,
            stream,
            max_output_tokens: limit.and_then(|text| text.parse().ok()),
            choices: route.choices.iter().filter_map(in_body).map(|range| count(&body[range])).max().unwrap_or(1),
            body_bytes: body.len() as u64,
            input_tokens: body.len() as u64 / BYTES_PER_TOKEN + 1,
            tool_names,
            needs,
            reencode: reencode(route, &top, body),
            seed: seed(key_id, route, body, &top),
            attribution: route.attribution.read(|at| in_body(at).map(|range| &body[range])),
        })
    }
}

impl Facts {
    /// Reads the facts where the body is no JSON document: from a form's fields and from the path.
    pub(super) fn of_payload(
        route: &Route,
        payload: &Payload,
        path: &[types::Pair],
        key_id: &str,
    ) -> Result<Self, types::Failure> {
        let model = match &route.model {
            Place::Form(name) => payload
                .value(name)?
                .map(str::to_owned)
                .ok_or_else(|| invalid(Some(name), format!("the form has no `{name}`")))?,
            Place::Path(name) => {
                path.iter().find(|pair| pair.name == *name).map(|pair| pair.value.clone()).unwrap_or_default()
            }
            Place::Absent | Place::Always => String::new(),
            Place::Body(_) => return Err(invalid(None, "the body is not JSON".to_owned())),
        };
        let stream = match &route.stream {
            Place::Form(name) => payload.value(name)?.is_some_and(|value| value.eq_ignore_ascii_case("true")),
            Place::Always => true,
            Place::Absent | Place::Path(_) | Place::Body(_) => false,
        };
        let user = route.attribution.form_field().map_or(Ok(None), |name| payload.value(name))?;
        let (files, rest) = payload.lengths();
        let input_bytes = rest + files / FILE_BYTES_PER_TEXT_BYTE;
        Ok(Facts {
            model,
            model_at: None,
            stream,
            max_output_tokens: None,
            choices: 1,
            body_bytes: input_bytes,
            input_tokens: input_bytes / BYTES_PER_TOKEN + 1,
            tool_names: Vec::new(),
            needs: Vec::new(),
            reencode: false,
            seed: seed_of(key_id, ""),
            attribution: Attribution::of_user(user),
        })
    }

    /// A guard has changed a form: the model may be another.
    pub(super) fn renamed(&mut self, route: &Route, payload: &Payload) -> Result<(), types::Failure> {
        if let Place::Form(name) = &route.model {
            self.model = payload.value(name)?.unwrap_or_default().to_owned();
        }
        Ok(())
    }

    /// Of a request that could not be read.
    pub fn unread(body_bytes: u64) -> Self {
        Facts {
            model: String::new(),
            model_at: None,
            stream: false,
            max_output_tokens: None,
            choices: 1,
            body_bytes,
            input_tokens: 0,
            tool_names: Vec::new(),
            needs: Vec::new(),
            reencode: false,
            seed: 0,
            attribution: Attribution::default(),
        }
    }

    /// A guard has spliced the body: the model stands elsewhere now, and if it was itself replaced is another; a signature
    /// may be gone.
    pub(super) fn moved(&mut self, route: &Route, body: &ByteString) -> Result<(), types::Failure> {
        let top = TopLevel::scan(body).map_err(|error| invalid(None, error.to_string()))?;
        self.reencode = reencode(route, &top, body);
        let Place::Body(at) = &route.model else { return Ok(()) };
        (self.model, self.model_at) = model_in(route, &top, body, at)?;
        Ok(())
    }
}

/// The model that a body names or leaves to the gateway, and where it stands.
fn model_in(
    route: &Route,
    top: &TopLevel<'_>,
    body: &str,
    at: &Pointer,
) -> Result<(String, Option<Range<usize>>), types::Failure> {
    let range = locate(top, body, at);
    if route.auto_when.iter().any(|when| holds(top, body, when)) {
        return Ok((ANY_MODEL.to_owned(), range));
    }
    match range {
        Some(range) => {
            let model = string_in(&body[range.clone()])
                .ok_or_else(|| invalid(Some("model"), "`model` is not a string".to_owned()))?;
            Ok((model.into_owned(), Some(range)))
        }
        None if route.translates() => Err(invalid(Some("model"), "`model` is missing".to_owned())),
        // Optional in some protocols (moderations, images).
        None => Ok((ANY_MODEL.to_owned(), None)),
    }
}

/// Finds a place by the scan of the top level, so that only the member it is in is walked.
fn locate(top: &TopLevel<'_>, body: &str, pointer: &Pointer) -> Option<Range<usize>> {
    let (first, rest) = pointer.segments().split_first()?;
    let range = top.get(first)?;
    // A member that is missing altogether is the common case, and one at the top level needs no walk.
    if rest.is_empty() { Some(range) } else { json::locate(body, pointer) }
}

/// Whether the request must be decoded and encoded even where formats agree.
fn reencode(route: &Route, top: &TopLevel<'_>, body: &str) -> bool {
    route.reencode_when.iter().any(|when| holds(top, body, when))
}

/// Whether a condition holds; the body is walked only for one below a member that is there.
fn holds(top: &TopLevel<'_>, body: &str, condition: &json::Condition) -> bool {
    match condition.at.head().map(|key| top.get(key)) {
        Some(None) => false,
        Some(Some(range)) if condition.at.is_member() => condition.passes(&body[range]),
        _ => condition.holds(body),
    }
}

/// A JSON number as a count, at least 1; 1 for any other value, which a provider refuses or takes for none.
fn count(value: &str) -> u64 {
    // Past `u64` it saturates, and so does what is computed from it.
    let float = || value.parse::<f64>().map_or(1, |number| number.ceil() as u64);
    value.parse().unwrap_or_else(|_| float()).max(1)
}

/// The text of a JSON string; `None` for any other value.
fn string_in(value: &str) -> Option<Cow<'_, str>> {
    Some(json::unescape(value.strip_prefix('"')?.strip_suffix('"')?))
}

/// Stable over the turns of a conversation: of the caller and the beginning of the first prompt, which later turns repeat.
fn seed(key_id: &str, route: &Route, body: &str, top: &TopLevel<'_>) -> u64 {
    const PREFIX: usize = 96;
    let conversation = route.prompts.iter().find_map(|pattern| top.get(pattern.head()?));
    let opening = conversation.map_or("", |range| &body[range]);
    // The first message's own text, cut before a later turn could reach into the prefix.
    let end = opening.char_indices().nth(PREFIX).map_or(opening.len(), |(at, _)| at);
    let opening = opening[..end].split_once('}').map_or(&opening[..end], |(first, _)| first);
    seed_of(key_id, opening)
}

fn seed_of(key_id: &str, opening: &str) -> u64 {
    let mut hash = Sha256::new();
    hash.update(key_id.as_bytes());
    hash.update([0]);
    hash.update(opening.as_bytes());
    let digest = hash.finalize();
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&digest[..8]);
    u64::from_le_bytes(bytes)
}

pub(super) fn invalid(param: Option<&str>, message: String) -> types::Failure {
    types::Failure {
        kind: types::FailureKind::InvalidRequest,
        message,
        code: None,
        param: param.map(str::to_owned),
        retry_after: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_provider_may_take_for_a_number_is_counted() {
        for (value, expected) in [
            ("3", 3),
            ("3.0", 3),
            ("2.5", 3),
            ("1e2", 100),
            ("0", 1),
            ("-4", 1),
            ("null", 1),
            ("\"7\"", 1),
            ("99999999999999999999999", u64::MAX),
        ] {
            assert_eq!(count(value), expected, "{value}");
        }
    }
}
