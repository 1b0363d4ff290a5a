//! What the operator may say, and the rules made of it.

use portcullis_plugin::guard::Direction;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::find::custom::Pattern;

/// The `config` table of the plugin's section. Every key has a default:
///
/// ```toml
/// email = "mask"                              # phone, card, ssn, iban and api-key likewise
/// ip = "report"                               # addresses are mostly what the question is about
/// card = { action = "block" }
/// phone = { action = "mask", mask = "(phone)" }
/// allow = ["example.com", "support@acme.test", "127.0.0.1"]
/// directions = ["request", "answer"]
///
/// [[custom]]
/// name = "employee"
/// pattern = 'EMP-\d{6}'
/// action = "mask"
/// max-length = 16
/// ```
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Config {
    /// Email addresses. Default `mask`, as `[EMAIL]`.
    pub email: Option<Setting>,
    /// Telephone numbers: international with `+`, North American, national with their leading 0. Default `mask`, as `[PHONE]`.
    pub phone: Option<Setting>,
    /// Payment cards. Default `mask`, as `[CARD]`.
    pub card: Option<Setting>,
    /// United States social security numbers. Default `mask`, as `[SSN]`.
    pub ssn: Option<Setting>,
    /// Bank accounts. Default `mask`, as `[IBAN]`.
    pub iban: Option<Setting>,
    /// IPv4 and IPv6 addresses. Default `report`: where they occur the conversation is mostly about them.
    pub ip: Option<Setting>,
    /// API keys, access tokens, JSON web tokens, private keys, bearer tokens. Default `mask`, as `[API_KEY]`.
    pub api_key: Option<Setting>,
    /// The operator's own patterns.
    pub custom: Vec<Custom>,
    /// What is not personal: exact values of any kind (letter case, and the spaces and signs within numbers, make no
    /// difference), and domains, whose addresses and subdomains' addresses pass.
    pub allow: Vec<String>,
    /// Where to look. Default both.
    pub directions: Option<Vec<Side>>,
}

/// A direction by its name in the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    Request,
    Answer,
}

/// What to do with what is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Do not look for it.
    Off,
    /// Name it in the receipt, change nothing.
    Report,
    /// Put the mask in its place.
    Mask,
    /// Refuse the request, or end the answer.
    Block,
}

/// An action alone (`"mask"`), or a table with the mask's text, 1 to 256 bytes.
#[derive(Debug, Clone)]
pub struct Setting {
    pub action: Action,
    pub mask: Option<String>,
}

/// A pattern of the operator's.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Custom {
    /// Lower-case letters, digits and dashes; the kind in findings, `pii.NAME` when it blocks.
    pub name: String,
    /// A regular expression as the crate `regex-lite` reads it: linear time, no look-around; `\d`, `\w`, `\s` and `\b` mean
    /// ASCII.
    pub pattern: String,
    #[serde(default = "mask")]
    pub action: Action,
    /// 1 to 256 bytes. Default `[NAME]` in capitals.
    pub mask: Option<String>,
    /// The longest match that a stream waits for, in bytes; what could still grow beyond is treated as one. 1 to 3072,
    /// default 256.
    #[serde(default = "max_length")]
    pub max_length: usize,
}

fn mask() -> Action {
    Action::Mask
}

fn max_length() -> usize {
    256
}

impl<'de> Deserialize<'de> for Setting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// Written out because an untagged enum could not say what is wrong.
        struct ActionOrTable;

        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            action: Action,
            mask: Option<String>,
        }

        impl<'de> Visitor<'de> for ActionOrTable {
            type Value = Setting;

            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("an action, or a table with `action` and `mask`")
            }

            fn visit_str<E: de::Error>(self, action: &str) -> Result<Setting, E> {
                let action = Action::deserialize(de::value::StrDeserializer::new(action))?;
                Ok(Setting { action, mask: None })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Setting, A::Error> {
                let Table { action, mask } = Table::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(Setting { action, mask })
            }
        }

        deserializer.deserialize_any(ActionOrTable)
    }
}

/// The built-in kinds; each is the index of its rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Email,
    Phone,
    Card,
    Ssn,
    Iban,
    Ip,
    ApiKey,
}

/// Code, mask and action where the operator says nothing, in the order of [`Kind`].
const KINDS: [(&str, &str, Action); 7] = [
    ("email", "[EMAIL]", Action::Mask),
    ("phone", "[PHONE]", Action::Mask),
    ("card", "[CARD]", Action::Mask),
    ("ssn", "[SSN]", Action::Mask),
    ("iban", "[IBAN]", Action::Mask),
    ("ip", "[IP]", Action::Report),
    ("api-key", "[API_KEY]", Action::Mask),
];

/// What to do with one kind or custom pattern.
#[derive(Debug)]
pub struct Rule {
    pub code: String,
    pub mask: String,
    pub action: Action,
    /// For a custom rule.
    pub pattern: Option<Pattern>,
}

/// The configuration checked and compiled. The first rules are those of [`Kind`].
#[derive(Debug)]
pub struct Rules {
    pub rules: Vec<Rule>,
    allow: Vec<String>,
    directions: Option<Vec<Side>>,
}

const MASK_MAX: usize = 256;
const LENGTH_MAX: usize = 3072;

impl Rules {
    pub fn new(config: Config) -> Result<Rules, String> {
        let Config { email, phone, card, ssn, iban, ip, api_key, custom, allow, directions } = config;
        let settings = [email, phone, card, ssn, iban, ip, api_key];
        let mut rules: Vec<Rule> = Vec::with_capacity(KINDS.len() + custom.len());
        for ((code, mask, action), setting) in KINDS.into_iter().zip(settings) {
            let (action, mask) = match setting {
                Some(setting) => (setting.action, setting.mask.unwrap_or_else(|| mask.to_owned())),
                None => (action, mask.to_owned()),
            };
            rules.push(Rule { code: code.to_owned(), mask, action, pattern: None });
        }
        for custom in custom {
            let Custom { name, pattern, action, mask, max_length } = custom;
            let named = !name.is_empty()
                && name.len() <= 64
                && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
            if !named {
                return Err(format!("custom pattern `{name}`: a name is lower-case letters, digits and dashes"));
            }
            if rules.iter().any(|rule| rule.code == name) {
                return Err(format!("custom pattern `{name}`: the name is taken"));
            }
            if !(1..=LENGTH_MAX).contains(&max_length) {
                return Err(format!("custom pattern `{name}`: max-length is 1 to {LENGTH_MAX}, not {max_length}"));
            }
            let pattern =
                Pattern::new(&pattern, max_length).map_err(|error| format!("custom pattern `{name}` {error}"))?;
            let mask = mask.unwrap_or_else(|| format!("[{}]", name.to_ascii_uppercase().replace('-', "_")));
            rules.push(Rule { code: name, mask, action, pattern: Some(pattern) });
        }
        if let Some(rule) = rules.iter().find(|rule| !(1..=MASK_MAX).contains(&rule.mask.len())) {
            return Err(format!("{}: a mask is 1 to {MASK_MAX} bytes", rule.code));
        }
        if let Some(entry) = allow.iter().find(|entry| entry.trim().is_empty()) {
            return Err(format!("allow: `{entry}` is no value"));
        }
        Ok(Rules { rules, allow, directions })
    }

    pub fn applies(&self, direction: Direction) -> bool {
        let side = match direction {
            Direction::Request => Side::Request,
            Direction::Answer => Side::Answer,
        };
        self.directions.as_ref().is_none_or(|directions| directions.contains(&side))
    }

    pub fn on(&self, kind: Kind) -> bool {
        self.rules[kind as usize].action != Action::Off
    }

    /// Whether a value found by a rule is on the operator's list.
    pub fn allowed(&self, rule: usize, value: &str) -> bool {
        self.allow.iter().any(|entry| {
            entry.eq_ignore_ascii_case(value)
                || rule == Kind::Email as usize && domain_allowed(value, entry)
                || [Kind::Phone, Kind::Card, Kind::Ssn, Kind::Iban].iter().any(|&kind| rule == kind as usize)
                    && bare(entry).eq(bare(value))
        })
    }
}

fn domain_allowed(address: &str, entry: &str) -> bool {
    let Some((_, domain)) = address.rsplit_once('@') else { return false };
    let entry = entry.strip_prefix('@').unwrap_or(entry);
    match domain.len().checked_sub(entry.len()).and_then(|cut| domain.split_at_checked(cut)) {
        Some((sub, same)) => same.eq_ignore_ascii_case(entry) && (sub.is_empty() || sub.ends_with('.')),
        None => false,
    }
}

/// Without what people write between the digits.
fn bare(number: &str) -> impl Iterator<Item = char> {
    number.chars().filter(|letter| letter.is_alphanumeric()).map(|letter| letter.to_ascii_uppercase())
}
