//! A receipt as it is kept, and back to the JSON that is shown.
//!
//! Kept it is a version byte and the fields in order (postcard), a third of the JSON's length: it goes through the journal,
//! the database's log and the database. The shapes below are that order. They are never changed: a new field of
//! [`Receipt`] is skipped here, and a new version with it stands beside.

use portcullis_core::receipt::{
    Attempt, Caller, Candidate, Code, CostLine, Factor, Findings, Metering, Note, Outcome, PluginCall, Routing, Tag,
    Timings,
};
use portcullis_core::{
    Environment, FailureKind, KeyId, Name, NanoUsd, OrganisationId, Receipt, RequestId, TeamId, UnitCount, Usage,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::encode;
use crate::error::StoreError;
use crate::rows;

const VERSION: u8 = 1;
/// As version 1, and [`Metering`] after it: only where there is some, so that most receipts are as they ever were.
const WITH_METERING: u8 = 2;
/// As version 1, [`Metering`] where there is some, and the client's own id: only where it gave one.
const WITH_CORRELATION: u8 = 3;

/// `receipt` as it is kept: the first bytes of `buffer`, this many. The rest of it is void.
pub(crate) fn keep(receipt: &Receipt, buffer: &mut Vec<u8>) -> usize {
    match (&receipt.metering, &receipt.correlation) {
        (None, None) => encode::into(&(VERSION, Ref(receipt)), buffer),
        (Some(metering), None) => encode::into(&(WITH_METERING, Ref(receipt), MeteringRef(metering)), buffer),
        (metering, Some(correlation)) => {
            let metering = metering.as_ref().map(MeteringRef);
            encode::into(&(WITH_CORRELATION, Ref(receipt), metering, correlation), buffer)
        }
    }
}

/// # Errors
/// [`StoreError::Corrupt`] where no version of this program wrote `kept`.
pub(crate) fn read(kept: &[u8]) -> Result<Receipt, StoreError> {
    let corrupt = StoreError::Corrupt { what: "receipt" };
    match kept.split_first() {
        Some((&VERSION, fields)) => match postcard::from_bytes(fields) {
            Ok(Own(receipt)) => Ok(receipt),
            Err(_) => Err(corrupt),
        },
        Some((&WITH_METERING, fields)) => match postcard::from_bytes(fields) {
            Ok((Own(receipt), MeteringOwn(metering))) => Ok(Receipt { metering: Some(metering), ..receipt }),
            Err(_) => Err(corrupt),
        },
        Some((&WITH_CORRELATION, fields)) => match postcard::from_bytes::<(Own, Option<MeteringOwn>, String)>(fields) {
            Ok((Own(receipt), metering, correlation)) => Ok(Receipt {
                metering: metering.map(|MeteringOwn(metering)| metering),
                correlation: Some(correlation),
                ..receipt
            }),
            Err(_) => Err(corrupt),
        },
        _ => Err(corrupt),
    }
}

pub(crate) fn to_json(kept: &[u8]) -> Result<String, StoreError> {
    Ok(serde_json::to_string(&read(kept)?).expect("a receipt is plain data"))
}

#[derive(Serialize)]
struct MeteringRef<'a>(#[serde(with = "MeteringV2")] &'a Metering);

#[derive(Deserialize)]
struct MeteringOwn(#[serde(with = "MeteringV2")] Metering);

#[derive(Serialize, Deserialize)]
#[serde(remote = "Metering")]
struct MeteringV2 {
    units: Vec<UnitCount>,
    service_tier: Option<String>,
    stated_nano: Option<NanoUsd>,
    computed_nano: Option<NanoUsd>,
    settled_by: Option<Code>,
}

#[derive(Serialize)]
struct Ref<'a>(#[serde(with = "V1")] &'a Receipt);

#[derive(Deserialize)]
struct Own(#[serde(with = "V1")] Receipt);

#[derive(Serialize, Deserialize)]
#[serde(remote = "Receipt")]
struct V1 {
    #[serde(with = "id")]
    request_id: RequestId,
    time_ms: u64,
    #[serde(with = "CallerV1")]
    caller: Caller,
    operation: Name,
    dialect: Name,
    route: Name,
    requested_model: String,
    stream: bool,
    passthrough: bool,
    #[serde(with = "routing")]
    routing: Option<Routing>,
    plugins: Vec<PluginCall>,
    findings: Vec<Findings>,
    #[serde(with = "attempts")]
    attempts: Vec<Attempt>,
    usage: Option<Usage>,
    cost: Option<CostLine>,
    #[serde(skip)]
    metering: Option<Metering>,
    #[serde(with = "TimingsV1")]
    timings: Timings,
    notes: Vec<Note>,
    #[serde(with = "OutcomeV1")]
    outcome: Outcome,
    tags: Vec<Tag>,
    #[serde(skip)]
    correlation: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Caller")]
struct CallerV1 {
    #[serde(with = "id")]
    key_id: KeyId,
    #[serde(with = "id")]
    organisation: OrganisationId,
    #[serde(with = "id::option")]
    team: Option<TeamId>,
    user: Option<String>,
    environment: Environment,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Routing")]
struct RoutingV1 {
    strategy: String,
    #[serde(with = "candidates")]
    candidates: Vec<Candidate>,
    winner: Option<u32>,
    reason: String,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Candidate")]
struct CandidateV1 {
    provider: Name,
    model: Name,
    score: Option<f64>,
    factors: Vec<Factor>,
    rejected: Option<Code>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Attempt")]
struct AttemptV1 {
    number: u32,
    provider: Name,
    model: Name,
    answered_model: Option<String>,
    upstream_id: Option<String>,
    status: Option<u16>,
    failure: Option<FailureKind>,
    started_ms: u64,
    duration_us: u64,
    reserved: Option<NanoUsd>,
    settled: Option<NanoUsd>,
    ended: Option<Code>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Timings")]
struct TimingsV1 {
    total_us: u64,
    overhead_us: u64,
    first_byte_us: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Outcome")]
struct OutcomeV1 {
    status: u16,
    code: Code,
    failure: Option<FailureKind>,
    reason: Option<Code>,
    finish_reasons: Vec<Code>,
}

/// A list of a shape above, or an option of one: serde names a shape for a single value only.
macro_rules! list {
    ($module:ident, $type:ident, $shape:literal) => {
        mod $module {
            use super::*;

            #[derive(Serialize)]
            struct Ref<'a>(#[serde(with = $shape)] &'a $type);

            #[derive(Deserialize)]
            struct Own(#[serde(with = $shape)] $type);

            pub fn serialize<S: Serializer>(list: &[$type], serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_seq(list.iter().map(Ref))
            }

            pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<$type>, D::Error> {
                Ok(Vec::<Own>::deserialize(deserializer)?.into_iter().map(|Own(value)| value).collect())
            }
        }
    };
}

list!(attempts, Attempt, "AttemptV1");
list!(candidates, Candidate, "CandidateV1");

mod routing {
    use super::*;

    #[derive(Serialize)]
    struct Ref<'a>(#[serde(with = "RoutingV1")] &'a Routing);

    #[derive(Deserialize)]
    struct Own(#[serde(with = "RoutingV1")] Routing);

    pub fn serialize<S: Serializer>(routing: &Option<Routing>, serializer: S) -> Result<S::Ok, S::Error> {
        routing.as_ref().map(Ref).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Routing>, D::Error> {
        Ok(Option::<Own>::deserialize(deserializer)?.map(|Own(routing)| routing))
    }
}

/// Ids as their bytes, not as text.
mod id {
    use super::*;

    pub trait Id: Sized {
        fn bytes(&self) -> &[u8; 16];
        fn of(bytes: [u8; 16]) -> Self;
    }

    macro_rules! id {
        ($($type:ident),*) => {$(
            impl Id for $type {
                fn bytes(&self) -> &[u8; 16] {
                    self.as_bytes()
                }
                fn of(bytes: [u8; 16]) -> Self {
                    Self::from_bytes(bytes)
                }
            }
        )*};
    }

    id!(RequestId, KeyId, OrganisationId, TeamId);

    pub fn serialize<T: Id, S: Serializer>(id: &T, serializer: S) -> Result<S::Ok, S::Error> {
        rows::id::serialize(id.bytes(), serializer)
    }

    pub fn deserialize<'de, T: Id, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        rows::id::deserialize(deserializer).map(T::of)
    }

    pub mod option {
        use super::*;

        pub fn serialize<T: Id, S: Serializer>(id: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
            rows::id::option::serialize(&id.as_ref().map(T::bytes).copied(), serializer)
        }

        pub fn deserialize<'de, T: Id, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
            Ok(rows::id::option::deserialize(deserializer)?.map(T::of))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Every field set, so that none can be forgotten.
    fn full() -> Receipt {
        serde_json::from_str(
            r#"{"request_id":"req_019e7000000070008000000000000001","time_ms":1780000000000,
            "caller":{"key_id":"key_019e7000000070008000000000000002","organisation":"org_019e7000000070008000000000000003",
                "team":"team_019e7000000070008000000000000004","user":"u-1","environment":"development"},
            "operation":"chat","dialect":"openai","route":"chat-completions","requested_model":"auto","stream":true,
            "passthrough":false,
            "routing":{"strategy":"balanced","candidates":[
                {"provider":"a","model":"m","score":0.75,"factors":[{"name":"price","value":0.0042}]},
                {"provider":"b","model":"n","rejected":"lacks:vision"}],"winner":0,"reason":"quality=86"},
            "plugins":[{"name":"pii","version":"0.1.0","hash":"ab12","role":"guard","verdict":"pass","micros":7,"calls":2}],
            "findings":[{"plugin":"pii","direction":"request","kind":"email","count":3}],
            "attempts":[{"number":1,"provider":"a","model":"m","answered_model":"m-1","upstream_id":"x","status":503,
                "failure":"overloaded","started_ms":1,"duration_us":2,"reserved":300,"settled":20,"ended":"settled"}],
            "usage":{"input":1,"cache_read":2,"cache_write_short":3,"cache_write_long":4,"output":5,"reasoning":6,
                "audio_input":7,"audio_output":8,"images":9,"searches":10,"estimated":true},
            "cost":{"total_nano":20,"input_nano":12,"output_nano":8,"usd":"0.00000002","price_source":"https://p",
                "price_effective":"2026-01-01","estimated":true},
            "timings":{"total_us":100,"overhead_us":10,"first_byte_us":50},
            "notes":[{"code":"dropped","subject":"/seed"}],
            "outcome":{"status":503,"code":"failed","failure":"internal","reason":"r","finish_reasons":["stop"]},
            "tags":[{"name":"job","value":"nightly"}]}"#,
        )
        .unwrap()
    }

    fn kept(receipt: &Receipt) -> Vec<u8> {
        let mut buffer = vec![9; 9];
        let length = keep(receipt, &mut buffer);
        buffer.truncate(length);
        buffer
    }

    #[test]
    fn a_receipt_comes_back_whole() {
        let receipt = full();
        let kept = kept(&receipt);
        assert_eq!(read(&kept).unwrap(), receipt);
        assert_eq!(to_json(&kept).unwrap(), serde_json::to_string(&receipt).unwrap());
    }

    #[test]
    fn what_few_answers_tell_comes_back_too() {
        let metering = r#"{"units":[{"unit":"pages","count":3}],"service_tier":"flex","stated_nano":5,"computed_nano":6,"settled_by":"stated"}"#;
        let receipt = Receipt { metering: Some(serde_json::from_str(metering).unwrap()), ..full() };
        let kept = kept(&receipt);
        assert_eq!((kept[0], read(&kept).unwrap()), (WITH_METERING, receipt));
        assert!(to_json(&kept).unwrap().contains(metering));
        for cut in 0..kept.len() {
            assert!(read(&kept[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn the_client_s_own_id_comes_back_too() {
        let plain = Receipt { correlation: Some("client-7".into()), ..full() };
        let metering = serde_json::from_str(r#"{"units":[{"unit":"pages","count":3}]}"#).unwrap();
        for receipt in [Receipt { metering: Some(metering), ..plain.clone() }, plain] {
            let kept = kept(&receipt);
            assert_eq!((kept[0], read(&kept).unwrap()), (WITH_CORRELATION, receipt));
            assert!(to_json(&kept).unwrap().contains(r#""correlation":"client-7""#));
            for cut in 0..kept.len() {
                assert!(read(&kept[..cut]).is_err(), "{cut}");
            }
        }
    }

    /// What version 2 wrote once; see below.
    #[test]
    fn version_2_stays_readable() {
        let metering: Metering =
            serde_json::from_str(r#"{"units":[{"unit":"pages","count":3}],"stated_nano":5}"#).unwrap();
        let after = "01057061676573030001050000";
        let receipt = Receipt { metering: Some(metering), ..full() };
        assert_eq!(hex(&kept(&receipt)), format!("02{}{after}", &V1_FULL[2..]));
    }

    /// What version 1 wrote once. If this fails, a shape in the core has changed under databases that exist: keep its old
    /// shape here, and begin a version 2.
    #[test]
    fn version_1_stays_readable() {
        assert_eq!(hex(&kept(&full())), V1_FULL);
        let bytes: Vec<u8> =
            (0..V1_FULL.len()).step_by(2).map(|at| u8::from_str_radix(&V1_FULL[at..at + 2], 16).unwrap()).collect();
        assert_eq!(read(&bytes).unwrap(), full());
    }

    const V1_FULL: &str = "\
        0110019e700000007000800000000000000180909282e73310019e700000007000800000000000000210019e700000007000\
        80000000000000030110019e70000000700080000000000000040103752d31010463686174066f70656e616910636861742d\
        636f6d706c6574696f6e73046175746f0100010862616c616e636564020161016d01000000000000e83f0105707269636515\
        8c4aea0434713f000162016e0000010c6c61636b733a766973696f6e01000a7175616c6974793d3836010370696905302e31\
        2e300461623132056775617264047061737307020103706969077265717565737405656d61696c0301010161016d01036d2d\
        3101017801f7030107010201ac0201140107736574746c6564010102030405060708090a0101140c08140968747470733a2f\
        2f70e4b5ac0201640a0132010764726f70706564052f73656564f703066661696c6564010c010172010473746f7001036a6f\
        62076e696768746c79";

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(mut noise in proptest::collection::vec(any::<u8>(), 0..300), cut in 0usize..400) {
            let _ = read(&noise);
            noise.insert(0, VERSION);
            let _ = read(&noise);
            let kept = kept(&full());
            if cut < kept.len() {
                prop_assert!(read(&kept[..cut]).is_err());
            }
        }
    }
}
