//! The receipt: what `GET /v1/receipts/{id}` returns and observers are given.
//!
//! Codes, numbers and names of the operator's own choosing; no prompt, no completion, no secret (invariants 9 and 10). It
//! belongs to the key and the organisation it names (invariant 11); the store enforces who may read it.

use std::borrow::Cow;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::Date;

use crate::failure::FailureKind;
use crate::id::{KeyId, OrganisationId, RequestId, TeamId};
use crate::key::Environment;
use crate::money::NanoUsd;
use crate::name::Name;
use crate::price::{Cost, Price, format_day, parse_day};
use crate::usage::{UnitCount, Usage};

/// A stable machine-readable word: `policy.model-not-allowed`. Never free text.
pub type Code = Cow<'static, str>;

/// Everything that is kept of one request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    pub request_id: RequestId,
    /// Milliseconds since the Unix epoch when the request arrived.
    pub time_ms: u64,
    pub caller: Caller,
    /// `chat`, …
    pub operation: Name,
    /// The plugin that decoded it and its route.
    pub dialect: Name,
    pub route: Name,
    /// As the client named it.
    pub requested_model: String,
    pub stream: bool,
    /// True where the provider got the client's own bytes.
    pub passthrough: bool,
    /// Absent where the request was refused before routing.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub routing: Option<Routing>,
    /// In order of first call.
    pub plugins: Vec<PluginCall>,
    /// What guards found, by guard and kind.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub findings: Vec<Findings>,
    pub attempts: Vec<Attempt>,
    /// Absent where nothing was generated.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub usage: Option<Usage>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cost: Option<CostLine>,
    /// What was metered beyond `usage`; absent where there is nothing.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub metering: Option<Metering>,
    pub timings: Timings,
    /// What did not cross between dialects, and what the gateway changed.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub notes: Vec<Note>,
    pub outcome: Outcome,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub tags: Vec<Tag>,
    /// The client's own id of the request (`x-request-id`), where it gave one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub correlation: Option<String>,
}

/// On whose account. The key by its public id alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Caller {
    pub key_id: KeyId,
    pub organisation: OrganisationId,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub team: Option<TeamId>,
    /// The end user, as the client names them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub user: Option<String>,
    pub environment: Environment,
}

/// How the target was chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Routing {
    pub strategy: String,
    /// Best first, then the rejected.
    pub candidates: Vec<Candidate>,
    /// Index into `candidates` of the target that answered; absent when none did.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub winner: Option<u32>,
    /// The router's deciding numbers: `quality=86 price=0.0042 latency=310`.
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    pub provider: Name,
    pub model: Name,
    /// Absent for a rejected candidate.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub score: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub factors: Vec<Factor>,
    /// Why it was not to be had: `lacks:vision`, `breaker-open`, …
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rejected: Option<Code>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Factor {
    pub name: Code,
    pub value: f64,
}

/// One plugin in one role, over all its calls for this request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PluginCall {
    pub name: Name,
    pub version: Name,
    /// SHA-256 of the component, hexadecimal.
    pub hash: Name,
    /// `dialect`, `provider`, `router`, `guard`, `policy`.
    pub role: Code,
    /// `ok`, `allow`, `constrain`, `pass`, a denial's code, a failure's code, `trap`, `deadline`, …
    pub verdict: Code,
    /// Microseconds in all calls together.
    pub micros: u64,
    pub calls: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Findings {
    pub plugin: Name,
    /// `request` or `answer`.
    pub direction: Code,
    /// `email`, `card`, …
    pub kind: Code,
    pub count: u64,
}

/// One dispatch to a provider.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// Counts from 1.
    pub number: u32,
    pub provider: Name,
    pub model: Name,
    /// The model that answered, where the provider named another.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub answered_model: Option<String>,
    /// The provider's id of its answer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub upstream_id: Option<String>,
    /// HTTP status; absent where no answer came.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub failure: Option<FailureKind>,
    /// Milliseconds after the request's arrival.
    pub started_ms: u64,
    pub duration_us: u64,
    /// nano-USD, at most; absent where the price was unknown and the operator chose `alarm`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reserved: Option<NanoUsd>,
    /// nano-USD; absent until settled.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub settled: Option<NanoUsd>,
    /// `settled`, `refunded` or `quarantined`; absent where nothing was reserved.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ended: Option<Code>,
}

/// What few answers tell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metering {
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub units: Vec<UnitCount>,
    /// The provider's word for what the rates go by beside the model.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub service_tier: Option<String>,
    /// nano-USD by the provider's own word; with it stand what the prices come to, where they are known, and which of the two the
    /// request was settled by: `stated` or `computed`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stated_nano: Option<NanoUsd>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub computed_nano: Option<NanoUsd>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub settled_by: Option<Code>,
}

/// The cost and the price it was computed from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CostLine {
    /// nano-USD.
    pub total_nano: NanoUsd,
    pub input_nano: NanoUsd,
    pub output_nano: NanoUsd,
    /// The total as decimal USD.
    pub usd: Usd,
    /// Where the price was read, and the day it is in force from.
    pub price_source: String,
    pub price_effective: Day,
    /// True where the usage was counted from text.
    pub estimated: bool,
}

impl CostLine {
    /// By the provider's own word, given on this day.
    pub fn stated(cost: Cost, day: Date) -> Self {
        Self::of(cost, "stated by the provider".to_owned(), day, false)
    }

    pub fn new(cost: Cost, price: &Price, estimated: bool) -> Self {
        Self::of(cost, price.source.clone(), price.effective, estimated)
    }

    fn of(cost: Cost, price_source: String, effective: Date, estimated: bool) -> Self {
        Self {
            total_nano: cost.total,
            input_nano: cost.input,
            output_nano: cost.output,
            usd: Usd(cost.total),
            price_source,
            price_effective: Day(effective),
            estimated,
        }
    }
}

/// Money that people read as decimal USD; formats of bytes hold the integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usd(pub NanoUsd);

impl Serialize for Usd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(&self.0) } else { self.0.serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for Usd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map(Self).map_err(D::Error::custom)
        } else {
            NanoUsd::deserialize(deserializer).map(Self)
        }
    }
}

/// A day that people read as `YYYY-MM-DD`; formats of bytes hold its Julian day number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Day(pub Date);

impl Serialize for Day {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&format_day(self.0))
        } else {
            serializer.serialize_i32(self.0.to_julian_day())
        }
    }
}

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            parse_day(&String::deserialize(deserializer)?).map(Self).map_err(D::Error::custom)
        } else {
            Date::from_julian_day(i32::deserialize(deserializer)?).map(Self).map_err(D::Error::custom)
        }
    }
}

/// Microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timings {
    /// From the request's head to the answer's last byte.
    pub total_us: u64,
    /// Of it, not spent waiting for the provider.
    pub overhead_us: u64,
    /// From the request's head to the first byte to the client; absent when none was sent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub first_byte_us: Option<u64>,
}

/// As `note` in `wit/types.wit`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// `dropped`, `approximated`, `clamped`, `signature-dropped`, …
    pub code: Code,
    /// A field's name or pointer.
    pub subject: String,
}

/// How it ended for the client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The HTTP status sent.
    pub status: u16,
    /// `ok`, `denied`, `blocked`, `failed`, `client-gone`, `cut`.
    pub code: Code,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub failure: Option<FailureKind>,
    /// The denial's, block's or failure's own code.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<Code>,
    /// One for each choice, in the contract's words.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub finish_reasons: Vec<Code>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tag {
    pub name: String,
    pub value: String,
}
