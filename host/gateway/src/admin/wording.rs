//! What is wrong with a call, in words for whoever wrote the call: the readers underneath speak of Rust's types.

/// A sentence: with a capital at its beginning and a point at its end.
pub fn sentence(said: &str) -> String {
    let mut letters = said.chars();
    let capital: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
    let point = if said.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{capital}{}{point}", letters.as_str())
}

/// What serde says of a value that is not as it should be.
pub fn plain(said: &str) -> String {
    let wrong = said.strip_prefix("invalid type: ").or_else(|| said.strip_prefix("invalid value: "));
    if let Some((found, wanted)) = wrong.and_then(|rest| rest.rsplit_once(", expected ")) {
        return sentence(&format!("this is {}, and takes {}", found_as(found), wanted_as(wanted)));
    }
    let unknown = said.strip_prefix("unknown variant `").and_then(|rest| rest.split_once("`, expected "));
    if let Some((found, known)) = unknown {
        return sentence(&format!("`{found}` is not known here: say {known}"));
    }
    sentence(match said {
        "invalid digit found in string" | "cannot parse integer from empty string" => "this takes a whole number",
        "number too large to fit in target type" => "this number is too large",
        "number too small to fit in target type" => "this number is too small",
        "invalid float literal" => "this takes a number",
        "provided string was not `true` or `false`" => "this is true or false",
        other => other,
    })
}

/// What stands there: `string "b"`, ``integer `5` ``, `map`.
fn found_as(found: &str) -> String {
    let quoted = |rest: &str| rest.trim_matches('`').to_owned();
    match found.split_once(' ') {
        Some(("string", text)) => format!("the text {text}"),
        Some(("integer", number)) => format!("the number {}", quoted(number)),
        Some(("floating", rest)) => format!("the number {}", quoted(rest.trim_start_matches("point "))),
        Some(("boolean", value)) => quoted(value),
        _ => kind(found),
    }
}

fn wanted_as(wanted: &str) -> String {
    match wanted {
        "u8" | "u16" | "u32" | "u64" | "u128" | "usize" => "a whole number from 0 on".to_owned(),
        "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        other if other.starts_with("struct ") || other.starts_with("internally tagged enum ") => "an object".to_owned(),
        other if other.starts_with("enum ") || other.starts_with("variant identifier") => "one of its names".to_owned(),
        other => kind(other),
    }
}

fn kind(word: &str) -> String {
    match word {
        "map" | "a map" => "an object",
        "sequence" | "a sequence" => "a list",
        "string" | "a string" | "str" | "a borrowed string" | "identifier" => "a text",
        "boolean" | "a boolean" => "true or false",
        "unit value" | "unit" | "null" | "Option value" | "option" => "null",
        other => other,
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use portcullis_core::{Environment, KeyId};
    use serde::Deserialize;
    use serde::de::DeserializeOwned;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[allow(dead_code)]
    struct Inner {
        count: u32,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Word {
        A,
        B,
    }

    fn of<T: DeserializeOwned + std::fmt::Debug>(json: &str) -> String {
        let said = serde_json::from_str::<T>(json).unwrap_err().to_string();
        plain(said.rsplit_once(" at line ").map_or(&said, |(words, _)| words))
    }

    #[test]
    fn nobody_is_told_of_rust_s_types() {
        for (told, expected) in [
            (of::<Inner>(r#"{"count":"b"}"#), "This is the text \"b\", and takes a whole number from 0 on."),
            (of::<Inner>(r#"{"count":-1}"#), "This is the number -1, and takes a whole number from 0 on."),
            (of::<Inner>(r#"{"count":1.5}"#), "This is the number 1.5, and takes a whole number from 0 on."),
            (of::<Inner>(r#"{"count":{}}"#), "This is an object, and takes a whole number from 0 on."),
            (of::<Inner>("5"), "This is the number 5, and takes an object."),
            (of::<Vec<u8>>("true"), "This is true, and takes a list."),
            (of::<String>("null"), "This is null, and takes a text."),
            (of::<bool>("[]"), "This is a list, and takes true or false."),
            (of::<BTreeMap<String, u8>>("[]"), "This is a list, and takes an object."),
            (of::<Word>(r#""c""#), "`c` is not known here: say `a` or `b`."),
            (plain("invalid digit found in string"), "This takes a whole number."),
            (plain("number too large to fit in target type"), "This number is too large."),
        ] {
            assert_eq!(told, expected);
        }
        let environment = of::<Environment>(r#""staging""#);
        assert!(environment.contains("production") && !environment.contains("variant"), "{environment}");
        assert!(of::<KeyId>(r#""x""#).contains("key_"));
    }
}
