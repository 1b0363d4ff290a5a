//! Prompt-cache breakpoints. The API knows two lives, five minutes and one hour
//! (<https://platform.claude.com/docs/en/build-with-claude/prompt-caching>).

use portcullis_plugin::ir::CacheMark;
use portcullis_plugin::json::Writer;

const SHORT: u32 = 300;
const LONG: u32 = 3600;

portcullis_plugin::wire_object! {
    pub struct WireCacheControl {
        kind as "type": Option<String>,
        ttl: Option<String>,
    }
}

impl WireCacheControl {
    /// A breakpoint, if this is one we can say in the IR; its raw form is kept otherwise.
    pub fn mark(&self) -> Option<CacheMark> {
        if self.kind.as_deref() != Some("ephemeral") || !self.extra.is_empty() {
            return None;
        }
        match self.ttl.as_deref() {
            None => Some(CacheMark { ttl: None }),
            Some("5m") => Some(CacheMark { ttl: Some(SHORT) }),
            Some("1h") => Some(CacheMark { ttl: Some(LONG) }),
            Some(_) => None,
        }
    }
}

/// Writes the member. A life the API does not have becomes the nearest it has that is not shorter, one hour at most.
pub fn write(writer: &mut Writer, mark: &CacheMark) {
    writer.key("cache_control");
    writer.begin_object();
    writer.member_string("type", "ephemeral");
    if let Some(ttl) = mark.ttl {
        writer.member_string("ttl", if ttl <= SHORT { "5m" } else { "1h" });
    }
    writer.end_object();
}
