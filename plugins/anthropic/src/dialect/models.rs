//! The list of models (<https://platform.claude.com/docs/en/api/models/list>).

use portcullis_plugin::json::Writer;
use portcullis_plugin::prelude::*;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The protocol's own `capabilities` is an object with a verdict on every feature that it knows, which the catalogue has not.
const CAPABILITIES: &str = "capability_names";

/// All of them on one page. `lifecycle` is required by the 2.x SDKs; a model the gateway offers is active.
pub fn encode(models: &[ModelEntry]) -> Json {
    let mut writer = Writer::with_capacity(64 + models.len() * 200);
    writer.begin_object();
    writer.key("data");
    writer.begin_array();
    for model in models {
        writer.begin_object();
        writer.member_string("type", "model");
        writer.member_string("id", &model.id);
        writer.member_string("display_name", &model.id);
        writer.member_string("created_at", &rfc3339(model.created));
        writer.member_string("lifecycle", "active");
        limit(&mut writer, "max_input_tokens", model.context);
        limit(&mut writer, "max_tokens", model.max_output);
        model.write_details(&mut writer, CAPABILITIES);
        writer.end_object();
    }
    writer.end_array();
    writer.member_bool("has_more", false);
    for (name, model) in [("first_id", models.first()), ("last_id", models.last())] {
        writer.key(name);
        match model {
            Some(model) => writer.string(&model.id),
            None => writer.null(),
        }
    }
    writer.end_object();
    writer.finish()
}

/// A limit that is not known is null, not zero.
fn limit(writer: &mut Writer, name: &str, tokens: u32) {
    writer.key(name);
    if tokens == 0 { writer.null() } else { writer.number(tokens) }
}

/// The protocol writes an epoch where the date is unknown, which a date beyond the calendar is as well.
fn rfc3339(seconds: u64) -> String {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| "1970-01-01T00:00:00Z".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_rfc_3339() {
        assert_eq!(rfc3339(1_771_286_400), "2026-02-17T00:00:00Z");
        assert_eq!(rfc3339(u64::MAX), "1970-01-01T00:00:00Z");
    }
}
