//! The state of a stream of either protocol. A stream keeps to the one it began with.

use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
pub enum Of<C, R> {
    Chat(C),
    Responses(R),
}

impl<C: Default, R> Default for Of<C, R> {
    fn default() -> Self {
        Of::Chat(C::default())
    }
}

impl<C: Default, R: Default> Of<C, R> {
    pub fn chat(&mut self) -> &mut C {
        if let Of::Responses(_) = self {
            *self = Of::Chat(C::default());
        }
        match self {
            Of::Chat(state) => state,
            Of::Responses(_) => unreachable!("it was replaced"),
        }
    }

    pub fn responses(&mut self) -> &mut R {
        if let Of::Chat(_) = self {
            *self = Of::Responses(R::default());
        }
        match self {
            Of::Responses(state) => state,
            Of::Chat(_) => unreachable!("it was replaced"),
        }
    }
}
