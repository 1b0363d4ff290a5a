//! `[[export]]`

use std::collections::BTreeSet;

use portcullis_core::OrganisationId;
use portcullis_export::{Every, Export, Format, Period, S3Options, What, Zone};
use portcullis_store::UsageGroup;
use serde::Deserialize;

use super::{ConfigError, Environment, Secret};

/// A file that is written for each hour, day or month that is over.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportConfig {
    /// Names it among exports, and begins its files' names: `NAME-2026-05-28.csv`.
    pub name: String,
    pub what: ExportWhat,
    /// What usage is summed by: a row for each combination that occurs. Default `["day", "model"]`.
    pub by: Option<Vec<UsageBy>>,
    /// The tag whose values are meant by `tag`.
    pub tag: Option<String>,
    /// Default `csv`.
    #[serde(default = "csv")]
    pub format: Format,
    /// What one file covers. Default `day`.
    #[serde(default = "day")]
    pub every: Every,
    /// Where days and months begin, as `Europe/Berlin`; hours are those of UTC. Default `UTC`.
    #[serde(default)]
    pub time_zone: Zone,
    /// How long after its end a period is written: requests that still run then are in no file. Default 15.
    #[serde(default = "settle")]
    pub settle_minutes: u64,
    /// The first day to be written, as `2026-01-01`; by default the period in which this section is first seen. What was written counts
    /// from then on.
    pub since: Option<String>,
    /// Whose, by id; by default everything.
    pub organisation: Option<OrganisationId>,
    /// A folder, or `s3://BUCKET/PREFIX`.
    pub to: String,
    /// How the bucket is reached.
    #[serde(default)]
    pub s3: S3Config,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExportWhat {
    Usage,
    Requests,
    Ledger,
    Audit,
}

impl ExportWhat {
    pub const fn as_str(self) -> &'static str {
        match self {
            ExportWhat::Usage => "usage",
            ExportWhat::Requests => "requests",
            ExportWhat::Ledger => "ledger",
            ExportWhat::Audit => "audit",
        }
    }
}

/// What usage is summed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UsageBy {
    Day,
    Organisation,
    Team,
    Key,
    User,
    Environment,
    Provider,
    Model,
    Tag,
}

impl From<UsageBy> for UsageGroup {
    fn from(by: UsageBy) -> Self {
        match by {
            UsageBy::Day => UsageGroup::Day,
            UsageBy::Organisation => UsageGroup::Organisation,
            UsageBy::Team => UsageGroup::Team,
            UsageBy::Key => UsageGroup::Key,
            UsageBy::User => UsageGroup::User,
            UsageBy::Environment => UsageGroup::Environment,
            UsageBy::Provider => UsageGroup::Provider,
            UsageBy::Model => UsageGroup::Model,
            UsageBy::Tag => UsageGroup::Tag,
        }
    }
}

/// `[export.s3]`. What is absent is looked for where AWS's own tools look: the environment, the container, the instance.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct S3Config {
    /// Of storage that is not Amazon's: `https://storage.example`.
    pub endpoint: Option<String>,
    pub region: Option<String>,
    /// A reference to the environment.
    pub access_key_id: Option<Secret>,
    /// A reference to the environment.
    pub secret_access_key: Option<Secret>,
    /// Plain http to an endpoint that is not this machine's. Default false.
    pub allow_http: bool,
}

impl S3Config {
    pub fn options(&self) -> S3Options {
        let word = |secret: &Option<Secret>| secret.as_ref().map(|secret| secret.expose().to_owned());
        S3Options {
            endpoint: self.endpoint.clone(),
            region: self.region.clone(),
            access_key_id: word(&self.access_key_id),
            secret_access_key: word(&self.secret_access_key),
            allow_http: self.allow_http,
        }
    }
}

const fn csv() -> Format {
    Format::Csv
}

const fn day() -> Every {
    Every::Day
}

const fn settle() -> u64 {
    15
}

impl ExportConfig {
    /// What its files consist of.
    pub fn export(&self) -> Export {
        let what = match self.what {
            ExportWhat::Usage => {
                What::Usage { by: self.by().into_iter().map(UsageGroup::from).collect(), tag: self.tag.clone() }
            }
            ExportWhat::Requests => What::Requests,
            ExportWhat::Ledger => What::Ledger,
            ExportWhat::Audit => What::Audit,
        };
        Export { what, format: self.format, organisation: self.organisation }
    }

    fn by(&self) -> Vec<UsageBy> {
        self.by.clone().unwrap_or_else(|| vec![UsageBy::Day, UsageBy::Model])
    }

    /// The period that a moment is in.
    pub fn period(&self, at_ms: u64) -> Period {
        Period::at(self.every, &self.time_zone, at_ms)
    }

    /// From when a period can be written.
    pub fn due_ms(&self, period: &Period) -> u64 {
        period.end_ms.saturating_add(self.settle_minutes.saturating_mul(60_000))
    }

    /// Where it begins when it is first seen at `now_ms`.
    pub fn begin_ms(&self, now_ms: u64) -> u64 {
        let since = self.since.as_deref().and_then(|day| self.time_zone.midnight(day).ok());
        self.period(since.unwrap_or(now_ms)).start_ms
    }

    /// The name of a period's file.
    pub fn file(&self, period: &Period) -> String {
        format!("{}-{period}.{}", self.name, self.format)
    }
}

/// Whether sections can be told apart and name files and metrics.
pub(super) fn check_name(place: &str, name: &str) -> Result<(), ConfigError> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if name.is_empty() || name.len() > 64 || !name.bytes().all(fits) {
        return Err(ConfigError::invalid(
            format!("{place}.name"),
            "is not made of up to 64 letters, digits, `-` and `_`",
        ));
    }
    Ok(())
}

pub(super) fn resolve(exports: &mut [ExportConfig], environment: &dyn Environment) -> Result<(), ConfigError> {
    let mut names = BTreeSet::new();
    for (at, export) in exports.iter_mut().enumerate() {
        let place = format!("export[{at}]");
        let invalid = |key: &str, why: &str| ConfigError::invalid(format!("{place}.{key}"), why);
        check_name(&place, &export.name)?;
        if !names.insert(export.name.clone()) {
            return Err(invalid("name", "is another export's too"));
        }
        if export.by.is_some() && export.what != ExportWhat::Usage {
            return Err(invalid("by", "is of usage only"));
        }
        let by_tag = export.what == ExportWhat::Usage && export.by().contains(&UsageBy::Tag);
        if by_tag != export.tag.is_some() {
            return Err(invalid("tag", "goes together with `by = [\"tag\"]`"));
        }
        if let Some(day) = &export.since {
            export.time_zone.midnight(day).map_err(|error| invalid("since", &error.to_string()))?;
        }
        let is_bucket =
            export.to.strip_prefix("s3://").is_some_and(|bucket| !bucket.starts_with('/') && !bucket.is_empty());
        if export.to.is_empty() || (export.to.contains("://") && !is_bucket) {
            return Err(invalid("to", "is no folder and no s3://BUCKET/PREFIX"));
        }
        if let Some(endpoint) = &export.s3.endpoint {
            super::check_url(&format!("{place}.s3.endpoint"), endpoint, export.s3.allow_http)?;
        }
        for (name, secret) in
            [("access_key_id", &mut export.s3.access_key_id), ("secret_access_key", &mut export.s3.secret_access_key)]
        {
            if let Some(secret) = secret {
                secret.resolve(&format!("{place}.s3.{name}"), environment)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::super::Config;
    use super::*;

    fn exports(text: &str) -> Result<Vec<ExportConfig>, ConfigError> {
        let environment = HashMap::from([("ID", "id"), ("SECRET", "s3cret")]);
        Config::parse(text, "t")?.finish(&environment).map(|config| config.export)
    }

    const LEAST: &str = "[[export]]\nname = \"a\"\nwhat = \"usage\"\nto = \"out\"\n";

    #[test]
    fn an_export_says_when_and_what() {
        let export = &exports(LEAST).unwrap()[0];
        let by = vec![UsageGroup::Day, UsageGroup::Model];
        assert_eq!(export.export().what, What::Usage { by, tag: None });
        let period = export.period(1_780_000_000_000);
        assert_eq!(export.file(&period), "a-2026-05-28.csv");
        assert_eq!(export.due_ms(&period), period.end_ms + 900_000);
        assert_eq!(export.begin_ms(1_780_000_000_000), period.start_ms);
        let more = "every = \"month\"\ntime_zone = \"Europe/Berlin\"\nsince = \"2026-02-17\"\nformat = \"parquet\"\n";
        let export = &exports(&format!("{LEAST}{more}")).unwrap()[0];
        let begin = export.begin_ms(1_780_000_000_000);
        assert_eq!(export.file(&export.period(begin)), "a-2026-02.parquet");
        assert_eq!(begin, Zone::UTC.midnight("2026-02-01").unwrap() - 3_600_000);
    }

    #[test]
    fn secrets_come_from_the_environment_and_are_not_shown() {
        let bucket = "[[export]]\nname = \"b\"\nwhat = \"audit\"\nto = \"s3://b/p\"\n[export.s3]\nregion = \"r\"\n\
                      access_key_id = \"${ID}\"\nsecret_access_key = \"${SECRET}\"\n";
        let exports = exports(bucket).unwrap();
        let options = exports[0].s3.options();
        assert_eq!(
            (options.secret_access_key.as_deref(), options.access_key_id.as_deref()),
            (Some("s3cret"), Some("id"))
        );
        assert!(!format!("{exports:?} {options:?}").contains("s3cret"));
    }

    #[test]
    fn mistakes_are_told_by_their_place() {
        for (text, place) in [
            (format!("{LEAST}{LEAST}"), "export[1].name"),
            (LEAST.replace("\"a\"", "\"../a\""), "export[0].name"),
            (LEAST.replace("\"out\"", "\"gs://x\""), "export[0].to"),
            (LEAST.replace("\"out\"", "\"s3:///x\""), "export[0].to"),
            (format!("{LEAST}by = [\"tag\"]\n"), "export[0].tag"),
            (format!("{LEAST}tag = \"x\"\n"), "export[0].tag"),
            (LEAST.replace("usage", "audit") + "by = [\"day\"]\n", "export[0].by"),
            (format!("{LEAST}since = \"soon\"\n"), "export[0].since"),
            (format!("{LEAST}time_zone = \"Europe/Atlantis\"\n"), "Atlantis"),
            (format!("{LEAST}[export.s3]\nendpoint = \"http://storage.example\"\n"), "export[0].s3.endpoint"),
            (format!("{LEAST}[export.s3]\naccess_key_id = \"${{ABSENT}}\"\n"), "ABSENT"),
        ] {
            let error = exports(&text).unwrap_err().to_string();
            assert!(error.contains(place), "{text}: {error}");
        }
    }
}
