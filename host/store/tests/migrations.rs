//! Migrations: from the first version on, under a lock, never backwards. On every database.

mod common;

use common::*;
use portcullis_core::{KeyId, OrganisationId, RequestId};
use portcullis_store::{KeyFilter, MasterKey, ReceiptScope, Store, StoreError, TurnOwner, UsageFilter, Verification};

const SQLITE: &str = include_str!("fixtures/0001.sqlite.sql");
const POSTGRES: &str = include_str!("fixtures/0001.postgres.sql");

/// The key of the turn in the fixtures.
const SECRET: &str = "0123456789abcdef0123456789abcdef";

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    for database in Database::each() {
        drop(database.open().await);
        drop(database.open().await);
        let blob = if database.url().is_some() { "'\\x00'" } else { "x'00'" };
        let sql = format!(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             VALUES (999, 'from the future', true, {blob}, 0)"
        );
        database.execute(&sql).await.unwrap();
        let error = Store::open(&database.options()).await.err().unwrap();
        assert!(matches!(error, StoreError::NewerSchema { found: 999, .. }), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_several_that_start_at_once_one_migrates() {
    for database in Database::each() {
        let starts: Vec<_> = (0..6)
            .map(|_| {
                let options = database.options();
                tokio::spawn(async move { Store::open(&options).await })
            })
            .collect();
        for start in starts {
            start.await.unwrap().unwrap().keys(&KeyFilter::default()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn what_the_first_version_wrote_is_there() {
    for database in Database::each() {
        database.execute(if database.url().is_some() { POSTGRES } else { SQLITE }).await.unwrap();
        let store = database.open().await;

        let mut keys = store.active_keys(&KeyFilter::default()).await.unwrap();
        // These ids were made up.
        keys.sort_by_key(|key| key.created_ms);
        let names: Vec<_> = keys.iter().map(|key| &*key.name).collect();
        assert_eq!(names, ["plain", "narrow", "revoked"]);
        let allows = |at: usize, provider, model| keys[at].policy.allows(provider, model, None).is_ok();
        assert!(allows(0, "openai", "gpt-4o"));
        assert!(allows(1, "openai", "gpt-4o") && !allows(1, "openai", "other"));
        assert!(!allows(1, "anthropic", "gpt-4o"));
        assert_eq!(keys[2].revoked_ms, Some(NOW + 5));
        assert_eq!(store.backend().keys_after(0).await.unwrap().len(), 3);

        let entries = database.entries().await;
        let kinds: Vec<_> = entries.iter().map(|entry| (&*entry.kind, entry.amount)).collect();
        assert_eq!(kinds, [("settled", 120), ("refunded", 0), ("quarantined", 300)]);
        let sums = &store.usage(&UsageFilter::default()).await.unwrap()[0];
        assert_eq!((sums.requests, sums.usage.input, sums.usage.output), (2, 12, 7));
        let scope = ReceiptScope::Key(KeyId::from_bytes([7; 16]));
        let kept = store.receipt(RequestId::from_bytes([1; 16]), scope).await.unwrap().unwrap();
        let kept: portcullis_core::Receipt = serde_json::from_str(&kept).unwrap();
        assert_eq!((&*kept.requested_model, kept.tags.len()), ("auto", 1));

        // Entries that no chain held are one.
        let report = store.verify(&Verification::default()).await.unwrap();
        assert_eq!((report.fault, report.entries, report.requests.unsealed), (None, 3, 2));

        let owner = TurnOwner { organisation: OrganisationId::DEFAULT, key: KeyId::from_bytes([7; 16]) };
        let conversations = store.conversations(MasterKey::given(SECRET).unwrap());
        // It lives longer than its reader.
        let turn = conversations.answer(owner, "resp_1").await.unwrap().unwrap();
        assert_eq!(turn.input, "\"hello\"");
    }
}
