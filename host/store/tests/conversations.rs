//! Conversations: whose they are, how long they live, and that nothing of them stands in the file.

mod common;

use std::sync::Arc;

use common::*;
use portcullis_core::{KeyId, ManualClock, OrganisationId, RequestId};
use portcullis_store::{Conversations, MasterKey, NewTurn, Store, StoreError, StoreOptions, Turn, TurnOwner};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const LIMIT: usize = 1 << 20;

struct Kept {
    directory: tempfile::TempDir,
    store: Store,
    clock: Arc<ManualClock>,
    conversations: Conversations,
}

async fn kept() -> Kept {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at(NOW));
    let options = StoreOptions::at(directory.path().join("p.db"));
    let store = Store::open_with_clock(&options, clock.clone()).await.unwrap();
    let conversations = store.conversations(MasterKey::given(SECRET).unwrap());
    Kept { directory, store, clock, conversations }
}

fn owner(key: u8) -> TurnOwner {
    TurnOwner { organisation: OrganisationId::DEFAULT, key: KeyId::from_bytes([key; 16]) }
}

fn said(text: &str) -> Turn {
    let answer = format!("{{\"output\":[\"{text}!\"]}}");
    Turn { input: format!("\"{text}?\""), output: 11..u32::try_from(answer.len()).unwrap() - 2, answer }
}

impl Kept {
    async fn keep(&self, owner: TurnOwner, name: &str, previous: Option<RequestId>, ttl_ms: u64) -> RequestId {
        let id = RequestId::new(NOW, &mut rand::rng());
        let turn = said(name);
        self.conversations.keep(NewTurn { id, owner, name: name.to_owned(), previous, ttl_ms, turn }).await.unwrap();
        id
    }

    async fn recall(&self, owner: TurnOwner, name: &str) -> Option<Vec<String>> {
        let conversation = self.conversations.recall(owner, name, LIMIT).await.unwrap()?;
        let items = conversation.turns.iter().map(|turn| format!("{},{}", turn.input, turn.output()));
        Some(items.collect())
    }
}

#[tokio::test]
async fn a_conversation_comes_back_in_its_order() {
    let kept = kept().await;
    let one = kept.keep(owner(1), "one", None, 100).await;
    let two = kept.keep(owner(1), "two", Some(one), 100).await;
    // Two that go on from the same.
    kept.keep(owner(1), "three", Some(two), 100).await;
    kept.keep(owner(1), "other", Some(two), 100).await;
    let items = |names: &[&str]| Some(names.iter().map(|name| format!("\"{name}?\",\"{name}!\"")).collect::<Vec<_>>());
    assert_eq!(kept.recall(owner(1), "three").await, items(&["one", "two", "three"]));
    assert_eq!(kept.recall(owner(1), "other").await, items(&["one", "two", "other"]));
    assert_eq!(kept.recall(owner(1), "one").await, items(&["one"]));
    let named = kept.conversations.recall(owner(1), "two", LIMIT).await.unwrap().unwrap();
    assert_eq!(named.newest, two);
    assert_eq!(kept.conversations.answer(owner(1), "two").await.unwrap(), Some(said("two")));
    assert_eq!(kept.recall(owner(1), "four").await, None);
}

#[tokio::test]
async fn another_s_turn_is_not_there() {
    let kept = kept().await;
    let one = kept.keep(owner(1), "one", None, 100).await;
    let elsewhere = TurnOwner { organisation: OrganisationId::from_bytes([5; 16]), ..owner(1) };
    for stranger in [owner(2), elsewhere] {
        assert_eq!(kept.recall(stranger, "one").await, None);
        assert_eq!(kept.conversations.answer(stranger, "one").await.unwrap(), None);
        assert!(!kept.conversations.forget(stranger, "one").await.unwrap());
        // Nor by claiming to go on from it.
        kept.keep(stranger, "mine", Some(one), 1_000).await;
        assert_eq!(kept.recall(stranger, "mine").await, None);
    }
    kept.clock.set(NOW + 100);
    assert_eq!(kept.recall(owner(1), "one").await, None, "a stranger prolonged its life");
}

#[tokio::test]
async fn a_turn_lives_as_long_as_what_goes_on_from_it() {
    let kept = kept().await;
    let one = kept.keep(owner(1), "one", None, 100).await;
    kept.clock.set(NOW + 99);
    kept.keep(owner(1), "two", Some(one), 100).await;
    kept.clock.set(NOW + 198);
    assert_eq!(kept.recall(owner(1), "two").await.map(|items| items.len()), Some(2));
    assert_eq!(kept.conversations.sweep().await.unwrap(), 0);
    kept.clock.set(NOW + 199);
    assert_eq!(kept.recall(owner(1), "two").await, None);
    assert_eq!(kept.conversations.answer(owner(1), "two").await.unwrap(), None);
    assert!(!kept.conversations.forget(owner(1), "two").await.unwrap());
    assert_eq!(kept.conversations.sweep().await.unwrap(), 2);
    assert_eq!(kept.conversations.sweep().await.unwrap(), 0);
}

#[tokio::test]
async fn what_was_deleted_is_gone_and_so_is_what_went_on_from_it() {
    let kept = kept().await;
    let one = kept.keep(owner(1), "one", None, 100).await;
    let two = kept.keep(owner(1), "two", Some(one), 100).await;
    kept.keep(owner(1), "three", Some(two), 100).await;
    assert!(kept.conversations.forget(owner(1), "two").await.unwrap());
    assert!(!kept.conversations.forget(owner(1), "two").await.unwrap());
    assert_eq!(kept.recall(owner(1), "three").await, None);
    assert_eq!(kept.recall(owner(1), "one").await.map(|items| items.len()), Some(1));
}

#[tokio::test]
async fn of_two_with_one_name_the_newer_is_meant() {
    let kept = kept().await;
    let one = kept.keep(owner(1), "same", None, 100).await;
    // A provider that names every answer alike: a conversation still has its turns, and no loop.
    let two = kept.keep(owner(1), "same", Some(one), 100).await;
    assert_ne!(one, two);
    let newest = kept.conversations.recall(owner(1), "same", LIMIT).await.unwrap().unwrap();
    assert_eq!(newest.newest, one.max(two));
    assert!(kept.conversations.forget(owner(1), "same").await.unwrap());
    assert_eq!(kept.recall(owner(1), "same").await, None, "one of the two came to light");
}

#[tokio::test]
async fn a_long_conversation_is_told_and_not_read() {
    let kept = kept().await;
    kept.keep(owner(1), "one", None, 100).await;
    let refused = kept.conversations.recall(owner(1), "one", 10).await.unwrap_err();
    assert!(matches!(refused, StoreError::TooLong { limit: 10 }), "{refused}");
}

#[tokio::test]
async fn nothing_that_was_said_stands_in_the_files() {
    let kept = kept().await;
    let id = RequestId::new(NOW, &mut rand::rng());
    let turn = Turn { input: "\"CANARY-IN\"".into(), answer: "{\"x\":\"CANARY-OUT\"}".into(), output: 0..0 };
    let new = NewTurn { id, owner: owner(1), name: "resp_1".into(), previous: None, ttl_ms: 100, turn: turn.clone() };
    kept.conversations.keep(new).await.unwrap();
    let mut found_name = false;
    for file in std::fs::read_dir(kept.directory.path()).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
            assert!(!holds("CANARY"), "{}", path.display());
            found_name |= holds("resp_1");
        }
    }
    assert!(found_name, "the test looks in the wrong place");
    let other = kept.store.conversations(MasterKey::given(&SECRET.replace('0', "1")).unwrap());
    assert!(matches!(other.answer(owner(1), "resp_1").await, Err(StoreError::Sealed)));
    assert_eq!(kept.conversations.answer(owner(1), "resp_1").await.unwrap(), Some(turn));
}

#[tokio::test]
async fn a_key_file_lasts() {
    let kept = kept().await;
    let path = kept.directory.path().join("conversations.key");
    let first = kept.store.conversations(MasterKey::in_file(&path));
    assert!(!path.exists(), "made before it was needed");
    first.unlock().unwrap();
    let id = RequestId::new(NOW, &mut rand::rng());
    let new = NewTurn { id, owner: owner(1), name: "a".into(), previous: None, ttl_ms: 100, turn: said("a") };
    first.keep(new).await.unwrap();
    let again = kept.store.conversations(MasterKey::in_file(&path));
    assert_eq!(again.answer(owner(1), "a").await.unwrap(), Some(said("a")));
}
