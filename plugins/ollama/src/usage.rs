//! Token counts, which stand in the answer's last document itself. A count of 0 is left out (`omitempty` of ollama/ollama,
//! `api/types.go`): of a prompt that the server remembered whole, older ones told nothing (recordings). Thinking is part of
//! `eval_count`, and not told apart.

use portcullis_plugin::ir::Usage;

/// Nothing where neither is told.
pub fn usage(prompt: Option<u64>, answer: Option<u64>) -> Option<Usage> {
    (prompt.is_some() || answer.is_some()).then(|| Usage {
        input: prompt.unwrap_or(0),
        output: answer.unwrap_or(0),
        ..Usage::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_what_is_told() {
        assert_eq!(usage(Some(17), Some(50)), Some(Usage { input: 17, output: 50, ..Usage::default() }));
        assert_eq!(usage(None, Some(79)), Some(Usage { output: 79, ..Usage::default() }));
        assert_eq!(usage(None, None), None);
    }
}
