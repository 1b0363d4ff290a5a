//! What the files' columns are. Names are stable: others build on them.

use std::borrow::Cow;

use portcullis_store::budgets::LedgerEntry;
use portcullis_store::{AuditEvent, RequestRecord, UsageGroup, UsageRow};
use serde_json::Value;

use crate::{Cell, Kind};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: Cow<'static, str>,
    pub kind: Kind,
}

const fn column(name: &'static str, kind: Kind) -> Column {
    Column { name: Cow::Borrowed(name), kind }
}

/// Columns of sums by `groups`. A tag's column has the tag's name after `tag_`.
pub fn usage_columns(groups: &[UsageGroup], tag: Option<&str>) -> Vec<Column> {
    let groups = groups.iter().map(|group| match group {
        UsageGroup::Day => column("day", Kind::Text),
        UsageGroup::Organisation => column("organisation", Kind::Text),
        UsageGroup::Team => column("team", Kind::Text),
        UsageGroup::Key => column("key", Kind::Text),
        UsageGroup::User => column("user", Kind::Text),
        UsageGroup::Environment => column("environment", Kind::Text),
        UsageGroup::Provider => column("provider", Kind::Text),
        UsageGroup::Model => column("model", Kind::Text),
        UsageGroup::Tag => Column { name: format!("tag_{}", tag.unwrap_or_default()).into(), kind: Kind::Text },
    });
    groups.chain(SUMS.iter().cloned()).collect()
}

const SUM_COLUMNS: usize = 16;

const SUMS: [Column; SUM_COLUMNS] = [
    column("requests", Kind::Count),
    column("failed", Kind::Count),
    column("input_tokens", Kind::Count),
    column("cache_read_tokens", Kind::Count),
    column("cache_write_short_tokens", Kind::Count),
    column("cache_write_long_tokens", Kind::Count),
    column("output_tokens", Kind::Count),
    column("reasoning_tokens", Kind::Count),
    column("audio_input_tokens", Kind::Count),
    column("audio_output_tokens", Kind::Count),
    column("images", Kind::Count),
    column("searches", Kind::Count),
    column("estimated", Kind::Flag),
    column("unpriced_requests", Kind::Count),
    column("cost_usd", Kind::Money),
    column("cost_nano_usd", Kind::Count),
];

/// A row under [`usage_columns`] of the same groups.
pub fn usage_row(groups: &[UsageGroup], row: UsageRow) -> Vec<Cell> {
    let labels = groups.iter().map(|group| match group {
        UsageGroup::Day => row.day.clone().into(),
        UsageGroup::Organisation => row.organisation.map(|id| id.to_string()).into(),
        UsageGroup::Team => row.team.map(|id| id.to_string()).into(),
        UsageGroup::Key => row.key.map(|id| id.to_string()).into(),
        UsageGroup::User => row.user.clone().into(),
        UsageGroup::Environment => row.environment.clone().into(),
        UsageGroup::Provider => row.provider.clone().into(),
        UsageGroup::Model => row.model.clone().into(),
        UsageGroup::Tag => row.tag.clone().into(),
    });
    let usage = &row.usage;
    let sums: [Cell; SUM_COLUMNS] = [
        row.requests.into(),
        row.failed.into(),
        usage.input.into(),
        usage.cache_read.into(),
        usage.cache_write_short.into(),
        usage.cache_write_long.into(),
        usage.output.into(),
        usage.reasoning.into(),
        usage.audio_input.into(),
        usage.audio_output.into(),
        usage.images.into(),
        usage.searches.into(),
        usage.estimated.into(),
        row.unpriced.into(),
        row.cost.into(),
        row.cost.get().into(),
    ];
    labels.chain(sums).collect()
}

/// Columns of the audit trail.
pub const AUDIT: [Column; 10] = [
    column("seq", Kind::Count),
    column("time", Kind::Time),
    column("actor_kind", Kind::Text),
    column("actor_id", Kind::Text),
    column("address", Kind::Text),
    column("organisation", Kind::Text),
    column("action", Kind::Text),
    column("target", Kind::Text),
    column("before", Kind::Text),
    column("after", Kind::Text),
];

/// A row under [`AUDIT`]. What changed is JSON in a text.
pub fn audit_row(event: AuditEvent) -> Vec<Cell> {
    let AuditEvent { seq, event } = event;
    let json = |value: Option<Value>| Cell::from(value.map(|value| value.to_string()));
    vec![
        seq.into(),
        Cell::Time(event.time_ms),
        event.actor_kind.into(),
        event.actor_id.into(),
        event.address.into(),
        event.organisation.map(|id| id.to_string()).into(),
        event.action.into(),
        event.target.into(),
        json(event.before),
        json(event.after),
    ]
}

/// Columns of request records.
pub const REQUESTS: [Column; 29] = [
    column("request", Kind::Text),
    column("time", Kind::Time),
    column("organisation", Kind::Text),
    column("team", Kind::Text),
    column("key", Kind::Text),
    column("user", Kind::Text),
    column("environment", Kind::Text),
    column("requested_model", Kind::Text),
    column("provider", Kind::Text),
    column("model", Kind::Text),
    column("status", Kind::Count),
    column("outcome", Kind::Text),
    column("reason", Kind::Text),
    column("policy", Kind::Text),
    column("correlation", Kind::Text),
    column("input_tokens", Kind::Count),
    column("cache_read_tokens", Kind::Count),
    column("cache_write_short_tokens", Kind::Count),
    column("cache_write_long_tokens", Kind::Count),
    column("output_tokens", Kind::Count),
    column("reasoning_tokens", Kind::Count),
    column("audio_input_tokens", Kind::Count),
    column("audio_output_tokens", Kind::Count),
    column("images", Kind::Count),
    column("searches", Kind::Count),
    column("cost_usd", Kind::Money),
    column("cost_nano_usd", Kind::Count),
    column("total_us", Kind::Count),
    column("tags", Kind::Text),
];

/// A row under [`REQUESTS`]. Tags are a JSON object in a text, of a name that stands there twice the first; absent where there are none.
pub fn request_row(record: RequestRecord) -> Vec<Cell> {
    let usage = &record.usage;
    let mut tags = serde_json::Map::new();
    for tag in record.tags {
        tags.entry(tag.name).or_insert(Value::String(tag.value));
    }
    vec![
        record.id.to_string().into(),
        Cell::Time(record.time_ms),
        record.organisation.to_string().into(),
        record.team.map(|id| id.to_string()).into(),
        record.key.to_string().into(),
        record.user.into(),
        record.environment.as_str().to_owned().into(),
        record.requested_model.into(),
        record.provider.into(),
        record.model.into(),
        u64::from(record.status).into(),
        record.outcome.into(),
        record.reason.into(),
        record.policy.into(),
        record.correlation.into(),
        usage.input.into(),
        usage.cache_read.into(),
        usage.cache_write_short.into(),
        usage.cache_write_long.into(),
        usage.output.into(),
        usage.reasoning.into(),
        usage.audio_input.into(),
        usage.audio_output.into(),
        usage.images.into(),
        usage.searches.into(),
        record.cost.into(),
        record.cost.map(|cost| cost.get()).into(),
        record.total_us.into(),
        (!tags.is_empty()).then(|| Value::Object(tags).to_string()).into(),
    ]
}

/// Columns of the ledger.
pub const LEDGER: [Column; 15] = [
    column("request", Kind::Text),
    column("attempt", Kind::Count),
    column("step", Kind::Count),
    column("kind", Kind::Text),
    column("organisation", Kind::Text),
    column("key", Kind::Text),
    column("provider", Kind::Text),
    column("model", Kind::Text),
    column("reason", Kind::Text),
    column("reserved_at", Kind::Time),
    column("ended_at", Kind::Time),
    column("reserved_usd", Kind::Money),
    column("reserved_nano_usd", Kind::Count),
    column("amount_usd", Kind::Money),
    column("amount_nano_usd", Kind::Count),
];

/// A row under [`LEDGER`].
pub fn entry_row(entry: LedgerEntry) -> Vec<Cell> {
    vec![
        entry.request_id.to_string().into(),
        u64::from(entry.attempt).into(),
        u64::from(entry.step).into(),
        entry.kind.as_str().to_owned().into(),
        entry.organisation.to_string().into(),
        entry.key_id.to_string().into(),
        entry.provider.into(),
        entry.model.into(),
        entry.reason.into(),
        Cell::Time(entry.reserved_ms),
        Cell::Time(entry.ended_ms),
        entry.reserved.into(),
        entry.reserved.get().into(),
        entry.amount.into(),
        entry.amount.get().into(),
    ]
}
