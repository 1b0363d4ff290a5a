//! Limits by a clock that stands where it is put: sliding windows, requests at once, what is set aside and settled, and what all that costs.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Barrier, Mutex};

use portcullis_core::{Environment, KeyId, Limits, OrganisationId, TeamId, Window};
use portcullis_store::{AccessPolicy, EffectivePolicy};
use proptest::prelude::*;

use super::*;
use crate::config::Config;

fn book(text: &str) -> Book {
    let config = Config::parse(text, "t").unwrap();
    Book::new(&config.tiers, &config.limit)
}

fn caller(key: u8) -> Caller<'static> {
    Caller {
        key: KeyId::from_bytes([key; 16]),
        team: Some(TeamId::from_bytes([key / 4; 16])),
        organisation: OrganisationId::DEFAULT,
        environment: Environment::Production,
        tier: None,
        policy: None,
        own: None,
        address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, key)),
    }
}

fn admitted(limiter: &Limiter, book: &Book, caller: &Caller<'_>, now: u64) -> Option<Arc<Admission>> {
    match limiter.admit(book, caller, now) {
        Ok(admission) => Some(admission.expect("something limits it")),
        Err(Denied::Refused(_)) => None,
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn without_limits_there_is_nothing_to_hold() {
    let limiter = Limiter::default();
    assert!(limiter.admit(&book(""), &caller(1), 0).unwrap().is_none());
    assert_eq!(limiter.accounts.len(), 0);
}

#[test]
fn of_500_at_once_37_pass() {
    for text in [
        "[[limit]]\nby = \"organisation\"\nrequests_per_hour = 37\n[[limit]]\nby = \"address\"\nrequests_per_minute = 1000\n",
        "[[limit]]\nby = \"organisation\"\nconcurrent_requests = 37\n[[limit]]\nby = []\nrequests_per_minute = 1000\n",
        "[[limit]]\nby = \"organisation\"\ntokens_per_day = 3700\n[[limit]]\nby = \"key\"\nrequests_per_minute = 1000\n",
    ] {
        let (limiter, book) = (Limiter::default(), book(text));
        let passed = Mutex::new(Vec::new());
        let at_once = Barrier::new(50);
        std::thread::scope(|scope| {
            for thread in 0..50_u8 {
                let (limiter, book, passed, at_once) = (&limiter, &book, &passed, &at_once);
                scope.spawn(move || {
                    at_once.wait();
                    for _ in 0..10 {
                        let Some(admission) = admitted(limiter, book, &caller(thread), 1_000) else { continue };
                        if admission.reserve(100, 1_000).is_ok() {
                            passed.lock().unwrap().push(admission);
                        }
                    }
                });
            }
        });
        assert_eq!(passed.into_inner().unwrap().len(), 37, "{text}");
    }
}

/// One account has room, another has not: what was looked at is not taken, not even for a moment.
#[test]
fn who_is_refused_by_one_limit_takes_nothing_of_another() {
    let book = book(
        "[[limit]]\nby = \"organisation\"\nrequests_per_hour = 64\n[[limit]]\nby = \"address\"\nrequests_per_hour = 8\n",
    );
    for _ in 0..20 {
        let limiter = Limiter::default();
        let passed = AtomicU64::new(0);
        std::thread::scope(|scope| {
            // Eight addresses with room for 64 together; the first one asks without end.
            for thread in 0..16_u8 {
                let (limiter, book, passed) = (&limiter, &book, &passed);
                scope.spawn(move || {
                    let (address, asks) = if thread < 8 { (0, 200) } else { (thread - 8, 8) };
                    for _ in 0..asks {
                        if admitted(limiter, book, &caller(address), 0).is_some() {
                            passed.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(passed.into_inner(), 64);
    }
}

#[test]
fn a_place_among_those_under_way_is_given_back_by_the_last_holder() {
    let (limiter, book) = (Limiter::default(), book("[[limit]]\nby = \"key\"\nconcurrent_requests = 1\n"));
    let first = admitted(&limiter, &book, &caller(1), 0).unwrap();
    let body = Arc::clone(&first);
    drop(first);
    let Err(Denied::Refused(refused)) = limiter.admit(&book, &caller(1), 0) else { panic!("two at once") };
    assert_eq!(
        (refused.window, refused.retry_after, refused.reason().as_str()),
        (None, Some(1_000), "limit:key:concurrent")
    );
    assert_eq!(refused.failure().code.as_deref(), Some("concurrency_limit_exceeded"));
    drop(body);
    assert!(admitted(&limiter, &book, &caller(1), 0).is_some());
}

#[test]
fn tokens_are_reserved_and_settled() {
    let (limiter, book) =
        (Limiter::default(), book("[[limit]]\nby = \"key\"\ntokens_per_minute = 100\nrequests_per_day = 9\n"));
    let one = admitted(&limiter, &book, &caller(1), 0).unwrap();
    one.reserve(80, 0).unwrap();
    let two = admitted(&limiter, &book, &caller(1), 0).unwrap();
    let refused = two.reserve(30, 0).unwrap_err();
    assert_eq!(refused.reason(), "limit:key:tokens-minute");
    assert_eq!(
        refused.failure().message,
        "The limit `key` of 100 tokens per minute is reached: 80 used, 30 asked for. Try again in 61 s."
    );
    // Refused, it does not count as a request either.
    assert_eq!(two.standings(0)[0].remaining, 8);
    drop(two);
    one.settle(20, 20, true, 0);
    assert_eq!(one.standings(0)[1].remaining, 80);
    let two = admitted(&limiter, &book, &caller(1), 0).unwrap();
    two.reserve(30, 0).unwrap();
    // It took more than anybody thought: the next ones pay.
    two.settle(170, 170, true, 30_000);
    let three = admitted(&limiter, &book, &caller(1), 61_000).unwrap();
    assert_eq!(three.reserve(1, 61_000).unwrap_err().retry_after, Some(30_000));
    three.reserve(0, 61_000).unwrap_err();
    drop(three);
    // Nobody knows what it took: what was reserved counts.
    let four = admitted(&limiter, &book, &caller(1), 200_000).unwrap();
    four.reserve(60, 200_000).unwrap();
    four.settle(5, 5, false, 200_000);
    assert_eq!(four.standings(200_000)[1].remaining, 40);
    let never = four.standings(200_000)[1].limit + 1;
    let five = admitted(&limiter, &book, &caller(1), 200_000).unwrap();
    assert_eq!(five.reserve(never, 200_000).unwrap_err().retry_after, None);
}

#[test]
fn a_target_s_limit_counts_the_attempt() {
    let (limiter, book) = (
        Limiter::default(),
        book(
            "[[limit]]\nby = \"model\"\nscope = { models = [\"x/*\"] }\nrequests_per_hour = 2\nconcurrent_requests = 1\ntokens_per_hour = 50\n",
        ),
    );
    let x = target_name("x", "m");
    assert!(book.of_target(&caller(1), &target_name("y", "m")).is_empty());
    let enter = |admission: &Admission, tokens| limiter.enter(admission, book.of_target(&caller(1), &x), tokens, 0);
    let one = admitted(&limiter, &book, &caller(1), 0).unwrap();
    enter(&one, 40).unwrap();
    let two = admitted(&limiter, &book, &caller(2), 0).unwrap();
    assert_eq!(enter(&two, 1).unwrap_err().reason(), "limit:model:concurrent");
    assert_eq!(two.standings(0)[1].remaining, 10);
    // The attempt came to nothing: its place and its tokens are free, the request was made.
    one.leave(0, true, 0);
    enter(&two, 50).unwrap();
    assert_eq!((two.standings(0)[0].remaining, two.standings(0)[1].remaining), (0, 0));
    two.settle(10, 10, true, 0);
    drop(two);
    assert_eq!(enter(&one, 1).unwrap_err().reason(), "limit:model:requests-hour");
}

#[test]
fn tiers_and_own_limits() {
    let (limiter, book) = (
        Limiter::default(),
        book(
            "[tiers.free]\nrequests_per_minute = 1\ntokens_per_minute = 7\n[[limit]]\nby = \"key\"\nrequests_per_hour = 5\n",
        ),
    );
    let own = Limits { requests_per_minute: Some(3), ..Limits::NONE };
    let keyed = Caller { tier: Some("free"), own: Some(&own), ..caller(1) };
    let admission = admitted(&limiter, &book, &keyed, 0).unwrap();
    let limits: Vec<_> =
        admission.standings(0).iter().map(|standing| (standing.unit, standing.window, standing.limit)).collect();
    assert_eq!(
        limits,
        [(Unit::Requests, Window::Minute, 3), (Unit::Requests, Window::Hour, 5), (Unit::Tokens, Window::Minute, 7)]
    );
    // What its organisation says caps each limit for itself.
    let cap = |tier: &str| AccessPolicy { max_tier: Some(tier.to_owned()), ..AccessPolicy::default() };
    let capped = |tier| EffectivePolicy::of(&cap(tier), None, &AccessPolicy::default(), 0, None);
    let policy = capped("free");
    let keyed = Caller { policy: Some(&policy), ..keyed };
    let admission = admitted(&Limiter::default(), &book, &keyed, 0).unwrap();
    assert_eq!(admission.standings(0).iter().map(|standing| standing.limit).collect::<Vec<_>>(), [1, 5, 7]);
    let policy = capped("gold");
    let denied = limiter.admit(&book, &Caller { policy: Some(&policy), ..caller(1) }, 0).err().unwrap();
    assert_eq!(denied.reason(), "unknown_tier");
    let unknown = Caller { tier: Some("gold"), ..caller(1) };
    let denied = limiter.admit(&book, &unknown, 0).err().unwrap();
    assert_eq!((denied.failure().kind, denied.reason().as_str()), (FailureKind::Permission, "unknown_tier"));
}

#[test]
fn a_new_configuration_keeps_what_was_counted() {
    let limiter = Limiter::default();
    let before = book("[[limit]]\nby = \"team\"\nrequests_per_day = 3\n");
    drop(admitted(&limiter, &before, &caller(1), 0).unwrap());
    let after =
        book("[[limit]]\nby = \"address\"\nrequests_per_day = 9\n[[limit]]\nby = \"team\"\nrequests_per_day = 2\n");
    let second = admitted(&limiter, &after, &caller(2), 0).unwrap();
    let team = second.standings(0).into_iter().find(|standing| *standing.name == *"team").unwrap();
    assert_eq!((team.limit, team.remaining), (2, 0));
    assert!(admitted(&limiter, &after, &caller(3), 0).is_none());
}

#[test]
fn the_first_rule_of_a_name_that_holds_counts() {
    let key = caller(1).key;
    let book = book(&format!(
        "[[limit]]\nby = \"key\"\nscope = {{ keys = [\"{key}\"] }}\nrequests_per_minute = 9\n[[limit]]\nby = \"key\"\nrequests_per_minute = 1\n\
         [[limit]]\nby = \"team\"\nscope = {{ environments = [\"development\"] }}\nrequests_per_minute = 2\n"
    ));
    let of = |caller: &Caller<'_>| {
        book.of_caller(caller).unwrap().iter().map(|line| line.limits.requests_per_minute).collect::<Vec<_>>()
    };
    assert_eq!(of(&caller(1)), [Some(9)]);
    assert_eq!(of(&caller(2)), [Some(1)]);
    assert_eq!(of(&Caller { environment: Environment::Development, ..caller(2) }), [Some(1), Some(2)]);
    assert_eq!(of(&Caller { environment: Environment::Development, team: None, ..caller(2) }), [Some(1)]);
}

#[derive(Debug, Clone)]
enum Step {
    Wait(u64),
    Begin { key: u8, tokens: u64 },
    End { at: usize, used: u64, certain: bool },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0..40_000_u64).prop_map(Step::Wait),
        5 => (0..6_u8, 0..60_u64).prop_map(|(key, tokens)| Step::Begin { key, tokens }),
        4 => (0..32_usize, 0..90_u64, any::<bool>()).prop_map(|(at, used, certain)| Step::End { at, used, certain }),
    ]
}

/// What a request holds, written down at length.
struct Entered {
    key: u8,
    at: u64,
    tokens: u64,
    /// Beyond what was reserved, and since when.
    debt: Option<(u64, u64)>,
    open: Option<Arc<Admission>>,
}

proptest! {
    /// Against a list of all requests there ever were, which is summed up anew for every question.
    #[test]
    fn it_decides_as_a_list_of_all_requests_does(steps in prop::collection::vec(step(), 1..150)) {
        let book = book(
            "[[limit]]\nby = \"key\"\nrequests_per_minute = 4\ntokens_per_minute = 100\nconcurrent_requests = 3\n\
             [[limit]]\nby = \"team\"\nrequests_per_hour = 30\ntokens_per_hour = 700\n\
             [[limit]]\nby = \"organisation\"\nconcurrent_requests = 8\ntokens_per_minute = 250\n",
        );
        let limiter = Limiter::default();
        let mut all: Vec<Entered> = Vec::new();
        let mut now = 1_700_000_000_123_u64;
        for step in steps {
            match step {
                Step::Wait(ms) => now += ms,
                Step::Begin { key, tokens } => {
                    type Same = fn(u8, u8) -> bool;
                    let own: Same = |one, two| one == two;
                    let team: Same = |one, two| one / 4 == two / 4;
                    let everybody: Same = |_, _| true;
                    let live = |at: u64, slot: u64| now / slot <= at / slot + 60;
                    let requests = |same: Same, slot| all.iter().filter(|one| same(one.key, key) && live(one.at, slot)).count() as u64;
                    let spent = |same: Same, slot| -> u64 {
                        let of = |one: &Entered| {
                            let debt = one.debt.filter(|(at, _)| live(*at, slot)).map_or(0, |(_, debt)| debt);
                            debt + if live(one.at, slot) { one.tokens } else { 0 }
                        };
                        all.iter().filter(|one| same(one.key, key)).map(of).sum()
                    };
                    let open = |same: Same| all.iter().filter(|one| same(one.key, key) && one.open.is_some()).count() as u64;
                    let begins = requests(own, 1_000) < 4 && requests(team, 60_000) < 30 && open(own) < 3 && open(everybody) < 8;
                    let pays = spent(own, 1_000) + tokens <= 100
                        && spent(team, 60_000) + tokens <= 700
                        && spent(everybody, 1_000) + tokens <= 250;
                    let admission = admitted(&limiter, &book, &caller(key), now);
                    prop_assert_eq!(admission.is_some(), begins);
                    let Some(admission) = admission else { continue };
                    prop_assert_eq!(admission.reserve(tokens, now).is_ok(), pays);
                    if pays {
                        all.push(Entered { key, at: now, tokens, debt: None, open: Some(admission) });
                    }
                }
                Step::End { at, used, certain } => {
                    let Some(entered) = all.get_mut(at) else { continue };
                    let Some(admission) = entered.open.take() else { continue };
                    admission.settle(used, used, certain, now);
                    if used > entered.tokens {
                        entered.debt = Some((now, used - entered.tokens));
                    } else if certain {
                        entered.tokens = used;
                    }
                }
            }
        }
    }
}

/// `cargo test -p portcullis-gateway what_it_costs -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn what_it_costs() {
    // Time on the processor, whatever else the machine does.
    let spent = || -> u64 {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
        text.split(' ').next().and_then(|nanoseconds| nanoseconds.parse().ok()).expect("nanoseconds")
    };
    let limiter = Limiter::default();
    let measure = |what: &str, book: &Book, caller: &Caller<'_>, tokens: bool| {
        const ROUNDS: u64 = 1_000_000;
        let start = spent();
        for round in 0..ROUNDS {
            let admission = limiter.admit(book, caller, 1_000_000 + round / 1_000).unwrap();
            if let Some(admission) = &admission
                && tokens
            {
                admission.reserve(10, 1_000_000 + round / 1_000).unwrap();
                admission.settle(8, 8, true, 1_000_000 + round / 1_000);
            }
            std::hint::black_box(&admission);
        }
        println!("{what}: {} ns", (spent() - start) / ROUNDS);
    };
    let most = u64::MAX / 2;
    measure("no limits", &book(""), &caller(1), false);
    let own = Limits { requests_per_minute: Some(most), concurrent_requests: Some(most), ..Limits::NONE };
    measure("a key's requests and slots", &book(""), &Caller { own: Some(&own), ..caller(1) }, false);
    let own = Limits { tokens_per_minute: Some(most), requests_per_day: Some(most), tokens_per_day: Some(most), ..own };
    measure("a key's requests, slots and tokens, settled", &book(""), &Caller { own: Some(&own), ..caller(2) }, true);
    let text = format!(
        "[[limit]]\nby = \"organisation\"\nrequests_per_minute = {most}\n[[limit]]\nby = \"team\"\nrequests_per_minute = {most}\n\
         [[limit]]\nby = \"address\"\nrequests_per_minute = {most}\n"
    );
    measure(
        "the same with team, organisation and address",
        &book(&text),
        &Caller { own: Some(&own), ..caller(3) },
        true,
    );
    let admission = limiter.admit(&book(""), &Caller { own: Some(&own), ..caller(4) }, 0).unwrap().unwrap();
    let start = spent();
    for _ in 0..1_000_000 {
        let mut headers = http::HeaderMap::with_capacity(16);
        put_on(&mut headers, &admission.standings(0), Family::OpenAi, 0);
        std::hint::black_box(headers);
    }
    println!("headers: {} ns", (spent() - start) / 1_000_000);
}
