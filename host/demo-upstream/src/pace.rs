//! Gives an answer its pace, and the mishap it was told to have, halfway through its tokens.

use std::time::Duration;

use bytes::Bytes;

use crate::behaviour::{Behaviour, Stall};
use crate::playback::Step;
use crate::protocol::Protocol;
use crate::server::{Frame, Options};

/// Lets what was sent before a cut leave the socket's buffer.
const BEFORE_CUT: Duration = Duration::from_millis(20);

/// The steps of a whole body.
pub fn whole(bytes: Bytes, behaviour: Behaviour, options: &Options) -> Vec<Step> {
    let half = bytes.slice(..bytes.len() / 2);
    match behaviour {
        Behaviour::Stall(Stall::Middle) => vec![Step::Send(half), Step::Hang],
        Behaviour::Stall(_) => vec![Step::Hang],
        Behaviour::Cut => vec![Step::Send(half), Step::Wait(BEFORE_CUT), Step::Cut],
        Behaviour::Slow => vec![Step::Wait(options.slow_token_delay), Step::Send(bytes)],
        _ => vec![Step::Send(bytes)],
    }
}

/// The steps of a stream.
pub fn stream(frames: Vec<Frame>, behaviour: Behaviour, protocol: Protocol, options: &Options) -> Vec<Step> {
    let delay = match behaviour {
        Behaviour::Burst(_) => Duration::ZERO,
        Behaviour::Slow => options.slow_token_delay,
        Behaviour::Stall(Stall::Body) => return vec![Step::Hang],
        _ => options.token_delay,
    };
    let tokens = frames.iter().filter(|frame| frame.token).count();
    let mut mishap = match behaviour {
        Behaviour::Cut => vec![Step::Wait(BEFORE_CUT), Step::Cut],
        Behaviour::Stall(_) => vec![Step::Hang],
        Behaviour::ErrorInStream => {
            let message = "The demo upstream was told to fail within the stream.";
            vec![protocol.error_in_stream(message)]
        }
        _ => Vec::new(),
    };
    let mut steps = Vec::with_capacity(frames.len() * 2);
    let mut sent = 0;
    for frame in frames {
        if frame.token {
            if !mishap.is_empty() && sent >= tokens / 2 {
                break;
            }
            sent += 1;
            if !delay.is_zero() {
                steps.push(Step::Wait(delay));
            }
        }
        steps.push(Step::Send(frame.bytes));
    }
    steps.append(&mut mishap);
    steps
}
