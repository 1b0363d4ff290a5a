//! Request records: found by whatever they are searched by.

use std::sync::Arc;

use portcullis_core::receipt::{PluginCall, Tag};
use portcullis_core::{Environment, KeyId, OrganisationId, RequestId, TeamId, Usage};
use portcullis_store::backend::Backend;
use portcullis_store::{Batch, RequestFilter, RequestRow, UsageFilter, UsageGroup};

use crate::common::*;

pub async fn requests_are_found(backend: Arc<dyn Backend>) {
    let (team, key) = (TeamId::from_bytes([3; 16]), KeyId::from_bytes([1; 16]));
    let tag = Tag { name: "job".into(), value: "nightly \"x\"".into() };
    let mut made: Vec<_> = (0..5u64)
        .map(|number| {
            let id = RequestId::new(NOW + number * 1_000, &mut rand::rng());
            let mut one = receipt(id, key, OrganisationId::DEFAULT, Usage { input: number + 1, ..Usage::default() });
            one.time_ms = NOW + number * 1_000;
            one
        })
        .collect();
    made[1].caller.team = Some(team);
    made[1].caller.user = Some("ada".into());
    made[2].tags = vec![Tag { name: "other".into(), value: "y".into() }, tag.clone()];
    made[3].caller.organisation = OrganisationId::from_bytes([8; 16]);
    made.push(denied(RequestId::new(NOW + 9_000, &mut rand::rng()), KeyId::from_bytes([2; 16])));
    made[5].time_ms = NOW + 9_000;
    made[5].outcome.reason = Some("policy.no".into());
    made[4].correlation = Some("client-7".into());
    made[4].timings.total_us = 77_000_000;
    made[4].caller.environment = Environment::Production;
    made[4].plugins = ["guard", "policy", "policy"]
        .into_iter()
        .zip(["block.pii", "allow", "constrain"])
        .map(|(role, verdict)| PluginCall {
            name: "rules".into(),
            version: "1".into(),
            hash: "ab".into(),
            role: role.into(),
            verdict: verdict.into(),
            micros: 1,
            calls: 1,
        })
        .collect();
    let tags: Vec<_> = made.iter().map(|one| serde_json::to_string(&one.tags).unwrap()).collect();
    let rows = made.iter().zip(&tags);
    let requests = rows
        .map(|(one, tags)| RequestRow::of(one, Some(tags.as_str()).filter(|_| !one.tags.is_empty()), None))
        .collect();
    backend.write([1; 16], &Batch { requests, ..Batch::default() }).await.unwrap();

    let number = |id| made.iter().position(|one| one.request_id == id).unwrap();
    let found = async |filter: RequestFilter| {
        let found = backend.requests(&filter, 10).await.unwrap();
        found.iter().map(|one| number(one.id)).collect::<Vec<_>>()
    };
    let of = RequestFilter::default;
    assert_eq!(found(of()).await, [5, 4, 3, 2, 1, 0]);
    assert_eq!(found(RequestFilter { since_ms: Some(NOW + 1_000), until_ms: Some(NOW + 3_000), ..of() }).await, [2, 1]);
    assert_eq!(found(RequestFilter { before: Some(made[2].request_id), ..of() }).await, [1, 0]);
    let both = RequestFilter { before: Some(made[4].request_id), until_ms: Some(NOW + 1_000), ..of() };
    assert_eq!(found(both).await, [0]);
    assert_eq!(found(RequestFilter { team: Some(team), ..of() }).await, [1]);
    assert_eq!(found(RequestFilter { user: Some("ada".into()), ..of() }).await, [1]);
    assert_eq!(found(RequestFilter { tag: Some(tag), ..of() }).await, [2]);
    assert_eq!(found(RequestFilter { organisation: Some(OrganisationId::from_bytes([8; 16])), ..of() }).await, [3]);
    assert_eq!(found(RequestFilter { key: Some(KeyId::from_bytes([2; 16])), ..of() }).await, [5]);
    assert_eq!(found(RequestFilter { provider: Some("openai".into()), ..of() }).await, [4, 3, 2, 1, 0]);
    assert_eq!(found(RequestFilter { model: Some("auto".into()), ..of() }).await, [5]);
    let status = made[5].outcome.status;
    assert_eq!(found(RequestFilter { status_from: Some(400), status_to: Some(status), ..of() }).await, [5]);
    assert_eq!(found(RequestFilter { status_from: Some(status + 1), ..of() }).await, [0usize; 0]);
    assert_eq!(found(RequestFilter { outcome: Some("denied".into()), ..of() }).await, [5]);
    let known = made[0].cost.as_ref().unwrap().total_nano;
    assert_eq!(found(RequestFilter { reason: Some("policy.no".into()), ..of() }).await, [5]);
    assert_eq!(found(RequestFilter { policy: Some("constrain".into()), ..of() }).await, [4]);
    assert_eq!(found(RequestFilter { policy: Some("allow".into()), ..of() }).await, [5, 3, 2, 1, 0]);
    assert_eq!(found(RequestFilter { correlation: Some("client-7".into()), ..of() }).await, [4]);
    let elsewhere = RequestFilter { correlation: Some("client-7".into()), team: Some(team), ..of() };
    assert_eq!(found(elsewhere).await, [0usize; 0]);
    assert_eq!(found(RequestFilter { environment: Some(Environment::Production), ..of() }).await, [4]);
    assert_eq!(found(RequestFilter { cost_from: Some(known), ..of() }).await, [4, 3, 2, 1, 0]);
    assert_eq!(found(RequestFilter { cost_from: Some(nano(known.get() + 1)), ..of() }).await, [4, 3, 2, 1]);
    assert_eq!(found(RequestFilter { cost_to: Some(known), ..of() }).await, [0]);
    assert_eq!(found(RequestFilter { cost_to: Some(nano(known.get() - 1)), ..of() }).await, [0usize; 0]);
    assert_eq!(found(RequestFilter { us_from: Some(77_000_000), ..of() }).await, [4]);
    assert_eq!(found(RequestFilter { us_to: Some(76_999_999), ..of() }).await, [5, 3, 2, 1, 0]);
    assert_eq!(backend.requests(&of(), 2).await.unwrap().len(), 2);
    let constrained = backend.request(made[4].request_id).await.unwrap().unwrap();
    assert_eq!(
        (constrained.policy.as_deref(), constrained.correlation.as_deref(), constrained.reason),
        (Some("constrain"), Some("client-7"), None)
    );

    let one = backend.request(made[2].request_id).await.unwrap().unwrap();
    assert_eq!((one.time_ms, one.key, one.tags.as_slice()), (NOW + 2_000, key, made[2].tags.as_slice()));
    assert_eq!((one.usage.input, one.cost), (3, made[2].cost.as_ref().map(|cost| cost.total_nano)));
    assert_eq!((one.provider.as_deref(), one.model.as_deref()), (Some("openai"), Some("gpt-4o-mini")));
    assert_eq!(backend.request(request_id()).await.unwrap(), None);

    let groups = vec![UsageGroup::Organisation, UsageGroup::Team, UsageGroup::User];
    let sums = backend.usage(&UsageFilter { groups, team: Some(team), ..UsageFilter::default() }).await.unwrap();
    let sum = &sums[0];
    assert_eq!(
        (sum.organisation, sum.team, sum.user.as_deref()),
        (Some(OrganisationId::DEFAULT), Some(team), Some("ada"))
    );
    assert_eq!((sums.len(), sum.requests, sum.environment.as_deref()), (1, 1, None));
    let user =
        UsageFilter { user: Some("ada".into()), groups: vec![UsageGroup::Environment], ..UsageFilter::default() };
    assert_eq!(backend.usage(&user).await.unwrap()[0].environment.as_deref(), Some("development"));
}
