//! A request to the API (<https://ai.google.dev/api/generate-content>).
//!
//! What the API or the model would refuse is made to fit or left out, each with a note. Fields of `extra` are put back where the
//! client spoke this protocol; another protocol's are reported.

use portcullis_plugin::json::Writer;
use portcullis_plugin::prelude::*;

use super::{contents, generation, media, tools};
use crate::wire::write;
use crate::{FORMAT, catalogue};
use portcullis_plugin::notes::Notes;

pub fn encode(target: &Target, request: &Request) -> Result<UpstreamRequest, Failure> {
    let native = request.format == FORMAT;
    let traits = catalogue::traits(&target.model);
    let mut notes = Notes::default();
    let takes = |_, given: &Media| media::takes(native, given);
    let request = portcullis_plugin::media::fitted(request, "Gemini", &mut notes, takes)?;
    let request = &*request;
    let output = generation::output(request, &traits, &mut notes);

    let mut writer = Writer::with_capacity(1024 + text_bytes(request));
    writer.begin_object();
    contents::write(&mut writer, request, &traits, output.instruction.as_deref(), &mut notes)?;
    tools::write(&mut writer, request, &traits, &mut notes);
    generation::write(&mut writer, target, request, &traits, &output, &mut notes);
    if native {
        write::direct(&mut writer, &request.extra);
    } else {
        report(request, &mut notes);
    }
    writer.end_object();

    let endpoint = if target.stream { "stream" } else { "generate" };
    let path = vec![Pair::new("model", model_name(&target.model))];
    Ok(UpstreamRequest { path, ..UpstreamRequest::new(endpoint, writer.finish(), notes.into_vec()) })
}

/// The API names a model `models/NAME`, clients often do too, and the path says it already.
fn model_name(model: &str) -> &str {
    model.strip_prefix("models/").unwrap_or(model)
}

/// What of another protocol has no place here. Null says nothing and nothing of it is lost.
fn report(request: &Request, notes: &mut Notes) {
    for field in request.extra.iter().filter(|field| field.value.trim() != "null") {
        notes.dropped(&field.name);
    }
    if request.user.is_some() {
        notes.dropped("user");
    }
    if !request.metadata.is_empty() {
        notes.dropped("metadata");
    }
}

/// About what the texts of a request come to, so that a long one is not moved again and again as it is written.
fn text_bytes(request: &Request) -> usize {
    let text = |part: &Part| match &part.content {
        Content::Text(text) => text.len() + text.len() / 16 + 64,
        _ => 256,
    };
    request.messages.iter().flat_map(|message| &message.parts).map(text).sum()
}
