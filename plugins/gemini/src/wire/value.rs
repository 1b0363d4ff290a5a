//! Values that Google's JSON writes in more than one way: numbers as strings, enumerations as numbers, lists of one as their
//! item (<https://protobuf.dev/programming-guides/json/>), base64 in two alphabets.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// A number, or a string that holds one.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Number(pub f64);

impl Number {
    /// As a count: no fraction, not negative, as far as it fits.
    pub fn count(self) -> u64 {
        self.0 as u64
    }

    pub fn small(self) -> u32 {
        self.0 as u32
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberVisitor;

        impl Visitor<'_> for NumberVisitor {
            type Value = Number;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("a number")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Number, E> {
                Ok(Number(number as f64))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Number, E> {
                Ok(Number(number as f64))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Number, E> {
                Ok(Number(number))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Number, E> {
                text.parse()
                    .ok()
                    .filter(|number: &f64| number.is_finite())
                    .map(Number)
                    .ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &"a number"))
            }
        }

        deserializer.deserialize_any(NumberVisitor)
    }
}

/// A word of an enumeration, or its number.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Word(pub String);

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WordVisitor;

        impl Visitor<'_> for WordVisitor {
            type Value = Word;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("a word")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Word, E> {
                Ok(Word(number.to_string()))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Word, E> {
                Ok(Word(number.to_string()))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Word, E> {
                Ok(Word(text.to_owned()))
            }
        }

        deserializer.deserialize_any(WordVisitor)
    }
}

/// A list, or the one item of one. Null is an empty one.
#[derive(Debug)]
pub struct OneOrMany<T>(pub Vec<T>);

impl<T> Default for OneOrMany<T> {
    fn default() -> Self {
        OneOrMany(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for ListVisitor<T> {
            type Value = OneOrMany<T>;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<OneOrMany<T>, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(OneOrMany(list))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<OneOrMany<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(|item| OneOrMany(vec![item]))
            }

            fn visit_unit<E: Error>(self) -> Result<OneOrMany<T>, E> {
                Ok(OneOrMany(Vec::new()))
            }
        }

        deserializer.deserialize_any(ListVisitor(PhantomData))
    }
}

/// Base64 in the standard alphabet with padding, as the IR has it. The API takes the URL-safe one too, which the Python SDK
/// writes (recordings).
pub fn base64_standard(data: &str) -> Cow<'_, str> {
    let padded = data.len().is_multiple_of(4);
    if padded && !data.contains(['-', '_']) {
        return Cow::Borrowed(data);
    }
    let mut standard = data.replace('-', "+").replace('_', "/");
    while !standard.len().is_multiple_of(4) {
        standard.push('=');
    }
    Cow::Owned(standard)
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_plugin::json::from_str;

    #[test]
    fn numbers_come_as_strings_too() {
        for (json, expected) in [("2", 2.0), ("2.0", 2.0), (r#""2""#, 2.0), ("-1", -1.0), (r#""0.5""#, 0.5)] {
            assert_eq!(from_str::<Number>(json).unwrap(), Number(expected), "{json}");
        }
        assert!(from_str::<Number>(r#""x""#).is_err() && from_str::<Number>(r#""inf""#).is_err());
        assert_eq!((Number(-3.0).count(), Number(1e99).small()), (0, u32::MAX));
    }

    #[test]
    fn one_is_many() {
        for json in ["[2]", "[\"2\"]"] {
            assert_eq!(from_str::<OneOrMany<Number>>(json).unwrap().0, [Number(2.0)]);
        }
        assert_eq!(from_str::<OneOrMany<std::collections::BTreeMap<String, u8>>>(r#"{"a":1}"#).unwrap().0.len(), 1);
        assert!(from_str::<OneOrMany<Number>>("null").unwrap().0.is_empty());
    }

    #[test]
    fn base64_has_one_alphabet() {
        for (data, expected) in [("YWJj", "YWJj"), ("_9j_", "/9j/"), ("-_A", "+/A="), ("", ""), ("YQ==", "YQ==")] {
            assert_eq!(base64_standard(data), expected);
        }
    }
}
