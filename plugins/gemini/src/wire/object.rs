//! Objects of Google's JSON, whose members have two names: the parsers take `inlineData` and `inline_data` alike
//! (<https://protobuf.dev/programming-guides/json/>), and SDKs write both (recordings).
//!
//! Invariant: every member is either modelled or kept, under its camel-case name.

use std::borrow::Cow;

/// `inline_data` as `inlineData`. What has no underscore is not changed.
pub fn camel(name: &str) -> Cow<'_, str> {
    if !name.contains('_') {
        return Cow::Borrowed(name);
    }
    let mut camel = String::with_capacity(name.len());
    let mut raise = false;
    for letter in name.chars() {
        if letter == '_' && !camel.is_empty() {
            raise = true;
        } else if std::mem::take(&mut raise) {
            camel.extend(letter.to_uppercase());
        } else {
            camel.push(letter);
        }
    }
    Cow::Owned(camel)
}

/// Declares structs that are read from JSON objects by either spelling, with everything else kept in `extra`. The name in
/// quotes is the camel-case one.
macro_rules! wire {
    ($($(#[$meta:meta])* $vis:vis struct $name:ident { $($field:ident $key:literal: $type:ty),* $(,)? })+) => {$(
        $(#[$meta])*
        #[derive(Debug, Default)]
        $vis struct $name {
            $(pub $field: $type,)*
            /// Members that are not modelled, in their order.
            pub extra: ::portcullis_plugin::json::Unknown,
        }

        impl<'de> ::serde::Deserialize<'de> for $name {
            fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> ::std::result::Result<Self, D::Error> {
                struct ObjectVisitor;

                impl<'de> ::serde::de::Visitor<'de> for ObjectVisitor {
                    type Value = $name;

                    fn expecting(&self, formatter: &mut ::std::fmt::Formatter) -> ::std::fmt::Result {
                        formatter.write_str("an object")
                    }

                    fn visit_map<A: ::serde::de::MapAccess<'de>>(
                        self,
                        mut map: A,
                    ) -> ::std::result::Result<$name, A::Error> {
                        #[allow(unused_mut)]
                        let mut object = $name::default();
                        while let Some(::portcullis_plugin::json::Key(key)) =
                            map.next_key::<::portcullis_plugin::json::Key<'de>>()?
                        {
                            let key = $crate::wire::object::camel(&key);
                            $(
                                if key == $key {
                                    object.$field = map.next_value()?;
                                    continue;
                                }
                            )*
                            ::portcullis_plugin::json::read_unknown(&mut map, &key, &mut object.extra)?;
                        }
                        Ok(object)
                    }
                }

                deserializer.deserialize_map(ObjectVisitor)
            }
        }
    )+};
}

#[cfg(test)]
mod tests {
    use super::*;

    wire! {
        struct Sample { data "inlineData": Option<String>, count "tokenCount": Option<u64> }
    }

    #[test]
    fn both_spellings_are_one_member() {
        for json in [r#"{"inlineData":"x","tokenCount":2}"#, r#"{"inline_data":"x","token_count":2}"#] {
            let sample: Sample = portcullis_plugin::json::from_str(json).unwrap();
            assert_eq!((sample.data.as_deref(), sample.count, sample.extra.len()), (Some("x"), Some(2), 0));
        }
        let sample: Sample = serde_json::from_str(r#"{"media_resolution":{"a_b":1}}"#).unwrap();
        assert_eq!((&*sample.extra[0].name, &*sample.extra[0].value), ("mediaResolution", r#"{"a_b":1}"#));
    }

    #[test]
    fn names_become_camel_case() {
        for (name, expected) in
            [("a_b_c", "aBC"), ("aB", "aB"), ("_a", "_a"), ("a__b", "aB"), ("é_é", "éÉ"), ("a_", "a")]
        {
            assert_eq!(camel(name), expected);
        }
    }
}
