//! What several of these commands take: policies, roles, times.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use ipnet::IpNet;
use portcullis_core::receipt::Tag;
use portcullis_core::{Clock, Grant, Limits, MemberId, OrganisationId, Role, Scope, SystemClock, TeamId};
use portcullis_store::{AccessPolicy, Store};

pub const MS_PER_DAY: u64 = 24 * 60 * 60 * 1000;

/// What may be used and from where. Each can be repeated; what is not named stays open.
#[derive(Args, Default)]
pub struct PolicyArguments {
    /// A model that may be used, `model` or `provider/model`; `*` stands for anything: `gpt-4o*`, `anthropic/*`.
    #[arg(long = "model", value_name = "MODEL")]
    models: Vec<String>,
    /// A provider that may be used, by the connection's name.
    #[arg(long = "provider", value_name = "PROVIDER")]
    providers: Vec<String>,
    /// A region of connections that may be used.
    #[arg(long = "region", value_name = "REGION")]
    regions: Vec<String>,
    /// A network that requests may come from: `10.0.0.0/8`, or one address.
    #[arg(long = "cidr", value_name = "NETWORK", value_parser = network)]
    cidrs: Vec<IpNet>,
    /// An origin that browsers may come from: `https://app.example.com`, `https://*.example.com`.
    #[arg(long = "origin", value_name = "ORIGIN")]
    origins: Vec<String>,
    /// A page that browsers may come from: `https://example.com/chat/*`.
    #[arg(long = "referrer", value_name = "URL")]
    referrers: Vec<String>,
    /// The tier of a key; of an organisation or team, that of keys which name none.
    #[arg(long)]
    tier: Option<String>,
    /// A limit of a key, which goes over its tier's: `requests_per_minute=60`, `tokens_per_day=1000000`, `concurrent_requests=4`.
    #[arg(long = "limit", value_name = "NAME=NUMBER", value_parser = limit)]
    limits: Vec<Limits>,
}

/// What an organisation or team says beyond that.
#[derive(Args, Default)]
pub struct CapArguments {
    /// The highest tier that a key may have.
    #[arg(long)]
    max_tier: Option<String>,
    /// Days after which a key's secret expires, whatever the key says.
    #[arg(long)]
    max_key_days: Option<u32>,
}

/// What can be opened again.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PolicyName {
    Model,
    Provider,
    Region,
    Cidr,
    Origin,
    Referrer,
    Tier,
    Limit,
    MaxTier,
    MaxKeyDays,
}

impl PolicyArguments {
    /// The policy of something new.
    pub fn policy(self) -> AccessPolicy {
        let mut policy = AccessPolicy::default();
        self.apply(&mut policy);
        policy
    }

    /// Puts what is named here in the place of what is there. True where anything is named.
    pub fn apply(self, policy: &mut AccessPolicy) -> bool {
        let before = policy.clone();
        fn put<T>(place: &mut Option<Vec<T>>, list: Vec<T>) {
            if !list.is_empty() {
                *place = Some(list);
            }
        }
        put(&mut policy.models, self.models);
        put(&mut policy.providers, self.providers);
        put(&mut policy.regions, self.regions);
        put(&mut policy.cidrs, self.cidrs);
        put(&mut policy.origins, self.origins);
        put(&mut policy.referrers, self.referrers);
        policy.tier = self.tier.or(policy.tier.take());
        for limit in self.limits {
            policy.limits = Some(limit.over(&policy.limits.unwrap_or_default()));
        }
        *policy != before
    }
}

impl CapArguments {
    pub fn apply(self, policy: &mut AccessPolicy) {
        policy.max_tier = self.max_tier.or(policy.max_tier.take());
        policy.max_key_days = self.max_key_days.or(policy.max_key_days);
    }
}

/// A set with one limit in it.
fn limit(text: &str) -> Result<Limits, String> {
    let (name, number) = text.split_once('=').ok_or("a limit is name=number")?;
    let number: u64 = number.parse().map_err(|_| "a limit is a number, from 0")?;
    serde_json::from_value(serde_json::json!({ name: number })).map_err(|error| error.to_string())
}

/// Opens what is named.
pub fn open(policy: &mut AccessPolicy, names: &[PolicyName]) {
    for name in names {
        match name {
            PolicyName::Model => policy.models = None,
            PolicyName::Provider => policy.providers = None,
            PolicyName::Region => policy.regions = None,
            PolicyName::Cidr => policy.cidrs = None,
            PolicyName::Origin => policy.origins = None,
            PolicyName::Referrer => policy.referrers = None,
            PolicyName::Tier => policy.tier = None,
            PolicyName::MaxTier => policy.max_tier = None,
            PolicyName::Limit => policy.limits = None,
            PolicyName::MaxKeyDays => policy.max_key_days = None,
        }
    }
}

/// A network, or one address as the network of itself.
fn network(text: &str) -> Result<IpNet, String> {
    text.parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| "a network is 10.0.0.0/8, 2001:db8::/32 or one address".to_owned())
}

pub fn tag(text: &str) -> Result<Tag, String> {
    let (name, value) = text.split_once('=').ok_or("a tag is name=value")?;
    Ok(Tag { name: name.to_owned(), value: value.to_owned() })
}

/// A word that a header may hold.
pub fn header_value(text: &str) -> Result<String, String> {
    match !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(text.to_owned()),
        false => Err("a word of letters, digits and signs".to_owned()),
    }
}

/// `90s`, `30m`, `24h`, `7d`; `0` for none.
pub fn span(text: &str) -> Result<Duration, String> {
    let wrong = || "a time is a number with s, m, h or d behind it: 24h".to_owned();
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 60 * 60,
        Some('d') => 24 * 60 * 60,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    number.checked_mul(unit).map(Duration::from_secs).ok_or_else(wrong)
}

/// Milliseconds since the Unix epoch, so many days from now.
pub fn in_days(days: u64) -> u64 {
    SystemClock.now_ms().saturating_add(days.saturating_mul(MS_PER_DAY))
}

/// The organisation that is named, else the default one.
pub async fn organisation(store: &Store, name: Option<&str>) -> Result<OrganisationId> {
    match name {
        Some(name) => Ok(store.organisation(name).await.with_context(|| format!("organisation {name}"))?.id),
        None => Ok(OrganisationId::DEFAULT),
    }
}

/// The team that is named, and with it its organisation where that is not named.
pub async fn team(
    store: &Store,
    organisation: Option<&str>,
    name: Option<&str>,
) -> Result<(OrganisationId, Option<TeamId>)> {
    let Some(name) = name else { return Ok((self::organisation(store, organisation).await?, None)) };
    let within = match organisation {
        Some(organisation) => Some(self::organisation(store, Some(organisation)).await?),
        None => None,
    };
    let team = store.team(within, name).await.with_context(|| format!("team {name}"))?;
    Ok((team.organisation, Some(team.id)))
}

pub async fn member(store: &Store, name: Option<&str>) -> Result<Option<MemberId>> {
    match name {
        Some(name) => Ok(Some(store.member(name).await.with_context(|| format!("member {name}"))?.id)),
        None => Ok(None),
    }
}

/// `superadmin`, `billing@ORGANISATION`, `team-admin@ORGANISATION/TEAM`.
pub async fn grants(store: &Store, texts: &[String]) -> Result<Vec<Grant>> {
    let mut grants = Vec::with_capacity(texts.len());
    for text in texts {
        let (role, place) = text.split_once('@').map_or((text.as_str(), None), |(role, place)| (role, Some(place)));
        let role: Role = role.parse()?;
        let scope = match place {
            None => Scope::All,
            Some(place) => match store.organisation(place).await {
                Ok(organisation) => Scope::Organisation(organisation.id),
                // A name may hold a slash, so what is a whole name is one.
                Err(error) => {
                    let Some((organisation, team)) = place.rsplit_once('/') else {
                        return Err(error).with_context(|| format!("organisation {place}"));
                    };
                    let (organisation, Some(team)) = self::team(store, Some(organisation), Some(team)).await? else {
                        bail!("no team {team}");
                    };
                    Scope::Team(organisation, team)
                }
            },
        };
        grants.push(Grant { role, scope });
    }
    Ok(grants)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_networks_are_read() {
        assert_eq!(span("24h"), Ok(Duration::from_secs(86_400)));
        assert_eq!((span("90s"), span("0")), (Ok(Duration::from_secs(90)), Ok(Duration::ZERO)));
        for wrong in ["", "h", "5", "-1h", "5é", "99999999999999999999d", "18446744073709551615d"] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
        assert_eq!(network("192.0.2.1").unwrap().to_string(), "192.0.2.1/32");
        assert_eq!(network("2001:db8::/32").unwrap().to_string(), "2001:db8::/32");
        assert!(network("here").is_err());
    }

    #[test]
    fn what_is_named_takes_its_place_and_what_is_opened_goes() {
        let named = PolicyArguments { models: vec!["a".into()], tier: Some("pro".into()), ..Default::default() };
        let mut policy =
            AccessPolicy { models: Some(vec!["b".into()]), regions: Some(vec!["eu".into()]), ..Default::default() };
        assert!(named.apply(&mut policy));
        assert_eq!((policy.models.as_deref(), policy.tier.as_deref()), (Some(&["a".to_owned()][..]), Some("pro")));
        open(&mut policy, &[PolicyName::Model, PolicyName::Region, PolicyName::Tier]);
        assert!(policy.is_empty());
        assert!(!PolicyArguments::default().apply(&mut policy));
    }
}
