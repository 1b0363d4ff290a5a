//! Connections on every database: what is kept, who may see and change it, and that no credential is told.

mod common;

use common::*;
use portcullis_core::{Grant, OrganisationId, Role, Scope};
use portcullis_store::{
    Actor, ActorKind, AuditFilter, AuditPage, ConnectionEdit, ConnectionSecret, Keyring, MasterKey, NewConnection,
    Store, StoreError,
};
use serde_json::{Map, Value, json};

macro_rules! on_every_database {
    ($($check:ident),* $(,)?) => {
        mod sqlite {
            $(
                #[tokio::test]
                async fn $check() {
                    let database = super::Database::sqlite();
                    super::$check(database.open().await).await;
                }
            )*
        }

        mod postgres {
            $(
                #[tokio::test]
                async fn $check() {
                    let Some(database) = super::Database::postgres() else { return };
                    super::$check(database.open().await).await;
                }
            )*
        }
    };
}

on_every_database!(
    a_connection_is_kept_changed_and_deleted,
    names_are_an_owner_s_own,
    an_organisation_sees_its_own_and_everybody_s,
    a_new_master_key_takes_over,
    changes_at_once_are_all_made,
    a_credential_is_not_sent_elsewhere_unless_it_is_given,
);

fn ring(letter: &str) -> Keyring {
    Keyring::new(master(letter), Vec::new())
}

fn master(letter: &str) -> MasterKey {
    MasterKey::given(&letter.repeat(32)).unwrap()
}

fn settings() -> Map<String, Value> {
    json!({"plugin": "openai", "base_url": "https://api.example/v1", "only": ["a'b \"c\""]})
        .as_object()
        .unwrap()
        .clone()
}

fn new(organisation: Option<OrganisationId>, name: &str) -> NewConnection {
    NewConnection {
        organisation,
        name: name.into(),
        provider: "openai".into(),
        settings: settings(),
        weight: 3,
        secret: ConnectionSecret::new("sk-very-secret"),
    }
}

fn admin() -> Actor {
    Actor::cli("ada")
}

fn of(organisation: OrganisationId, role: Role) -> Actor {
    Actor {
        kind: ActorKind::System,
        address: None,
        grants: vec![Grant { role, scope: Scope::Organisation(organisation) }],
    }
}

async fn trail(store: &Store) -> Vec<(String, String)> {
    let filter = AuditFilter { action: Some("connection.".into()), ..AuditFilter::default() };
    let events = store.audit_events(&filter, AuditPage::After(0, 100)).await.unwrap();
    let told = |event: &portcullis_store::NewEvent| format!("{:?} {:?}", event.before, event.after);
    events.into_iter().map(|event| (event.event.action.clone(), told(&event.event))).collect()
}

async fn a_connection_is_kept_changed_and_deleted(store: Store) {
    let (admin, ring) = (admin(), ring("a"));
    assert_eq!(store.connections_revision().await.unwrap(), 0);
    let made = store.create_connection(&admin, &ring, new(None, "main")).await.unwrap();
    assert_eq!(store.connection(&admin, "main").await.unwrap(), made);
    assert_eq!(store.connection(&admin, &made.id.to_string()).await.unwrap(), made);
    assert_eq!((&made.settings, made.weight, made.master), (&settings(), 3, ring.name().unwrap()));
    assert_eq!(store.connections_revision().await.unwrap(), 1);

    let edit = ConnectionEdit { weight: Some(0), suspended: Some(true), ..ConnectionEdit::default() };
    let edited = store.edit_connection(&admin, &ring, "main", &edit).await.unwrap();
    assert!(edited.weight == 0 && edited.suspended_ms.is_some() && edited.name == "main");
    assert!(store.open_connections(&ring).await.unwrap().is_empty(), "it is suspended");
    let edit = ConnectionEdit { suspended: Some(false), name: Some("other".into()), ..ConnectionEdit::default() };
    store.edit_connection(&admin, &ring, "main", &edit).await.unwrap();
    let bad = ConnectionEdit { settings: Some(Map::new()), ..ConnectionEdit::default() };
    assert!(matches!(store.edit_connection(&admin, &ring, "other", &bad).await, Err(StoreError::Invalid(_))));

    let opened = store.open_connections(&ring).await.unwrap();
    assert_eq!(opened[0].1.as_ref().unwrap().expose(), "sk-very-secret");
    let rotated = store.rotate_connection(&admin, &ring, "other", &ConnectionSecret::new("sk-new")).await.unwrap();
    assert!(rotated.rotated_ms.is_some());
    assert_eq!(store.open_connection(&admin, &ring, "other").await.unwrap().secret.expose(), "sk-new");

    let deleted = store.delete_connection(&admin, "other").await.unwrap();
    assert_eq!(deleted.id, made.id);
    assert!(matches!(store.connection(&admin, "other").await, Err(StoreError::NotFound { .. })));
    assert_eq!(store.connections_revision().await.unwrap(), 5);
    let trail = trail(&store).await;
    let actions: Vec<&str> = trail.iter().map(|(action, _)| action.as_str()).collect();
    assert_eq!(
        actions,
        ["connection.create", "connection.edit", "connection.edit", "connection.rotate", "connection.delete"]
    );
    assert!(trail.iter().all(|(_, told)| !told.contains("sk-")), "{trail:?}");
}

async fn names_are_an_owner_s_own(store: Store) {
    let (admin, ring, own) = (admin(), ring("a"), Some(OrganisationId::DEFAULT));
    store.create_connection(&admin, &ring, new(None, "main")).await.unwrap();
    store.create_connection(&admin, &ring, new(own, "main")).await.unwrap();
    for owner in [None, own] {
        let again = store.create_connection(&admin, &ring, new(owner, "main")).await;
        assert!(matches!(again, Err(StoreError::Taken { .. })), "{again:?}");
    }
    let nobody = Some(OrganisationId::from_bytes([9; 16]));
    let orphan = store.create_connection(&admin, &ring, new(nobody, "main")).await;
    assert!(matches!(orphan, Err(StoreError::NoSuchOwner)), "{orphan:?}");
    // A name that means two means none.
    assert!(matches!(store.connection(&admin, "main").await, Err(StoreError::Invalid(_))));
    let second = store.create_connection(&admin, &ring, new(own, "second")).await.unwrap();
    let edit = ConnectionEdit { name: Some("main".into()), ..ConnectionEdit::default() };
    assert!(matches!(store.edit_connection(&admin, &ring, "second", &edit).await, Err(StoreError::Taken { .. })));
    assert_eq!(store.connection(&admin, "second").await.unwrap(), second);
}

async fn an_organisation_sees_its_own_and_everybody_s(store: Store) {
    let (ring, own) = (ring("a"), OrganisationId::DEFAULT);
    let stranger = OrganisationId::from_bytes([9; 16]);
    store.create_connection(&admin(), &ring, new(None, "shared")).await.unwrap();
    let owner = of(own, Role::OrganisationAdmin);
    store.create_connection(&owner, &ring, new(Some(own), "mine")).await.unwrap();
    for (actor, organisation) in [
        (of(own, Role::OrganisationAdmin), None),
        (of(stranger, Role::OrganisationAdmin), Some(own)),
        (of(own, Role::Developer), Some(own)),
    ] {
        let refused = store.create_connection(&actor, &ring, new(organisation, "x")).await;
        assert!(matches!(refused, Err(StoreError::Forbidden { .. })), "{refused:?}");
    }
    let names = |records: Vec<portcullis_store::ConnectionRecord>| {
        let mut names: Vec<_> = records.into_iter().map(|record| record.name).collect();
        // Two of one millisecond have no order.
        names.sort();
        names
    };
    assert_eq!(names(store.connections(&admin(), None).await.unwrap()), ["mine", "shared"]);
    assert_eq!(names(store.connections(&owner, Some(own)).await.unwrap()), ["mine"]);
    let other = of(stranger, Role::OrganisationAdmin);
    assert!(names(store.connections(&other, None).await.unwrap()).is_empty());
    assert!(store.connections(&other, Some(own)).await.is_err());
    assert!(matches!(store.delete_connection(&other, "mine").await, Err(StoreError::NotFound { .. })));
    assert!(matches!(
        store.delete_connection(&of(own, Role::Auditor), "mine").await,
        Err(StoreError::Forbidden { .. })
    ));
    assert!(matches!(
        store.open_connection(&of(own, Role::Auditor), &ring, "mine").await,
        Err(StoreError::Forbidden { .. })
    ));
    store.delete_connection(&owner, "mine").await.unwrap();
}

async fn a_new_master_key_takes_over(store: Store) {
    let (admin, old) = (admin(), ring("a"));
    for name in ["one", "two"] {
        store.create_connection(&admin, &old, new(None, name)).await.unwrap();
    }
    assert_eq!(store.rewrap_connections(&admin, &old).await.unwrap(), 0);
    let new = ring("b");
    assert!(matches!(store.rewrap_connections(&admin, &new).await, Err(StoreError::Sealed)));
    let unopened = store.open_connections(&new).await.unwrap();
    assert!(unopened.iter().all(|(_, secret)| secret.is_err()) && unopened.len() == 2);
    let both = Keyring::new(master("b"), vec![master("a")]);
    assert_eq!(store.rewrap_connections(&admin, &both).await.unwrap(), 2);
    assert_eq!(store.rewrap_connections(&admin, &both).await.unwrap(), 0);
    for (record, secret) in store.open_connections(&new).await.unwrap() {
        assert_eq!((secret.unwrap().expose(), record.master), ("sk-very-secret", new.name().unwrap()));
    }
    let refused = store.rewrap_connections(&of(OrganisationId::DEFAULT, Role::OrganisationAdmin), &both).await;
    assert!(matches!(refused, Err(StoreError::Forbidden { .. })));
}

async fn changes_at_once_are_all_made(store: Store) {
    let (admin, ring) = (admin(), ring("a"));
    store.create_connection(&admin, &ring, new(None, "main")).await.unwrap();
    let weight = ConnectionEdit { weight: Some(7), ..ConnectionEdit::default() };
    let provider = ConnectionEdit { provider: Some("other".into()), ..ConnectionEdit::default() };
    let secret = ConnectionSecret::new("sk-new");
    let (one, two, three) = tokio::join!(
        store.edit_connection(&admin, &ring, "main", &weight),
        store.edit_connection(&admin, &ring, "main", &provider),
        store.rotate_connection(&admin, &ring, "main", &secret),
    );
    one.unwrap();
    two.unwrap();
    three.unwrap();
    let opened = store.open_connection(&admin, &ring, "main").await.unwrap();
    assert_eq!((opened.record.weight, opened.record.provider.as_str(), opened.secret.expose()), (7, "other", "sk-new"));
    assert_eq!(trail(&store).await.len(), 4);
}

async fn a_credential_is_not_sent_elsewhere_unless_it_is_given(store: Store) {
    let (admin, ring) = (admin(), ring("a"));
    let made = store.create_connection(&admin, &ring, new(None, "main")).await.unwrap();
    let with = |name: &str, value: Value| {
        let mut settings = made.settings.clone();
        settings.insert(name.to_owned(), value);
        ConnectionEdit { settings: Some(settings), ..ConnectionEdit::default() }
    };
    let elsewhere = [
        with("base_url", json!("https://elsewhere.example/v1")),
        with("auth", json!("query:key")),
        with("allow_http", json!(true)),
        with("plugin", json!("other")),
    ];
    for edit in elsewhere {
        let refused = store.edit_connection(&admin, &ring, "main", &edit).await;
        assert!(matches!(&refused, Err(StoreError::Invalid(why)) if why.contains("credential")), "{refused:?}");
        let edit = ConnectionEdit { secret: Some(ConnectionSecret::new("sk-given")), ..edit };
        let edited = store.edit_connection(&admin, &ring, "main", &edit).await.unwrap();
        assert!(edited.rotated_ms.is_some() && Some(&edited.settings) == edit.settings.as_ref());
        let back = ConnectionEdit {
            settings: Some(made.settings.clone()),
            secret: Some(ConnectionSecret::new("sk-very-secret")),
            ..ConnectionEdit::default()
        };
        store.edit_connection(&admin, &ring, "main", &back).await.unwrap();
    }
    store.edit_connection(&admin, &ring, "main", &with("only", json!(["m"]))).await.unwrap();
    assert!(trail(&store).await.iter().all(|(_, told)| !told.contains("sk-")));
}
