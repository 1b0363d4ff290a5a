//! `GET /api/v1/llm/models`: what a caller may use.

use portcullis_plugin::json::Writer;
use portcullis_plugin::prelude::*;

pub fn encode(models: &[ModelEntry]) -> Json {
    let mut writer = Writer::with_capacity(32 + models.len() * 256);
    writer.begin_object();
    writer.key("models");
    writer.begin_array();
    for model in models {
        writer.begin_object();
        writer.member_string("id", &model.id);
        writer.member_string("provider", &model.provider);
        model.write_details(&mut writer, "capabilities");
        writer.end_object();
    }
    writer.end_array();
    writer.end_object();
    writer.finish()
}
