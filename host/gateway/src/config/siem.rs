//! `[[siem]]`

use std::collections::BTreeSet;

use portcullis_core::OrganisationId;
use serde::Deserialize;

use super::export::check_name;
use super::{ConfigError, Environment, WebhookConfig};

/// Who is sent the audit trail as it grows, failed accesses too: in batches, in order, each event at least once.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiemConfig {
    /// Names it among sinks. How far it has come is kept under this name.
    pub name: String,
    /// Where batches are posted. It has a secret: batches are signed.
    pub webhook: WebhookConfig,
    /// Whose events, by id; by default all.
    pub organisation: Option<OrganisationId>,
    /// Which actions: `key.revoke`, or with a `.` at its end all that begin so, `access.`. Empty means all.
    #[serde(default)]
    pub actions: Vec<String>,
    /// From the trail's beginning on, or else from when this section is first seen. Default true.
    #[serde(default = "yes")]
    pub backfill: bool,
    /// Events in a batch at most, up to 1000. Default 100.
    #[serde(default = "events")]
    pub batch_events: u32,
    /// Bytes of a batch at most; an event that is longer by itself goes alone. Default 262144.
    #[serde(default = "bytes")]
    pub batch_bytes: usize,
}

const fn yes() -> bool {
    true
}

const fn events() -> u32 {
    100
}

const fn bytes() -> usize {
    256 << 10
}

const MOST_EVENTS: u32 = 1_000;
const LEAST_BYTES: usize = 1_024;

impl SiemConfig {
    /// Whether events of an action are sent.
    pub fn wants(&self, action: &str) -> bool {
        let matches = |one: &String| if one.ends_with('.') { action.starts_with(&**one) } else { action == one };
        self.actions.is_empty() || self.actions.iter().any(matches)
    }
}

pub(super) fn resolve(sinks: &mut [SiemConfig], environment: &dyn Environment) -> Result<(), ConfigError> {
    let mut names = BTreeSet::new();
    for (at, sink) in sinks.iter_mut().enumerate() {
        let place = format!("siem[{at}]");
        let invalid = |key: &str, why: &str| Err(ConfigError::invalid(format!("{place}.{key}"), why));
        check_name(&place, &sink.name)?;
        if !names.insert(sink.name.clone()) {
            return invalid("name", "is another sink's too");
        }
        if !(1..=MOST_EVENTS).contains(&sink.batch_events) {
            return invalid("batch_events", "is not from 1 to 1000");
        }
        if sink.batch_bytes < LEAST_BYTES {
            return invalid("batch_bytes", "is less than 1024");
        }
        if sink.webhook.secret.is_none() {
            return invalid("webhook.secret", "is missing: batches are signed");
        }
        sink.webhook = sink.webhook.clone().resolved(&format!("{place}.webhook"), environment)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::super::Config;
    use super::*;

    fn sinks(text: &str) -> Result<Vec<SiemConfig>, ConfigError> {
        Config::parse(text, "t")?.finish(&HashMap::from([("S", "hush")])).map(|config| config.siem)
    }

    const LEAST: &str = "[[siem]]\nname = \"a\"\nwebhook = { url = \"https://siem.example/in\", secret = \"${S}\" }\n";

    #[test]
    fn a_sink_takes_what_it_wants() {
        let all = &sinks(LEAST).unwrap()[0];
        assert!(all.wants("key.revoke") && all.backfill);
        let some = &sinks(&format!("{LEAST}actions = [\"access.\", \"key.revoke\"]\n")).unwrap()[0];
        let wanted = ["access.failed", "key.revoke", "key.revoked", "access", "org.create"].map(|one| some.wants(one));
        assert_eq!(wanted, [true, true, false, false, false]);
    }

    #[test]
    fn mistakes_are_told_by_their_place() {
        for (text, place) in [
            (format!("{LEAST}{LEAST}"), "siem[1].name"),
            (LEAST.replace("\"a\"", "\"\""), "siem[0].name"),
            (LEAST.replace(", secret = \"${S}\"", ""), "siem[0].webhook.secret"),
            (LEAST.replace("https", "http"), "siem[0].webhook.url"),
            (format!("{LEAST}batch_events = 0\n"), "siem[0].batch_events"),
            (format!("{LEAST}batch_bytes = 10\n"), "siem[0].batch_bytes"),
        ] {
            let error = sinks(&text).unwrap_err().to_string();
            assert!(error.contains(place), "{text}: {error}");
        }
    }
}
