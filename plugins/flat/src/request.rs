//! A client's request. Fields that the protocol does not name go to `extra`, which providers report as dropped; tools, whose calls
//! an answer has no place for, are refused.

use std::fmt;

use portcullis_plugin::json;
use portcullis_plugin::prelude::*;
use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor, value::SeqAccessDeserializer};

use crate::FORMAT;

/// What asks for calls, in the words of the protocol whose path this one shares.
const TOOLS: &[&str] = &["tools", "functions"];
/// What a client that names no model leaves to the gateway.
const AUTO: &str = "auto";

portcullis_plugin::wire_object! {
    struct WireRequest {
        model: Option<String>,
        auto_route: Option<bool>,
        system: Option<String>,
        messages: Option<Vec<WireMessage>>,
        max_tokens: Option<u32>,
        temperature: Option<f64>,
        top_p: Option<f64>,
        stop: Option<Texts>,
        stream: Option<bool>,
        user: Option<String>,
    }

    struct WireMessage {
        role: Option<String>,
        content: Option<WireContent>,
    }

    struct WirePart {
        kind as "type": Option<String>,
        text: Option<String>,
        image_url: Option<WireImage>,
    }

    struct ImageObject {
        url: Option<String>,
        detail: Option<String>,
    }
}

/// A text, or a list of parts.
#[derive(Debug)]
struct WireContent(Vec<WirePart>);

/// A text, or a list of them.
#[derive(Debug)]
struct Texts(Vec<String>);

/// A URL, or an object with it.
#[derive(Debug)]
struct WireImage(ImageObject);

pub fn decode(body: &str) -> Result<Request, Failure> {
    let wire: WireRequest = json::parse(body)?;
    if let Some(asked) = wire.extra.iter().find(|field| TOOLS.contains(&&*field.name) && field.value != "null") {
        let message = format!("{}: the flat protocol has no tools; ask in another one", asked.name);
        return Err(Failure {
            param: Some(asked.name.clone()),
            ..Failure::new(FailureKind::UnsupportedFeature, message)
        });
    }
    let model = match (wire.auto_route, wire.model) {
        (Some(true), _) => AUTO.to_owned(),
        (_, Some(model)) => model,
        (_, None) => return Err(Failure::invalid("model", "model: give one, or `auto_route`: true")),
    };
    let mut request = Request::new(FORMAT, model);
    request.messages.extend(wire.system.map(|text| Message::new(Role::System, vec![Part::text(text)])));
    let turns = wire.messages.unwrap_or_default();
    if turns.is_empty() {
        return Err(Failure::invalid("messages", "messages: at least one message is required"));
    }
    for (index, turn) in turns.into_iter().enumerate() {
        request.messages.push(message(&format!("messages[{index}]"), turn)?);
    }
    request.max_output_tokens = wire.max_tokens;
    request.sampling.temperature = wire.temperature;
    request.sampling.top_p = wire.top_p;
    request.stop = wire.stop.map_or_else(Vec::new, |texts| texts.0);
    request.stream = wire.stream.unwrap_or(false);
    // Every stream of this protocol ends with its usage.
    request.stream_usage = request.stream;
    request.user = wire.user;
    request.extra = wire.extra;
    Ok(request)
}

fn message(at: &str, turn: WireMessage) -> Result<Message, Failure> {
    let role = match turn.role.as_deref() {
        Some("system") => Role::System,
        Some("developer") => Role::Developer,
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        _ => {
            let at = format!("{at}.role");
            return Err(Failure::invalid(&at, format!("{at}: must be `system`, `developer`, `user` or `assistant`")));
        }
    };
    let missing = || {
        let at = format!("{at}.content");
        Failure::invalid(&at, format!("{at}: must be a text or a list of parts"))
    };
    let parts = turn.content.ok_or_else(missing)?.0;
    let parts = parts.into_iter().enumerate().map(|(index, wire)| part(&format!("{at}.content[{index}]"), wire));
    Ok(Message { extra: turn.extra, ..Message::new(role, parts.collect::<Result<_, _>>()?) })
}

fn part(at: &str, wire: WirePart) -> Result<Part, Failure> {
    let content = match (wire.kind.as_deref(), wire.text, wire.image_url) {
        (Some("text"), Some(text), _) => Content::Text(text),
        (Some("image_url"), _, Some(WireImage(image))) => {
            let url = image.url.ok_or_else(|| Failure::invalid(at, format!("{at}: an image needs a `url`")))?;
            let (source, media_type) = source(url);
            Content::Image(Media { source, media_type, name: None, detail: image.detail })
        }
        _ => {
            return Err(Failure::invalid(
                at,
                format!("{at}: must be a `text` with its text or an `image_url` with its URL"),
            ));
        }
    };
    Ok(Part { extra: wire.extra, ..Part::new(content) })
}

/// A URL, or the bytes inside a base64 `data:` URL (RFC 2397) with their type.
fn source(url: String) -> (Source, Option<String>) {
    let inline = url.strip_prefix("data:").and_then(|rest| rest.split_once(','));
    match inline.and_then(|(head, data)| Some((head.strip_suffix(";base64")?, data))) {
        Some((media_type, data)) => {
            let media_type = (!media_type.is_empty()).then(|| media_type.to_owned());
            (Source::Base64(data.to_owned()), media_type)
        }
        None => (Source::Url(url), None),
    }
}

impl<'de> Deserialize<'de> for WireContent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ContentVisitor;

        impl<'de> Visitor<'de> for ContentVisitor {
            type Value = WireContent;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("a text or a list of parts")
            }

            fn visit_str<E>(self, text: &str) -> Result<WireContent, E> {
                let kind = Some("text".to_owned());
                Ok(WireContent(vec![WirePart { kind, text: Some(text.to_owned()), ..WirePart::default() }]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<WireContent, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(items)).map(WireContent)
            }
        }

        deserializer.deserialize_any(ContentVisitor)
    }
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextsVisitor;

        impl<'de> Visitor<'de> for TextsVisitor {
            type Value = Texts;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("a text or a list of texts")
            }

            fn visit_str<E>(self, text: &str) -> Result<Texts, E> {
                Ok(Texts(vec![text.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Texts, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(items)).map(Texts)
            }
        }

        deserializer.deserialize_any(TextsVisitor)
    }
}

impl<'de> Deserialize<'de> for WireImage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ImageVisitor;

        impl<'de> Visitor<'de> for ImageVisitor {
            type Value = WireImage;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("a URL or an object with a `url`")
            }

            fn visit_str<E>(self, url: &str) -> Result<WireImage, E> {
                Ok(WireImage(ImageObject { url: Some(url.to_owned()), ..ImageObject::default() }))
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, members: A) -> Result<WireImage, A::Error> {
                let members = serde::de::value::MapAccessDeserializer::new(members);
                ImageObject::deserialize(members).map(WireImage)
            }
        }

        deserializer.deserialize_any(ImageVisitor)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_base64_data_urls_are_taken_apart() {
        for url in ["data:text/plain,hello", "data:,", "data:image/png;base64", "https://example.com/a.png"] {
            assert_eq!(source(url.to_owned()), (Source::Url(url.to_owned()), None));
        }
        let (inline, media_type) = source("data:image/png;base64,iVBORw==".to_owned());
        assert_eq!((inline, media_type.as_deref()), (Source::Base64("iVBORw==".to_owned()), Some("image/png")));
    }

    proptest! {
        /// Whatever a client writes is a request or the client's own fault.
        #[test]
        fn bad_input_is_the_client_s_fault(body in r#"[\[\]{}:," a-z0-9]{0,60}"#, role in ".{0,12}") {
            let turn = format!(r#"{{"model":"m","messages":[{{"role":{},"content":"x"}}]}}"#, json::quote(&role));
            for body in [body, turn] {
                if let Err(failure) = decode(&body) {
                    prop_assert_eq!(failure.kind, FailureKind::InvalidRequest);
                }
            }
        }

        #[test]
        fn texts_arrive_unchanged(text in ".{0,80}") {
            let quoted = json::quote(&text);
            for content in [quoted.clone(), format!(r#"[{{"type":"text","text":{quoted}}}]"#)] {
                let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":{content}}}]}}"#);
                let request = decode(&body).unwrap();
                prop_assert_eq!(&request.messages[0].parts[0].content, &Content::Text(text.clone()));
            }
        }
    }
}
