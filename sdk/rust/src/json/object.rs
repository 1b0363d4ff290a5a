//! Wire objects: structs whose unknown members are kept as raw JSON, since serde's `flatten` cannot keep raw values.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::ir::Field;

/// A member's name, borrowed where it has no escapes.
pub struct Key<'de>(pub Cow<'de, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;

        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("a member's name")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(KeyVisitor)
    }
}

/// Members that a wire object does not model.
pub type Unknown = Vec<Field>;

/// Keeps one unknown member. Used by [`wire_object!`](crate::wire_object).
pub fn read_unknown<'de, A: MapAccess<'de>>(map: &mut A, name: &str, into: &mut Unknown) -> Result<(), A::Error> {
    let value: Box<RawValue> = map.next_value()?;
    into.push(Field { name: name.to_owned(), value: Box::<str>::from(value).into() });
    Ok(())
}

/// Declares structs that are read from JSON objects, member by member, with everything else kept in `extra`.
///
/// A missing member is its type's default, so what must be there is an `Option` that the conversion checks; `null` is `None`
/// for an `Option` and an error otherwise. Of a member given twice the last counts, as most readers have it (the gateway refuses
/// such requests at the top level before a plugin sees them). A member whose Rust name differs from its wire name says
/// `name as "wire_name": Type`.
///
/// ```
/// portcullis_plugin::wire_object! {
///     pub struct Turn {
///         role: Option<String>,
///         kind as "type": Option<String>,
///     }
/// }
///
/// let turn: Turn = serde_json::from_str(r#"{"role":"user","type":"message","x":[1, 2]}"#).unwrap();
/// assert_eq!(turn.kind.as_deref(), Some("message"));
/// assert_eq!((turn.extra[0].name.as_str(), turn.extra[0].value.as_str()), ("x", "[1, 2]"));
/// ```
#[macro_export]
macro_rules! wire_object {
    ($($(#[$meta:meta])* $vis:vis struct $name:ident {
        $($(#[$field_meta:meta])* $field:ident $(as $key:literal)?: $type:ty),* $(,)?
    })+) => {$(
        $(#[$meta])*
        #[derive(Debug, Default)]
        $vis struct $name {
            $($(#[$field_meta])* pub $field: $type,)*
            /// Members that are not modelled, in their order.
            pub extra: $crate::json::Unknown,
        }

        impl<'de> $crate::serde::Deserialize<'de> for $name {
            fn deserialize<D: $crate::serde::Deserializer<'de>>(deserializer: D) -> ::std::result::Result<Self, D::Error> {
                struct ObjectVisitor;

                impl<'de> $crate::serde::de::Visitor<'de> for ObjectVisitor {
                    type Value = $name;

                    fn expecting(&self, formatter: &mut ::std::fmt::Formatter) -> ::std::fmt::Result {
                        formatter.write_str("an object")
                    }

                    fn visit_map<A: $crate::serde::de::MapAccess<'de>>(
                        self,
                        mut map: A,
                    ) -> ::std::result::Result<$name, A::Error> {
                        let mut object = <$name as ::std::default::Default>::default();
                        while let Some($crate::json::Key(key)) = map.next_key::<$crate::json::Key<'de>>()? {
                            $(
                                if key == $crate::wire_object!(@key $field $($key)?) {
                                    object.$field = map.next_value()?;
                                    continue;
                                }
                            )*
                            $crate::json::read_unknown(&mut map, &key, &mut object.extra)?;
                        }
                        Ok(object)
                    }
                }

                deserializer.deserialize_map(ObjectVisitor)
            }
        }
    )+};
    (@key $field:ident $key:literal) => { $key };
    (@key $field:ident) => { stringify!($field) };
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    crate::wire_object! {
        struct Turn {
            role: Option<String>,
            kind as "type": Option<String>,
            count: u32,
            parts: Vec<Piece>,
        }

        struct Piece {
            text: Option<String>,
        }
    }

    fn turn(json: &str) -> Turn {
        serde_json::from_str(json).expect("a turn")
    }

    fn extra(turn: &Turn) -> Vec<(&str, &str)> {
        turn.extra.iter().map(|field| (field.name.as_str(), field.value.as_str())).collect()
    }

    #[test]
    fn unknown_members_keep_order_and_spelling() {
        let turn = turn(r#"{"z":1.50,"role":"user","a":{"b" : [ 1e3 ]},"count":2,"n":null,"s":"\u00e9"}"#);
        assert_eq!((turn.role.as_deref(), turn.count), (Some("user"), 2));
        assert_eq!(extra(&turn), [("z", "1.50"), ("a", r#"{"b" : [ 1e3 ]}"#), ("n", "null"), ("s", r#""\u00e9""#)]);
    }

    #[test]
    fn the_wire_name_counts_and_not_the_field_s() {
        let turn = turn(r#"{"type":"t","kind":"k"}"#);
        assert_eq!(turn.kind.as_deref(), Some("t"));
        assert_eq!(extra(&turn), [("kind", r#""k""#)]);
    }

    #[test]
    fn escaped_names_are_the_same_names() {
        let turn = turn(r#"{"r\u006fle":"user","\u0078":1}"#);
        assert_eq!(turn.role.as_deref(), Some("user"));
        assert_eq!(extra(&turn), [("x", "1")]);
    }

    #[test]
    fn null_is_none_and_nothing_else() {
        let turn = turn(r#"{"role":null,"parts":[{"text":null},{}]}"#);
        assert_eq!((turn.role, turn.parts.len(), turn.count), (None, 2, 0));
        assert!(turn.extra.is_empty());
        for wrong in [r#"{"count":null}"#, r#"{"parts":null}"#, r#"{"role":1}"#, "null", "[]", r#""text""#] {
            assert!(serde_json::from_str::<Turn>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn of_a_member_given_twice_the_last_counts() {
        let turn = turn(r#"{"role":"a","x":1,"role":"b","x":2}"#);
        assert_eq!(turn.role.as_deref(), Some("b"));
        assert_eq!(extra(&turn), [("x", "1"), ("x", "2")]);
    }

    #[test]
    fn nested_objects_keep_their_own() {
        let turn = turn(r#"{"parts":[{"text":"a","cache":{}}]}"#);
        assert_eq!(turn.parts[0].text.as_deref(), Some("a"));
        assert_eq!(turn.parts[0].extra[0].name, "cache");
        assert!(turn.extra.is_empty());
    }

    proptest! {
        /// Every member is either modelled or kept, once, with its value.
        #[test]
        fn nothing_is_lost(members in prop::collection::btree_map("[a-z\"\\\\é\n]{1,4}", any::<Option<f64>>(), 0..6)) {
            let mut object: serde_json::Map<String, serde_json::Value> =
                members.into_iter().map(|(name, value)| (name, serde_json::json!(value))).collect();
            for modelled in ["role", "type", "count", "parts"] {
                object.remove(modelled);
            }
            let turn: Turn = serde_json::from_str(&serde_json::to_string(&object).expect("json")).expect("a turn");
            // The text, and not what parsing makes of it: a kept number must not lose a digit.
            let kept: Vec<(&str, String)> =
                turn.extra.iter().map(|field| (field.name.as_str(), field.value.clone())).collect();
            let expected: Vec<_> = object.iter().map(|(name, value)| (name.as_str(), value.to_string())).collect();
            prop_assert_eq!(kept, expected);
        }
    }
}
