//! Organisations, teams, members, tokens.

use std::sync::Arc;

use portcullis_core::{Environment, Grant, MemberId, OrganisationId, Permission, Role, Scope, TeamId};
use portcullis_store::backend::Backend;
use portcullis_store::{
    AccessPolicy, Actor, ActorKind, AuditFilter, AuditPage, MemberEdit, NewKey, NewMember, NewOrganisation, NewTeam,
    NewToken, Organisation, OrganisationEdit, Store, StoreError, Team, TeamEdit, TokenRefusal,
};

use super::keys::{cli, event, store};
use crate::common::NOW;

async fn organisation(store: &Store, name: &str) -> Organisation {
    store.create_organisation(&cli(), NewOrganisation { name: name.into(), ..Default::default() }).await.unwrap()
}

async fn team(store: &Store, organisation: OrganisationId, name: &str) -> Team {
    let new = NewTeam { organisation, name: name.into(), policy: AccessPolicy::default() };
    store.create_team(&cli(), new).await.unwrap()
}

fn holding(role: Role, scope: Scope) -> Actor {
    Actor { kind: ActorKind::Member(MemberId::from_bytes([5; 16])), address: None, grants: vec![Grant { role, scope }] }
}

/// Actions of the trail, oldest first.
async fn actions(store: &Store) -> Vec<String> {
    let events = store.audit_events(&AuditFilter::default(), AuditPage::After(0, 1_000)).await.unwrap();
    events.into_iter().map(|one| one.event.action).collect()
}

pub async fn organisations_and_teams_live(backend: Arc<dyn Backend>) {
    let (store, clock) = store(&backend);
    assert_eq!(store.organisation("default").await.unwrap().id, OrganisationId::DEFAULT);
    let policy = AccessPolicy { max_tier: Some("pro".into()), max_key_days: Some(90), ..Default::default() };
    let new = NewOrganisation { name: " Ångström & \"co\" ".into(), policy: policy.clone(), ..Default::default() };
    let made = store.create_organisation(&cli(), new).await.unwrap();
    assert_eq!((made.name.as_str(), &made.policy, made.version), ("Ångström & \"co\"", &policy, 1));
    assert_eq!(store.organisation("Ångström & \"co\"").await.unwrap(), made);
    assert_eq!(store.organisation(&made.id.to_string()).await.unwrap(), made);

    let red = team(&store, made.id, "red").await;
    team(&store, OrganisationId::DEFAULT, "red").await;
    assert_eq!(store.team(Some(made.id), "red").await.unwrap(), red);
    assert!(matches!(store.team(None, "red").await, Err(StoreError::Ambiguous { found: 2, .. })));
    assert!(matches!(
        store.team(Some(OrganisationId::DEFAULT), &red.id.to_string()).await,
        Err(StoreError::NotFound { .. })
    ));
    assert_eq!((store.teams(None).await.unwrap().len(), store.teams(Some(made.id)).await.unwrap().len()), (2, 1));

    clock.advance(10);
    let suspended = store.suspend_organisation(&cli(), made.id).await.unwrap();
    assert_eq!((suspended.suspended_ms, suspended.version), (Some(NOW + 10), 2));
    clock.advance(10);
    // Again is no change.
    assert_eq!(store.suspend_organisation(&cli(), made.id).await.unwrap(), suspended);
    assert_eq!(store.resume_organisation(&cli(), made.id).await.unwrap().suspended_ms, None);
    let edit = TeamEdit { name: Some("blue".into()), policy: Some(policy.clone()) };
    let blue = store.edit_team(&cli(), red.id, edit).await.unwrap();
    assert_eq!((blue.name.as_str(), &blue.policy, blue.version), ("blue", &policy, 2));
    assert_eq!(store.delete_team(&cli(), red.id).await.unwrap(), blue);
    assert_eq!(store.delete_organisation(&cli(), made.id).await.unwrap().id, made.id);
    assert_eq!(store.organisations().await.unwrap().len(), 1);
    assert!(matches!(store.delete_organisation(&cli(), made.id).await, Err(StoreError::NotFound { .. })));
    assert!(matches!(store.delete_organisation(&cli(), OrganisationId::DEFAULT).await, Err(StoreError::Invalid(_))));
    assert_eq!(
        actions(&store).await,
        [
            "organisation.create",
            "team.create",
            "team.create",
            "organisation.suspend",
            "organisation.resume",
            "team.edit",
            "team.delete",
            "organisation.delete",
        ]
    );
}

pub async fn a_change_and_its_event_are_one(backend: Arc<dyn Backend>) {
    let (store, _) = store(&backend);
    let made = organisation(&store, "a").await;
    let actor = Actor { address: Some("192.0.2.1".parse().unwrap()), ..cli() };
    let edit = OrganisationEdit { name: Some("b".into()), ..Default::default() };
    store.edit_organisation(&actor, made.id, edit).await.unwrap();
    let last = &store.audit_events(&AuditFilter::default(), AuditPage::Before(None, 1)).await.unwrap()[0].event;
    assert_eq!((last.action.as_str(), last.target.clone()), ("organisation.edit", made.id.to_string()));
    assert_eq!((last.actor_kind.as_str(), last.actor_id.as_deref()), ("cli", Some("ada")));
    assert_eq!((last.address.as_deref(), last.organisation), (Some("192.0.2.1"), Some(made.id)));
    assert_eq!(last.before, Some(serde_json::json!({"name": "a", "version": 1})));
    assert_eq!(last.after, Some(serde_json::json!({"name": "b", "version": 2})));
    // What is refused leaves neither a change nor an event: a name that is taken, a row that moved on.
    let count = actions(&store).await.len();
    let edit = OrganisationEdit { name: Some("default".into()), ..Default::default() };
    assert!(matches!(store.edit_organisation(&actor, made.id, edit).await, Err(StoreError::Taken { .. })));
    let stale = Organisation { name: "c".into(), version: 2, ..made.clone() };
    assert!(!backend.update_organisation(&stale, true, &event("organisation.edit")).await.unwrap());
    assert!(!backend.delete_organisation(made.id, 1, &event("organisation.delete")).await.unwrap());
    assert_eq!(store.organisation(&made.id.to_string()).await.unwrap().name, "b");
    assert_eq!(actions(&store).await.len(), count);
    // A key's event has no secret and no hash.
    let key = store.create_key(&cli(), NewKey::new("k", Environment::Production)).await.unwrap();
    let last = &store.audit_events(&AuditFilter::default(), AuditPage::Before(None, 1)).await.unwrap()[0].event;
    let text = last.after.as_ref().unwrap().to_string();
    assert!(text.contains(key.record.prefix.as_str()) && !text.contains(&key.secret.expose()[12..20]), "{text}");
}

pub async fn names_are_unlike(backend: Arc<dyn Backend>) {
    let (store, _) = store(&backend);
    let taken =
        |outcome: Result<(), StoreError>| assert!(matches!(outcome, Err(StoreError::Taken { .. })), "{outcome:?}");
    let new = NewOrganisation { name: "default".into(), ..Default::default() };
    taken(store.create_organisation(&cli(), new).await.map(|_| ()));
    team(&store, OrganisationId::DEFAULT, "red").await;
    let new = NewTeam { organisation: OrganisationId::DEFAULT, name: "red".into(), policy: AccessPolicy::default() };
    taken(store.create_team(&cli(), new).await.map(|_| ()));
    let grants = vec![Grant { role: Role::Auditor, scope: Scope::All }];
    let new = || NewMember { email: "Ada@Example.org".into(), name: "Ada".into(), grants: grants.clone() };
    store.create_member(&cli(), new()).await.unwrap();
    taken(store.create_member(&cli(), new()).await.map(|_| ()));
    for name in ["", "  ", "a\nb", &"x".repeat(201)] {
        let new = NewOrganisation { name: name.into(), ..Default::default() };
        assert!(matches!(store.create_organisation(&cli(), new).await, Err(StoreError::Invalid(_))), "{name:?}");
    }
    let nowhere = NewTeam {
        organisation: OrganisationId::from_bytes([9; 16]),
        name: "t".into(),
        policy: AccessPolicy::default(),
    };
    assert!(matches!(store.create_team(&cli(), nowhere).await, Err(StoreError::NoSuchOwner)));
}

pub async fn what_is_referred_to_stays(backend: Arc<dyn Backend>) {
    let (store, _) = store(&backend);
    let made = organisation(&store, "a").await;
    let red = team(&store, made.id, "red").await;
    let in_use =
        |outcome: Result<(), StoreError>| assert!(matches!(outcome, Err(StoreError::InUse { .. })), "{outcome:?}");
    in_use(store.delete_organisation(&cli(), made.id).await.map(|_| ()));
    let grants = vec![Grant { role: Role::Developer, scope: red.scope() }];
    let new = NewMember { email: "a@b.c".into(), name: "A".into(), grants };
    let member = store.create_member(&cli(), new).await.unwrap();
    in_use(store.delete_team(&cli(), red.id).await.map(|_| ()));
    store.delete_member(&cli(), member.id).await.unwrap();
    store.delete_team(&cli(), red.id).await.unwrap();
    let new = NewKey { organisation: made.id, ..NewKey::new("k", Environment::Production) };
    store.create_key(&cli(), new).await.unwrap();
    in_use(store.delete_organisation(&cli(), made.id).await.map(|_| ()));
}

pub async fn nobody_does_what_was_not_granted(backend: Arc<dyn Backend>) {
    let (store, _) = store(&backend);
    let (ours, theirs) = (organisation(&store, "ours").await, organisation(&store, "theirs").await);
    let (red, blue) = (team(&store, ours.id, "red").await, team(&store, ours.id, "blue").await);
    let count = actions(&store).await.len();
    let forbidden = |outcome: Result<(), StoreError>, permission| match outcome {
        Err(StoreError::Forbidden { permission: needed }) => assert_eq!(needed, permission),
        other => panic!("{permission}: {other:?}"),
    };
    let admin = holding(Role::OrganisationAdmin, Scope::Organisation(ours.id));
    let team_admin = holding(Role::TeamAdmin, red.scope());
    let developer = holding(Role::Developer, red.scope());
    let auditor = holding(Role::Auditor, Scope::All);
    use Permission as P;
    let new = || NewOrganisation { name: "new".into(), ..Default::default() };
    forbidden(store.create_organisation(&admin, new()).await.map(|_| ()), P::OrganisationsManage);
    forbidden(store.suspend_organisation(&admin, ours.id).await.map(|_| ()), P::OrganisationsManage);
    forbidden(store.edit_organisation(&admin, theirs.id, Default::default()).await.map(|_| ()), P::OrganisationsEdit);
    forbidden(
        store.edit_organisation(&team_admin, ours.id, Default::default()).await.map(|_| ()),
        P::OrganisationsEdit,
    );
    forbidden(store.edit_team(&team_admin, blue.id, Default::default()).await.map(|_| ()), P::TeamsEdit);
    forbidden(store.delete_team(&team_admin, red.id).await.map(|_| ()), P::TeamsManage);
    forbidden(store.edit_team(&auditor, red.id, Default::default()).await.map(|_| ()), P::TeamsEdit);
    forbidden(store.bootstrap(&admin, true).await.map(|_| ()), P::SystemWrite);
    let key = |team: Option<TeamId>, member| NewKey {
        organisation: ours.id,
        team,
        member,
        ..NewKey::new("k", Environment::Production)
    };
    for (actor, team) in [(&team_admin, None), (&team_admin, Some(blue.id)), (&developer, Some(red.id))] {
        forbidden(store.create_key(actor, key(team, None)).await.map(|_| ()), P::KeysWrite);
    }
    assert_eq!(actions(&store).await.len(), count);

    // What was granted is done.
    store.edit_team(&team_admin, red.id, TeamEdit { name: Some("rot".into()), ..Default::default() }).await.unwrap();
    let made = store.create_key(&team_admin, key(Some(red.id), None)).await.unwrap().record;
    forbidden(store.revoke_key(&developer, made.id).await.map(|_| ()), P::KeysWrite);
    // A developer makes keys of their own, in their team, and changes no others.
    let grants = vec![Grant { role: Role::Developer, scope: red.scope() }];
    let new = NewMember { email: "dev@b.c".into(), name: "Dev".into(), grants };
    let member = store.create_member(&admin, new).await.unwrap();
    let dev = Actor::member(&member, None);
    let own = store.create_key(&dev, key(Some(red.id), Some(member.id))).await.unwrap().record;
    store.revoke_key(&dev, own.id).await.unwrap();
    forbidden(store.create_key(&dev, key(Some(blue.id), Some(member.id))).await.map(|_| ()), P::KeysWrite);
    forbidden(store.revoke_key(&dev, made.id).await.map(|_| ()), P::KeysWrite);
}

pub async fn members_come_back_as_they_were(backend: Arc<dyn Backend>) {
    let (store, _) = store(&backend);
    let made = organisation(&store, "a").await;
    let red = team(&store, made.id, "red").await;
    let grants = vec![
        Grant { role: Role::TeamAdmin, scope: red.scope() },
        Grant { role: Role::Billing, scope: Scope::Organisation(made.id) },
        Grant { role: Role::Auditor, scope: Scope::All },
    ];
    let new = NewMember { email: " Ada@Example.ORG ".into(), name: "Ada \u{1F511}".into(), grants: grants.clone() };
    let ada = store.create_member(&cli(), new).await.unwrap();
    assert_eq!((ada.email.as_str(), ada.organisation()), ("ada@example.org", None));
    assert_eq!(store.member("ADA@example.org").await.unwrap(), ada);
    assert_eq!(store.member(&ada.id.to_string()).await.unwrap(), ada);
    let edit = MemberEdit { grants: Some(grants[..1].to_vec()), ..Default::default() };
    let edited = store.edit_member(&cli(), ada.id, edit).await.unwrap();
    assert_eq!((edited.grants.as_slice(), edited.organisation()), (&grants[..1], Some(made.id)));
    assert_eq!(store.members().await.unwrap(), [edited]);
    assert!(store.suspend_member(&cli(), ada.id).await.unwrap().suspended_ms.is_some());
    assert!(store.resume_member(&cli(), ada.id).await.unwrap().suspended_ms.is_none());
    let refused = async |grants: Vec<Grant>, email: &str| {
        store.create_member(&cli(), NewMember { email: email.into(), name: "B".into(), grants }).await.unwrap_err()
    };
    let all = |role| vec![Grant { role, scope: Scope::All }];
    assert!(matches!(refused(vec![], "b@b.c").await, StoreError::Invalid(_)));
    assert!(matches!(refused(all(Role::TeamAdmin), "b@b.c").await, StoreError::Invalid(_)));
    assert!(matches!(refused(all(Role::Auditor), "b.c").await, StoreError::Invalid(_)));
    let elsewhere = Scope::Team(OrganisationId::DEFAULT, red.id);
    let grants = vec![Grant { role: Role::Developer, scope: elsewhere }];
    assert!(matches!(refused(grants, "b@b.c").await, StoreError::NoSuchOwner));
}

pub async fn nobody_gives_what_they_have_not(backend: Arc<dyn Backend>) {
    let (store, _) = store(&backend);
    let ours = organisation(&store, "ours").await;
    let red = team(&store, ours.id, "red").await;
    let admin = holding(Role::OrganisationAdmin, Scope::Organisation(ours.id));
    let team_admin = holding(Role::TeamAdmin, red.scope());
    let grant = |role, scope| vec![Grant { role, scope }];
    let member = async |actor: &Actor, email: &str, grants: Vec<Grant>| {
        store.create_member(actor, NewMember { email: email.into(), name: "M".into(), grants }).await
    };
    let root = member(&cli(), "root@b.c", grant(Role::Superadmin, Scope::All)).await.unwrap();
    let mate = member(&admin, "mate@b.c", grant(Role::OrganisationAdmin, Scope::Organisation(ours.id))).await.unwrap();
    assert!(matches!(
        member(&admin, "x@b.c", grant(Role::Superadmin, Scope::All)).await,
        Err(StoreError::Forbidden { permission: Permission::MembersWrite })
    ));
    let within = Scope::Organisation(ours.id);
    let outcome = member(&team_admin, "x@b.c", grant(Role::Developer, within)).await;
    assert!(matches!(outcome, Err(StoreError::Forbidden { .. })), "{outcome:?}");
    let outcome = member(&team_admin, "x@b.c", grant(Role::Billing, red.scope())).await;
    assert!(matches!(outcome, Err(StoreError::NotGiven { role: Role::Billing })), "{outcome:?}");
    // Nor do they take it, nor raise themselves by an edit.
    for outcome in [
        store.suspend_member(&admin, root.id).await,
        store.delete_member(&team_admin, mate.id).await,
        store.edit_member(&team_admin, mate.id, MemberEdit { name: Some("x".into()), ..Default::default() }).await,
    ] {
        assert!(matches!(outcome, Err(StoreError::Forbidden { .. } | StoreError::NotGiven { .. })), "{outcome:?}");
    }
    let edit = MemberEdit { grants: Some(grant(Role::Superadmin, Scope::All)), ..Default::default() };
    assert!(store.edit_member(&admin, mate.id, edit).await.is_err());
    let new = NewToken { name: "t".into(), grants: grant(Role::Superadmin, Scope::All), ..Default::default() };
    assert!(store.create_token(&admin, new).await.is_err());
    let made = store.bootstrap(&cli(), false).await.unwrap();
    assert!(store.revoke_token(&admin, made.record.id).await.is_err());
}

pub async fn a_login_binds_its_member(backend: Arc<dyn Backend>) {
    let (store, clock) = store(&backend);
    let grants = vec![Grant { role: Role::Auditor, scope: Scope::All }];
    let new = |email: &str| NewMember { email: email.into(), name: "M".into(), grants: grants.clone() };
    let ada = store.create_member(&cli(), new("ada@b.c")).await.unwrap();
    let login = async |subject: &str, email: Option<&str>| {
        store.member_login("https://id.example", subject, email, None).await.unwrap().map(|member| member.id)
    };
    assert_eq!(login("1", None).await, None);
    assert_eq!(login("1", Some("nobody@b.c")).await, None);
    clock.advance(7);
    assert_eq!(login("1", Some("ADA@b.c")).await, Some(ada.id));
    assert_eq!(store.member("ada@b.c").await.unwrap().last_seen_ms, Some(NOW + 7));
    // From now on it is the subject that counts, and nobody else comes in by the address.
    assert_eq!(login("1", Some("other@b.c")).await, Some(ada.id));
    assert_eq!(login("2", Some("ada@b.c")).await, None);
    store.suspend_member(&cli(), ada.id).await.unwrap();
    assert_eq!(login("1", None).await, None);
}

pub async fn tokens_are_authenticated(backend: Arc<dyn Backend>) {
    let (store, clock) = store(&backend);
    let made = organisation(&store, "a").await;
    let grants = vec![Grant { role: Role::Billing, scope: Scope::Organisation(made.id) }];
    let new = NewToken { name: "ci".into(), grants: grants.clone(), expires_ms: Some(NOW + 100), ..Default::default() };
    let token = store.create_token(&cli(), new).await.unwrap();
    let address = Some("192.0.2.1".parse().unwrap());
    let shown = async |text: &str| store.authenticate_token(text, address).await.unwrap();
    let actor = shown(token.secret.expose()).await.unwrap();
    assert_eq!(actor, Actor { kind: ActorKind::Token(token.record.id), address, grants: grants.clone() });
    assert_eq!(store.token(token.secret.prefix()).await.unwrap().last_used_ms, Some(NOW));
    let other = portcullis_core::AdminSecret::generate(&mut rand::rng());
    assert_eq!(shown(other.expose()).await, Err(TokenRefusal::Unknown));
    assert_eq!(shown("pca_nonsense").await, Err(TokenRefusal::Unknown));
    clock.advance(100);
    assert_eq!(shown(token.secret.expose()).await, Err(TokenRefusal::Expired));
    store.revoke_token(&cli(), token.record.id).await.unwrap();
    assert_eq!(shown(token.secret.expose()).await, Err(TokenRefusal::Revoked));
    let listed = store.tokens().await.unwrap();
    assert_eq!((listed.len(), listed[0].state(NOW), &listed[0].grants), (1, "revoked", &grants));
    let expired = NewToken { name: "x".into(), grants, expires_ms: Some(NOW), ..Default::default() };
    assert!(matches!(store.create_token(&cli(), expired).await, Err(StoreError::Invalid(_))));
}

pub async fn a_member_s_token_is_no_more_than_the_member(backend: Arc<dyn Backend>) {
    let (store, _) = store(&backend);
    let made = organisation(&store, "a").await;
    let within = Scope::Organisation(made.id);
    let of = |role| Grant { role, scope: within };
    let new = NewMember { email: "a@b.c".into(), name: "A".into(), grants: vec![of(Role::OrganisationAdmin)] };
    let member = store.create_member(&cli(), new).await.unwrap();
    let own = Actor::member(&member, None);
    let new = |grants| NewToken { name: "mine".into(), grants, member: Some(member.id), ..Default::default() };
    let token = store.create_token(&own, new(vec![of(Role::Billing), of(Role::OrganisationAdmin)])).await.unwrap();
    let too_much = new(vec![Grant { role: Role::Auditor, scope: Scope::All }]);
    assert!(store.create_token(&own, too_much).await.is_err());
    let shown = async || store.authenticate_token(token.secret.expose(), None).await.unwrap();
    let actor = shown().await.unwrap();
    assert_eq!((actor.kind, actor.grants.len()), (ActorKind::Member(member.id), 2));
    let edit = MemberEdit { grants: Some(vec![of(Role::Billing)]), ..Default::default() };
    store.edit_member(&cli(), member.id, edit).await.unwrap();
    assert_eq!(shown().await.unwrap().grants, [of(Role::Billing)]);
    store.suspend_member(&cli(), member.id).await.unwrap();
    assert_eq!(shown().await, Err(TokenRefusal::Suspended));
    store.delete_member(&cli(), member.id).await.unwrap();
    assert_eq!(shown().await, Err(TokenRefusal::Revoked));
}

pub async fn a_superadmin_is_made_once(backend: Arc<dyn Backend>) {
    let (store, _) = store(&backend);
    let first = store.bootstrap(&cli(), false).await.unwrap();
    let actor = store.authenticate_token(first.secret.expose(), None).await.unwrap().unwrap();
    assert_eq!(actor.grants, [Grant::SUPERADMIN]);
    let refused = store.bootstrap(&cli(), false).await.unwrap_err();
    assert!(refused.to_string().contains("already"), "{refused}");
    let second = store.bootstrap(&cli(), true).await.unwrap();
    assert_eq!(actions(&store).await, ["admin.bootstrap", "admin.recover"]);
    for token in [first, second] {
        store.revoke_token(&cli(), token.record.id).await.unwrap();
    }
    store.bootstrap(&cli(), false).await.unwrap();
}
