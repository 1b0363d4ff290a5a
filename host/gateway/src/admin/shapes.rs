//! Shapes that several resources share, as the document shows them. What is read and written are the store's own types; a test keeps
//! both alike.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What keys may do. Absent allows anything, an empty list nothing.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// `model` or `provider/model`; `*` stands for any characters.
    pub models: Option<Vec<String>>,
    /// Connections by their names; `*` as above.
    pub providers: Option<Vec<String>>,
    /// Regions of connections. A connection that names none is then not allowed.
    pub regions: Option<Vec<String>>,
    /// Networks that requests may come from: `10.0.0.0/8`.
    pub cidrs: Option<Vec<String>>,
    /// What a browser's `Origin` may be: `https://*.example.com`.
    pub origins: Option<Vec<String>>,
    /// What `Referer` may be: `https://example.com/chat/*`.
    pub referrers: Option<Vec<String>>,
    /// The tier of a key; of an organisation or team, that of keys which name none.
    pub tier: Option<String>,
    /// The highest tier that a key may have. Of organisations and teams only.
    pub max_tier: Option<String>,
    /// A key's own limits, which go over its tier's: `{"requests_per_minute": 60}`. Of keys only.
    #[schema(value_type = Option<Object>)]
    pub limits: Option<portcullis_core::Limits>,
    /// Days after which a secret expires, whatever its key says. Of organisations and teams only.
    pub max_key_days: Option<u32>,
}

/// A role, everywhere or within an organisation or one of its teams.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RoleGrant {
    /// `superadmin`, `organisation-admin`, `team-admin`, `billing`, `auditor`, `developer`.
    pub role: String,
    pub organisation: Option<String>,
    pub team: Option<String>,
}

/// A name and a value that requests are marked with.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct NameValue {
    pub name: String,
    pub value: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_core::Grant;
    use portcullis_store::AccessPolicy;
    use serde_json::{Value, json};

    #[test]
    fn the_document_s_shapes_are_the_store_s() {
        let all = json!({"models": ["a"], "providers": [], "regions": ["r"], "cidrs": ["10.0.0.0/8"], "origins": ["https://a.example"],
            "referrers": ["b"], "tier": "t", "max_tier": "u",
            "limits": {"tokens_per_day": 5}, "max_key_days": 1});
        let shown: Policy = serde_json::from_value(all.clone()).unwrap();
        assert_eq!(serde_json::to_value(shown).unwrap(), all);
        let stored: AccessPolicy = serde_json::from_value(all.clone()).unwrap();
        assert_eq!(serde_json::to_value(stored).unwrap(), all);
        let (organisation, team) = (format!("org_{}", "1".repeat(32)), format!("team_{}", "2".repeat(32)));
        let grant: Value = json!({"role": "billing", "organisation": organisation, "team": team});
        let shown: RoleGrant = serde_json::from_value(grant.clone()).unwrap();
        let stored: Grant = serde_json::from_value(grant.clone()).unwrap();
        assert_eq!(
            (serde_json::to_value(shown).unwrap(), serde_json::to_value(stored).unwrap()),
            (grant.clone(), grant)
        );
    }
}
