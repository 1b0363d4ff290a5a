//! A whole answer of the API (<https://platform.claude.com/docs/en/api/messages/create>).

use portcullis_plugin::json;
use portcullis_plugin::prelude::*;

use super::error::{self, WireError};
use crate::block::Blocks;
use crate::usage::WireUsage;
use crate::{FORMAT, stop};

portcullis_plugin::wire_object! {
    /// A message, whole or as a stream begins it.
    pub struct WireMessage {
        id: Option<String>,
        kind as "type": Option<String>,
        role: Option<String>,
        model: Option<String>,
        content: Option<Blocks>,
        stop_reason: Option<String>,
        stop_sequence: Option<String>,
        usage: Option<WireUsage>,
        error: Option<WireError>,
    }
}

pub fn decode(body: &str) -> Result<Response, Failure> {
    let wire: WireMessage = json::parse_upstream(body)?;
    if let Some(error) = wire.error {
        return Err(error::of(error, 0));
    }
    let (Some("message"), Some(id), Some(model), Some(content)) =
        (wire.kind.as_deref(), wire.id, wire.model, wire.content)
    else {
        return Err(Failure::upstream_protocol("the provider's answer is not a message"));
    };
    let mut extra = wire.extra;
    let usage = wire.usage.map(|wire| {
        let mut usage = Usage::default();
        wire.merge_into(&mut usage);
        wire.into_extra(&mut extra);
        usage
    });
    let finish = wire.stop_reason.map(|reason| stop::decode(reason, wire.stop_sequence));
    let choice = Choice { index: 0, parts: content.0, finish, logprobs: None, extra: Vec::new() };
    Ok(Response { format: FORMAT.to_owned(), id, model, created: None, choices: vec![choice], usage, extra })
}
