//! What OpenAI says of an item that a request names and does not hold.

use portcullis_plugin::ir::{Failure, FailureKind};

/// "Item with id 'rs_…' not found. Items are not persisted when `store` is set to false. Try again with `store` set to true, or remove
/// this item from your input." (<https://github.com/vercel/ai/issues/7543>). The gateway has its providers store nothing whatever the
/// client says, so the advice is bad: it is replaced by what helps.
pub fn explained(failure: Failure) -> Failure {
    let Some(item) = unknown_item(&failure.message) else { return failure };
    let message = format!(
        "Item with id '{item}' not found: no items are kept at the provider. Send the item whole (reasoning with its `encrypted_content`, which \
         `include: [\"reasoning.encrypted_content\"]` asks for), leave it out, or go on by `previous_response_id`."
    );
    Failure { kind: FailureKind::InvalidRequest, message, param: Some("input".to_owned()), ..failure }
}

fn unknown_item(message: &str) -> Option<&str> {
    let (item, rest) = message.strip_prefix("Item with id '")?.split_once('\'')?;
    (rest.starts_with(" not found") && rest.contains("`store`")).then_some(item)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_told_what_helps() {
        let said = "Item with id 'rs_1' not found. Items are not persisted when `store` is set to false. Try again with `store` set to true, or \
                    remove this item from your input.";
        let failure = explained(Failure::new(FailureKind::NotFound, said));
        assert_eq!((failure.kind, failure.param.as_deref()), (FailureKind::InvalidRequest, Some("input")));
        assert!(failure.message.starts_with("Item with id 'rs_1' not found:"), "{}", failure.message);
        assert!(failure.message.contains("previous_response_id") && !failure.message.contains("`store`"));
        for other in ["Item with id 'rs_1' not found.", "Model 'x' not found", ""] {
            assert_eq!(explained(Failure::new(FailureKind::NotFound, other)).message, other);
        }
    }
}
