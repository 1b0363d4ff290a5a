//! Members of an answer that have a value which OpenAI's own types refuse. They are kept, under a name that the types do not know:
//! `provider_` and the member's.

use portcullis_plugin::ir::Field;
use portcullis_plugin::json::{self, Writer};
use serde::Deserialize;
use serde_json::value::RawValue;

/// The values of `service_tier` in the official types (`openai` 3.51, `ChatCompletion`). Groq says `on_demand`, OpenRouter
/// `provisioned` (recordings).
const SERVICE_TIERS: &[&str] = &["null", "\"auto\"", "\"default\"", "\"flex\"", "\"scale\"", "\"priority\""];

/// Renames those of an answer's or a chunk's own members that are not as they should be.
pub fn answer(fields: &mut [Field]) {
    for field in fields {
        let odd = match field.name.as_str() {
            "service_tier" => !SERVICE_TIERS.contains(&field.value.as_str()),
            "system_fingerprint" => !(field.value == "null" || field.value.starts_with('"')),
            _ => false,
        };
        if odd {
            field.name = format!("provider_{}", field.name);
        }
    }
}

/// The same of a message's or a delta's members, whose names begin with `prefix`.
pub fn message(fields: &mut [Field], prefix: &str) {
    #[derive(Deserialize)]
    struct Annotation {
        #[serde(rename = "type")]
        kind: Option<String>,
        url_citation: Option<Box<RawValue>>,
    }
    for field in fields.iter_mut().filter(|field| field.name.strip_prefix(prefix) == Some("annotations")) {
        // OpenRouter annotates parsed files (`"type": "file"`, recordings); the types know `url_citation` alone.
        let known = match json::from_str::<Option<Vec<Annotation>>>(&field.value) {
            Ok(list) => list.unwrap_or_default().iter().all(|annotation| {
                annotation.kind.as_deref() == Some("url_citation") && annotation.url_citation.is_some()
            }),
            Err(_) => false,
        };
        if !known {
            field.name = format!("{prefix}provider_annotations");
        }
    }
}

/// Numbers the annotations of a delta, from `next` on, where the server does not: the official SDK joins the entries of lists in deltas
/// by their `index` and refuses those without.
pub fn number_annotations(fields: &mut [Field], next: &mut u32) {
    #[derive(Deserialize)]
    struct Numbered {
        index: Option<u64>,
    }
    for field in fields.iter_mut().filter(|field| field.name.ends_with("annotations")) {
        let Ok(list) = json::from_str::<Vec<Box<RawValue>>>(&field.value) else { continue };
        let mut writer = Writer::with_capacity(field.value.len() + 16 * list.len());
        writer.begin_array();
        for entry in list {
            let is_bare = json::from_str::<Numbered>(entry.get()).is_ok_and(|entry| entry.index.is_none());
            match entry.get().strip_prefix('{').map(str::trim_start).filter(|_| is_bare) {
                Some(members) => {
                    let comma = if members.starts_with('}') { "" } else { "," };
                    writer.raw(&format!("{{\"index\":{next}{comma}{members}"));
                }
                None => writer.raw(entry.get()),
            }
            *next += 1;
        }
        writer.end_array();
        field.value = writer.finish();
    }
}

/// Whether a choice's `logprobs` are in OpenAI's shape; Together's are lists of tokens.
pub fn is_logprobs(value: &str) -> bool {
    #[derive(Deserialize)]
    struct Logprobs {
        content: Option<Vec<Box<RawValue>>>,
        refusal: Option<Vec<Box<RawValue>>>,
    }
    value == "null"
        || json::from_str::<Logprobs>(value).is_ok_and(|lists| lists.content.is_some() || lists.refusal.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_of_deltas_are_numbered_through() {
        let mut next = 0;
        let mut numbered = |value: &str| {
            let mut fields = [Field::new("annotations", value)];
            number_annotations(&mut fields, &mut next);
            fields[0].value.clone()
        };
        assert_eq!(numbered(r#"[{"type":"a"},{ }]"#), r#"[{"index":0,"type":"a"},{"index":1}]"#);
        assert_eq!(numbered(r#"[{"type":"b","index":7}]"#), r#"[{"type":"b","index":7}]"#);
        assert_eq!(numbered("null"), "null");
        assert_eq!(numbered(r#"[{"type":"c"}]"#), r#"[{"index":3,"type":"c"}]"#);
    }

    #[test]
    fn odd_values_keep_under_another_name() {
        let mut fields = vec![
            Field::new("service_tier", "\"on_demand\""),
            Field::new("service_tier", "\"flex\""),
            Field::new("system_fingerprint", "null"),
        ];
        answer(&mut fields);
        let names: Vec<_> = fields.iter().map(|field| field.name.as_str()).collect();
        assert_eq!(names, ["provider_service_tier", "service_tier", "system_fingerprint"]);
        for (value, name) in [
            (r#"[{"type":"url_citation","url_citation":{"url":"u"}}]"#, "message/annotations"),
            (r#"[{"type":"file","file":{}}]"#, "message/provider_annotations"),
            ("[]", "message/annotations"),
            ("null", "message/annotations"),
        ] {
            let mut fields = vec![Field::new("message/annotations", value)];
            message(&mut fields, "message/");
            assert_eq!(fields[0].name, name, "{value}");
        }
        assert!(is_logprobs(r#"{"content":[],"refusal":null}"#) && !is_logprobs(r#"{"tokens":["a"]}"#));
    }
}
