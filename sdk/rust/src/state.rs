//! Stream state crosses as opaque bytes; here it is a value again.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::ir::{Failure, FailureKind};

/// Empty bytes are the state of a stream that has not begun.
pub(crate) fn restore<S: DeserializeOwned + Default>(bytes: &[u8]) -> Result<S, Failure> {
    if bytes.is_empty() {
        return Ok(S::default());
    }
    postcard::from_bytes(bytes).map_err(|error| failure("restored", &error))
}

pub(crate) fn save<S: Serialize>(state: &S) -> Result<Vec<u8>, Failure> {
    postcard::to_allocvec(state).map_err(|error| failure("saved", &error))
}

fn failure(what: &str, error: &postcard::Error) -> Failure {
    Failure::new(FailureKind::Internal, format!("stream state cannot be {what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{Finish, FinishReason, Usage};
    use crate::provider::Metered;
    use proptest::prelude::*;
    use serde::Deserialize;

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    struct Nested {
        open: Vec<(u32, Option<String>)>,
        done: bool,
    }

    #[test]
    fn nothing_is_the_beginning() {
        assert_eq!(restore::<Nested>(&[]), Ok(Nested::default()));
    }

    #[test]
    fn the_meter_survives_whole() {
        let finish = Finish {
            reason: FinishReason::StopSequence,
            raw: "stop".to_owned(),
            stop_sequence: Some("END".to_owned()),
        };
        let metered = Metered {
            id: Some("a".to_owned()),
            usage: Some(Usage { input: 5, output: u64::MAX, estimated: true, ..Usage::default() }),
            finishes: vec![finish],
            failure: Some(Failure::new(FailureKind::Overloaded, "later").with_code("busy")),
            ..Metered::default()
        };
        assert_eq!(restore::<Metered>(&save(&metered).expect("bytes")), Ok(metered));
    }

    #[test]
    fn what_is_no_state_is_a_failure_and_no_panic() {
        let failure = restore::<Nested>(&[0xff; 3]).expect_err("no state");
        assert_eq!(failure.kind, FailureKind::Internal);
        // A type that asks the format what stands there cannot be restored.
        let bytes = save(&serde_json::json!({"a": 1})).expect("bytes");
        assert!(restore::<serde_json::Value>(&bytes).is_err());
    }

    proptest! {
        #[test]
        fn states_return_as_they_went(open in prop::collection::vec((any::<u32>(), any::<Option<String>>()), 0..9), done: bool) {
            let state = Nested { open, done };
            prop_assert_eq!(restore::<Nested>(&save(&state).expect("bytes")), Ok(state));
        }

        #[test]
        fn any_bytes_are_a_state_or_a_failure(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = restore::<Nested>(&bytes);
            let _ = restore::<Metered>(&bytes);
        }
    }
}
