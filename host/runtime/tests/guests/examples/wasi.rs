//! A policy that asks WASI for everything it should not get, as a toolchain with its own standard library would.

use portcullis_plugin::prelude::*;
use portcullis_runtime_guests::manifest;

wit_bindgen::generate!({
    inline: r#"
        package fixture:guest;
        world wants {
            import wasi:cli/environment@0.2.0;
            import wasi:clocks/wall-clock@0.2.0;
            import wasi:clocks/monotonic-clock@0.2.0;
            import wasi:io/poll@0.2.0;
            import wasi:random/random@0.2.0;
        }

        package wasi:cli@0.2.0 {
            interface environment {
                get-environment: func() -> list<tuple<string, string>>;
                get-arguments: func() -> list<string>;
            }
        }

        package wasi:io@0.2.0 {
            interface poll {
                resource pollable {
                    ready: func() -> bool;
                    block: func();
                }
            }
        }

        package wasi:clocks@0.2.0 {
            interface wall-clock {
                record datetime { seconds: u64, nanoseconds: u32 }
                now: func() -> datetime;
            }
            interface monotonic-clock {
                use wasi:io/poll@0.2.0.{pollable};
                now: func() -> u64;
                subscribe-duration: func(when: u64) -> pollable;
            }
        }

        package wasi:random@0.2.0 {
            interface random {
                get-random-u64: func() -> u64;
            }
        }
    "#,
    world: "fixture:guest/wants",
    generate_all,
});

use wasi::cli::environment;
use wasi::clocks::{monotonic_clock, wall_clock};
use wasi::random::random;

pub struct Guest;

impl Plugin for Guest {
    type Config = NoConfig;

    fn manifest() -> Manifest {
        Manifest { stages: Stages::REQUEST, ..manifest() }
    }

    fn configure(_: NoConfig) -> Result<Self, String> {
        Ok(Guest)
    }
}

impl Policy for Guest {
    /// Denies with all it could learn.
    fn evaluate_request(&self, _: &Context, _: &Subject, _: Option<&Request>) -> Result<PolicyVerdict, Failure> {
        let before = monotonic_clock::now();
        // An hour, which must not pass.
        monotonic_clock::subscribe_duration(3_600_000_000_000).block();
        let learnt = format!(
            "environment={} arguments={} time={} passed={} random={}",
            environment::get_environment().len(),
            environment::get_arguments().len(),
            wall_clock::now().seconds,
            monotonic_clock::now() - before,
            random::get_random_u64(),
        );
        Ok(deny(&learnt, 403, ""))
    }
}

portcullis_plugin::export!(Guest: policy);
