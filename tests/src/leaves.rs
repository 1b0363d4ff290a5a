//! Every string leaf of a document, and a mark in each.

use serde_json::Value;

/// Appends to every string that a document holds as a value, at any depth. `keep` says which stay as they are, by their path
/// (`/messages/0/role`).
pub fn mark(document: &mut Value, mark: &str, keep: &dyn Fn(&str, &str) -> bool) -> usize {
    walk(document, "", mark, keep)
}

fn walk(value: &mut Value, path: &str, mark: &str, keep: &dyn Fn(&str, &str) -> bool) -> usize {
    match value {
        Value::String(text) => {
            if keep(path, text) {
                return 0;
            }
            text.push_str(mark);
            1
        }
        Value::Array(items) => {
            items.iter_mut().enumerate().map(|(at, item)| walk(item, &format!("{path}/{at}"), mark, keep)).sum()
        }
        Value::Object(members) => {
            members.iter_mut().map(|(name, member)| walk(member, &format!("{path}/{name}"), mark, keep)).sum()
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn all_but_the_kept() {
        let mut document = json!({"role": "user", "content": [{"text": "a"}, "b", 1], "x": {"y": ""}});
        assert_eq!(mark(&mut document, "!", &|path, _| path == "/role"), 3);
        assert_eq!(document, json!({"role": "user", "content": [{"text": "a!"}, "b!", 1], "x": {"y": "!"}}));
    }
}
