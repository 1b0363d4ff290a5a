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
/// for an `Option` and an error otherwise. A member whose Rust name differs from its wire name says
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
