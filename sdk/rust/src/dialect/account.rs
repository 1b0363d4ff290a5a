//! What answers say of their way through the gateway, and lists of models of what they offer: members beside those of the
//! protocol, the same in each. The gateway's two objects come ready made; money comes as integers and is written as exact
//! decimals of USD.

use super::{Account, ModelEntry, Reply};
use crate::ir::Field;
use crate::json::{self, Writer};

crate::wire_object! {
    struct Members {}
}

/// Decimal places of a USD in nano-USD and in pico-USD.
const NANO: usize = 9;
const PICO: usize = 12;

impl Reply {
    /// Writes `metadata` and `x-llm-gateway` into the object that is open, where the gateway says something of this answer: at the
    /// top level of a whole answer, or of a stream's last document. `own` are the fields that the answer would have there itself:
    /// those that [`replaces`](Self::replaces) names must not be written again; members of its `metadata` that the gateway's has
    /// not stand first in it.
    pub fn write_account(&self, writer: &mut Writer, own: &[Field]) {
        let Some(account) = &self.account else { return };
        writer.key(METADATA);
        match merged(account, own) {
            Some(merged) => writer.raw(&merged),
            None => writer.raw(&account.metadata),
        }
        writer.member_raw(GATEWAY, &account.gateway);
    }

    /// The same for protocols whose official types say that `metadata` is a map of texts (OpenAI's): what is no text there is left
    /// out where it is null, and is JSON in a text otherwise (`routing`).
    pub fn write_account_as_texts(&self, writer: &mut Writer, own: &[Field]) {
        let Some(account) = &self.account else { return };
        let members = |json: Option<Members>| json.unwrap_or_default().extra;
        let (own, ours) = (members(json::field(own, METADATA)), members(json::from_str(&account.metadata).ok()));
        let kept = own.iter().filter(|field| ours.iter().all(|our| our.name != field.name));
        writer.key(METADATA);
        writer.begin_object();
        for field in kept.chain(&ours).filter(|field| field.value != "null") {
            writer.key(&field.name);
            if field.value.starts_with('"') { writer.raw(&field.value) } else { writer.string(&field.value) }
        }
        writer.end_object();
        writer.member_raw(GATEWAY, &account.gateway);
    }

    /// Whether [`write_account`](Self::write_account) writes a member of this name.
    pub fn replaces(&self, name: &str) -> bool {
        self.account.is_some() && [METADATA, GATEWAY].contains(&name)
    }

    /// Writes `cost_usd_total`, `cost_usd_input` and `cost_usd_output` into the usage object that is open, where the cost is known.
    pub fn write_cost(&self, writer: &mut Writer) {
        if let Some(cost) = self.cost {
            let total = u128::from(cost.input) + u128::from(cost.output);
            writer.member_raw("cost_usd_total", &decimal(total, NANO));
            writer.member_raw("cost_usd_input", &decimal(cost.input.into(), NANO));
            writer.member_raw("cost_usd_output", &decimal(cost.output.into(), NANO));
        }
    }
}

const METADATA: &str = "metadata";
const GATEWAY: &str = "x-llm-gateway";

/// The answer's own metadata and the gateway's, where the answer has any that would be lost.
fn merged(account: &Account, own: &[Field]) -> Option<String> {
    let own: Members = json::field(own, METADATA)?;
    let ours: Members = json::from_str(&account.metadata).ok()?;
    let lost = |field: &&Field| ours.extra.iter().all(|our| our.name != field.name);
    own.extra.iter().find(lost)?;
    let mut writer = Writer::new();
    writer.begin_object();
    for field in own.extra.iter().filter(lost).chain(&ours.extra) {
        writer.member_raw(&field.name, &field.value);
    }
    writer.end_object();
    Some(writer.finish())
}

impl ModelEntry {
    /// Writes what the gateway knows of a model beyond its protocol's members into the object that is open: `context_length` and
    /// `max_output_tokens` in tokens (null where not known), `operations`, `pricing`, whose `input` and `output` are decimals of USD
    /// per token in strings (absent where not known), and the list of capabilities under a name of the caller's, since some
    /// protocols mean something else by `capabilities`.
    pub fn write_details(&self, writer: &mut Writer, capabilities: &str) {
        for (name, tokens) in [("context_length", self.context), ("max_output_tokens", self.max_output)] {
            writer.key(name);
            if tokens == 0 { writer.null() } else { writer.number(tokens) }
        }
        for (name, words) in [(capabilities, &self.capabilities), ("operations", &self.operations)] {
            writer.key(name);
            writer.begin_array();
            words.iter().for_each(|word| writer.string(word));
            writer.end_array();
        }
        writer.key("pricing");
        writer.begin_object();
        for (name, price) in [("input", self.input_price), ("output", self.output_price)] {
            if let Some(price) = price {
                writer.member_string(name, &decimal(price.into(), PICO));
            }
        }
        writer.end_object();
    }
}

/// nano-USD as a decimal of USD, exactly; a JSON number. Whole amounts have no point: `2`, `0.0015`.
pub fn usd(nano: u64) -> String {
    decimal(nano.into(), NANO)
}

/// An integer of so many decimal places, without zeros at the end.
fn decimal(value: u128, places: usize) -> String {
    let digits = format!("{value:0>width$}", width = places + 1);
    let (whole, rest) = digits.split_at(digits.len() - places);
    match rest.trim_end_matches('0') {
        "" => whole.to_owned(),
        rest => format!("{whole}.{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dialect::Cost;

    fn reply(account: Option<(&str, &str)>, cost: Option<Cost>) -> Reply {
        Reply {
            route: "chat".to_owned(),
            requested_model: "m".to_owned(),
            stream_usage: false,
            provider: "p".to_owned(),
            strategy: "explicit".to_owned(),
            cost,
            account: account
                .map(|(metadata, gateway)| Account { metadata: metadata.to_owned(), gateway: gateway.to_owned() }),
            echo: Vec::new(),
        }
    }

    fn object(write: impl FnOnce(&mut Writer)) -> String {
        let mut writer = Writer::new();
        writer.begin_object();
        write(&mut writer);
        writer.end_object();
        writer.finish()
    }

    #[test]
    fn money_is_written_to_the_last_digit() {
        let reply = reply(None, Some(Cost { input: 1, output: 1_500_000_000 }));
        let expected = r#"{"cost_usd_total":1.500000001,"cost_usd_input":0.000000001,"cost_usd_output":1.5}"#;
        assert_eq!(object(|writer| reply.write_cost(writer)), expected);
        assert_eq!(
            (usd(0), usd(2_000_000_000), usd(u64::MAX)),
            ("0".into(), "2".into(), "18446744073.709551615".into())
        );
    }

    #[test]
    fn nothing_is_said_of_what_is_not_known() {
        let silent = reply(None, None);
        let own = [Field::new("metadata", r#"{"a":"b"}"#)];
        assert_eq!(object(|writer| silent.write_account(writer, &own)), "{}");
        assert_eq!(object(|writer| silent.write_cost(writer)), "{}");
        assert!(!silent.replaces("metadata"));
    }

    #[test]
    fn an_answer_s_own_metadata_is_kept() {
        let reply = reply(Some((r#"{"used_model":"m"}"#, r#"{"request_id":"r"}"#)), None);
        let gateway = r#""x-llm-gateway":{"request_id":"r"}}"#;
        for (own, expected) in [
            (None, r#"{"used_model":"m"}"#),
            (Some(r#"{"a":"b","used_model":"x"}"#), r#"{"a":"b","used_model":"m"}"#),
            (Some(r#"{"used_model":"x"}"#), r#"{"used_model":"m"}"#),
            (Some("null"), r#"{"used_model":"m"}"#),
        ] {
            let own: Vec<Field> = own.map(|value| Field::new("metadata", value)).into_iter().collect();
            let written = object(|writer| reply.write_account(writer, &own));
            assert_eq!(written, format!(r#"{{"metadata":{expected},{gateway}"#));
        }
        assert!(reply.replaces("metadata") && reply.replaces("x-llm-gateway") && !reply.replaces("usage"));
    }

    #[test]
    fn where_metadata_are_texts_all_of_it_is() {
        let ours = r#"{"used_model":"m \"x\"","requested_provider":null,"routing":[{"status_code":200}]}"#;
        let reply = reply(Some((ours, r#"{"request_id":"r"}"#)), None);
        let own = [Field::new("metadata", r#"{"a":"b","n":1,"used_model":"x"}"#)];
        let expected = r#"{"metadata":{"a":"b","n":"1","used_model":"m \"x\"","routing":"[{\"status_code\":200}]"},"x-llm-gateway":{"request_id":"r"}}"#;
        assert_eq!(object(|writer| reply.write_account_as_texts(writer, &own)), expected);
    }

    #[test]
    fn a_model_tells_what_it_can_and_costs() {
        let mut entry = ModelEntry {
            id: "p/m".to_owned(),
            provider: "p".to_owned(),
            created: 0,
            context: 128_000,
            max_output: 0,
            operations: vec!["chat".to_owned()],
            capabilities: vec!["tools".to_owned(), "vision".to_owned()],
            input_price: Some(2_500_000),
            output_price: None,
            extra: Vec::new(),
        };
        let expected = r#"{"context_length":128000,"max_output_tokens":null,"capabilities":["tools","vision"],"operations":["chat"],"pricing":{"input":"0.0000025"}}"#;
        assert_eq!(object(|writer| entry.write_details(writer, "capabilities")), expected);
        entry.output_price = Some(0);
        assert!(
            object(|writer| entry.write_details(writer, "capabilities"))
                .ends_with(r#""pricing":{"input":"0.0000025","output":"0"}}"#)
        );
    }

    proptest! {
        /// Read digit by digit, the decimal is the integer again, and it is a JSON number.
        #[test]
        fn decimals_read_back(value: u64, places in prop::sample::select(vec![NANO, PICO])) {
            let text = decimal(value.into(), places);
            let (whole, rest) = text.split_once('.').unwrap_or((&text, ""));
            let back: u128 = format!("{whole}{rest:0<places$}").parse().unwrap();
            prop_assert_eq!(back, u128::from(value));
            prop_assert!(!text.contains('.') || !text.ends_with('0'));
            prop_assert!(serde_json::from_str::<serde_json::Number>(&text).is_ok());
        }
    }
}
