//! One request through every role, in the order of the files' names as the design has it:
//! policy → guard → route → for each attempt: policy with target → reserve → encode → dispatch → decode → guard → encode →
//! client → settle → receipt.

mod account;
mod attempt;
mod budget;
mod capture;
mod chat;
mod continuation;
mod exchange;
mod facts;
mod failure;
mod guard;
mod limits;
mod media;
mod money;
mod payload;
mod plan;
mod policy;
mod record;
mod relay;
mod request;
mod stream;
mod stream_clock;
mod stream_guard;
mod translate;
mod usage;
mod whole;

pub(crate) use chat::{Unread, denied, serve, unread};
pub(crate) use continuation::unavailable;
pub(crate) use exchange::{Arrival, Exchange};
pub(crate) use failure::{Stop, wire_error};
pub(crate) use relay::RelayStream;
pub(crate) use stream::AnswerStream;
