//! Components with WASI get one with nothing in it, on whatever thread they are called.

use portcullis_runtime::check_bytes;

use crate::support::*;

/// Nothing to learn, no hour gone by, the same number every time.
fn learnt() -> String {
    let (_served, plugin) = plugin(&Guest::wasi(), configured(serde_json::json!({})));
    ask(&plugin).unwrap()
}

#[test]
fn it_is_empty_and_still() {
    let answer = learnt();
    assert!(answer.starts_with("environment=0 arguments=0 time=0 passed=0 random="), "{answer}");
    assert_eq!(answer, learnt(), "seeded");
}

#[test]
fn it_is_called_from_any_runtime() {
    let plain = learnt();
    let many = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let of_worker = many.block_on(async { tokio::spawn(async { learnt() }).await.unwrap() });
    assert_eq!(of_worker, plain);
    assert_eq!(many.block_on(async { learnt() }), plain);
    let blocking = many.block_on(async { tokio::task::spawn_blocking(learnt).await.unwrap() });
    assert_eq!(blocking, plain);
    let one = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    assert_eq!(one.block_on(async { learnt() }), plain);
}

#[test]
fn interfaces_nobody_has_are_refused() {
    let guest = Guest::wasi().exchange("wasi:random/random@0.2.0", "wasi:random/weapon@0.2.0");
    let error = check_bytes(&runtime(), "guest", guest.bytes(), &configured(serde_json::json!({}))).unwrap_err();
    assert!(error.to_string().contains("wasi:random/weapon"), "{error}");
}
