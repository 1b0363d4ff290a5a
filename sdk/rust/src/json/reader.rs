//! Reads JSON by [`serde`], strings sixteen bytes at a time.
//!
//! What a guest spends on a request is mostly its strings, which `serde_json` looks at byte by byte where there is no native
//! SIMD. This reader knows no errors: what it does not read is read again by `serde_json`, whose word is final. Invariant: what
//! it does read, `serde_json` reads to the same value.

use serde::de::value::{BorrowedStrDeserializer, StrDeserializer};
use serde::de::{self, Deserialize, DeserializeSeed, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::block::{append_plain, plain_run};

/// The name by which a [`RawValue`](serde_json::value::RawValue) asks for its text. A test tells if it ever changes.
const RAW_VALUE: &str = "$serde_json::private::RawValue";

/// Nesting that is read here. `serde_json` gives up at 128.
const MAX_DEPTH: u32 = 100;

/// Not read: wrong, or unusual.
#[derive(Debug)]
pub struct Unread;

type Result<T> = std::result::Result<T, Unread>;

/// The one value that a text holds.
pub fn read<'de, T: Deserialize<'de>>(json: &'de str) -> Result<T> {
    let mut reader = Reader { json, at: 0, depth: 0, unescaped: String::new() };
    let value = T::deserialize(&mut reader)?;
    match reader.peek() {
        None => Ok(value),
        Some(_) => Err(Unread),
    }
}

struct Reader<'de> {
    json: &'de str,
    at: usize,
    depth: u32,
    /// The last string that had escapes.
    unescaped: String,
}

impl<'de> Reader<'de> {
    fn bytes(&self) -> &'de [u8] {
        self.json.as_bytes()
    }

    fn byte(&self) -> Option<u8> {
        self.bytes().get(self.at).copied()
    }

    /// The next byte that is not white space. It is not passed.
    #[inline]
    fn peek(&mut self) -> Option<u8> {
        match self.byte()? {
            // Most clients write none.
            b' ' | b'\n' | b'\t' | b'\r' => self.pass_space(),
            byte => Some(byte),
        }
    }

    fn pass_space(&mut self) -> Option<u8> {
        while let b' ' | b'\n' | b'\t' | b'\r' = self.byte()? {
            self.at += 1;
        }
        self.byte()
    }

    /// Passes this byte, or reads no further.
    #[inline]
    fn expect(&mut self, byte: u8) -> Result<()> {
        if self.peek() != Some(byte) {
            return Err(Unread);
        }
        self.at += 1;
        Ok(())
    }

    fn word(&mut self, word: &str) -> Result<()> {
        if !self.bytes()[self.at..].starts_with(word.as_bytes()) {
            return Err(Unread);
        }
        self.at += word.len();
        Ok(())
    }

    // --- strings -----------------------------------------------------------------------------------------------------

    /// A string: borrowed where it has no escapes.
    fn string<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value> {
        self.expect(b'"')?;
        let start = self.at;
        self.at += plain_run(&self.bytes()[start..]);
        match self.byte() {
            Some(b'"') => {
                let text = &self.json[start..self.at];
                self.at += 1;
                visitor.visit_borrowed_str(text)
            }
            Some(b'\\') => {
                self.unescaped.clear();
                self.unescaped.push_str(&self.json[start..self.at]);
                self.unescape()?;
                visitor.visit_str(&self.unescaped)
            }
            _ => Err(Unread),
        }
    }

    /// The rest of a string, from an escape on to its end.
    fn unescape(&mut self) -> Result<()> {
        while self.byte() == Some(b'\\') {
            self.at += 1;
            let unescaped = match self.byte().ok_or(Unread)? {
                quoted @ (b'"' | b'\\' | b'/') => char::from(quoted),
                b'n' => '\n',
                b't' => '\t',
                b'r' => '\r',
                b'b' => '\u{8}',
                b'f' => '\u{c}',
                b'u' => self.code_point()?,
                _ => return Err(Unread),
            };
            self.at += 1;
            self.unescaped.push(unescaped);
            // SAFETY: whole characters are appended, as the rest of a text up to an ASCII byte.
            let out = unsafe { self.unescaped.as_mut_vec() };
            self.at += append_plain(out, &self.json.as_bytes()[self.at..]);
        }
        if self.byte() != Some(b'"') {
            return Err(Unread);
        }
        self.at += 1;
        Ok(())
    }

    /// What `uXXXX`, or a pair of them, stands for. The last digit is not passed.
    fn code_point(&mut self) -> Result<char> {
        let first = self.hex()?;
        if !(0xD800..0xDC00).contains(&first) {
            return char::from_u32(first).ok_or(Unread);
        }
        self.at += 1;
        self.word("\\")?;
        if self.byte() != Some(b'u') {
            return Err(Unread);
        }
        let second = self.hex()?;
        if !(0xDC00..0xE000).contains(&second) {
            return Err(Unread);
        }
        char::from_u32(0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00)).ok_or(Unread)
    }

    /// The four digits after `u`. The last is not passed.
    fn hex(&mut self) -> Result<u32> {
        let digits = self.bytes().get(self.at + 1..self.at + 5).ok_or(Unread)?;
        self.at += 4;
        digits.iter().try_fold(0, |code, &digit| Ok(code << 4 | char::from(digit).to_digit(16).ok_or(Unread)?))
    }

    // --- numbers -----------------------------------------------------------------------------------------------------

    fn number<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value> {
        if !matches!(self.peek(), Some(b'-' | b'0'..=b'9')) {
            return Err(Unread);
        }
        let start = self.at;
        self.skip_number()?;
        let text = &self.json[start..self.at];
        // Up to eighteen digits fit, whatever they are.
        if text.len() <= 18 && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return visitor.visit_u64(text.bytes().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')));
        }
        if let Some(float) = short_float(text) {
            return visitor.visit_f64(float);
        }
        let number: serde_json::Number = serde_json::from_str(text).map_err(|_| Unread)?;
        match (number.as_u64(), number.as_i64(), number.as_f64()) {
            (Some(number), _, _) => visitor.visit_u64(number),
            (_, Some(number), _) => visitor.visit_i64(number),
            (_, _, Some(number)) => visitor.visit_f64(number),
            _ => Err(Unread),
        }
    }

    fn skip_number(&mut self) -> Result<()> {
        self.at += usize::from(self.byte() == Some(b'-'));
        match self.byte() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.skip_digits()?,
            _ => return Err(Unread),
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.skip_digits()?;
        }
        if let Some(b'e' | b'E') = self.byte() {
            self.at += 1;
            self.at += usize::from(matches!(self.byte(), Some(b'+' | b'-')));
            self.skip_digits()?;
        }
        // Of `01` the zero would be taken for the number.
        if self.byte().is_some_and(|byte| byte.is_ascii_digit()) { Err(Unread) } else { Ok(()) }
    }

    /// One digit at least.
    fn skip_digits(&mut self) -> Result<()> {
        let digits = self.bytes()[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += digits;
        if digits == 0 { Err(Unread) } else { Ok(()) }
    }

    // --- what nobody looks at ----------------------------------------------------------------------------------------

    /// Passes any value and answers its text.
    fn raw(&mut self) -> Result<&'de str> {
        self.peek();
        let start = self.at;
        self.skip()?;
        Ok(&self.json[start..self.at])
    }

    /// Passes any value, nested up to the number of bits.
    fn skip(&mut self) -> Result<()> {
        // A bit for each open bracket, 1 for an object's, below a 1 that marks the outermost.
        let mut open: u64 = 1;
        loop {
            match self.peek().ok_or(Unread)? {
                b'"' => self.skip_string()?,
                bracket @ (b'{' | b'[') => {
                    self.at += 1;
                    if open.leading_zeros() == 0 {
                        return Err(Unread);
                    }
                    open = open << 1 | u64::from(bracket == b'{');
                    // Both closing brackets are the opening one and two.
                    if self.peek() != Some(bracket + 2) {
                        if bracket == b'{' {
                            self.skip_name()?;
                        }
                        continue;
                    }
                    self.at += 1;
                    open >>= 1;
                }
                b't' => self.word("true")?,
                b'f' => self.word("false")?,
                b'n' => self.word("null")?,
                _ => self.skip_number()?,
            }
            while open != 1 {
                let object = open & 1 == 1;
                match self.peek() {
                    Some(b',') => {
                        self.at += 1;
                        if object {
                            self.skip_name()?;
                        }
                        break;
                    }
                    Some(b'}') if object => self.at += 1,
                    Some(b']') if !object => self.at += 1,
                    _ => return Err(Unread),
                }
                open >>= 1;
            }
            // Nothing is open, and the last thing passed was no comma, which stands only where something is.
            if open == 1 {
                return Ok(());
            }
        }
    }

    fn skip_name(&mut self) -> Result<()> {
        self.peek();
        self.skip_string()?;
        self.expect(b':')
    }

    fn skip_string(&mut self) -> Result<()> {
        if self.byte() != Some(b'"') {
            return Err(Unread);
        }
        self.at += 1;
        loop {
            self.at += plain_run(&self.bytes()[self.at..]);
            match self.byte() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => {
                    self.at += 1;
                    match self.byte() {
                        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {}
                        Some(b'u') => {
                            self.hex()?;
                        }
                        _ => return Err(Unread),
                    }
                    self.at += 1;
                }
                _ => return Err(Unread),
            }
        }
    }

    // --- objects and arrays ------------------------------------------------------------------------------------------

    fn object<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value> {
        self.expect(b'{')?;
        self.nested(b'}', |items| visitor.visit_map(items))
    }

    fn array<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value> {
        self.expect(b'[')?;
        self.nested(b']', |items| visitor.visit_seq(items))
    }

    fn nested<T>(&mut self, close: u8, visit: impl FnOnce(Items<'_, 'de>) -> Result<T>) -> Result<T> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Unread);
        }
        let value = visit(Items { reader: self, close, first: true })?;
        self.depth -= 1;
        self.expect(close)?;
        Ok(value)
    }
}

/// A float that is one exact operation on exact numbers, as `serde_json` makes it of them.
fn short_float(text: &str) -> Option<f64> {
    const POWERS: [f64; 16] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];
    let (whole, fraction) = text.split_once('.')?;
    if text.len() > POWERS.len() {
        return None;
    }
    let digits = whole.bytes().chain(fraction.bytes());
    let number = digits
        .map(|byte| byte.is_ascii_digit().then(|| u64::from(byte - b'0')))
        .try_fold(0, |number, digit| Some(number * 10 + digit?))?;
    Some(number as f64 / POWERS[fraction.len()])
}

/// What stands between two brackets.
struct Items<'a, 'de> {
    reader: &'a mut Reader<'de>,
    close: u8,
    first: bool,
}

impl Items<'_, '_> {
    /// Whether another one begins; what separates it from the last is passed.
    #[inline]
    fn next(&mut self) -> Result<bool> {
        match self.reader.peek() {
            Some(byte) if byte == self.close => Ok(false),
            Some(_) if std::mem::take(&mut self.first) => Ok(true),
            Some(b',') => {
                self.reader.at += 1;
                Ok(true)
            }
            _ => Err(Unread),
        }
    }
}

impl<'de> SeqAccess<'de> for Items<'_, 'de> {
    type Error = Unread;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>> {
        if self.next()? { seed.deserialize(&mut *self.reader).map(Some) } else { Ok(None) }
    }
}

impl<'de> MapAccess<'de> for Items<'_, 'de> {
    type Error = Unread;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>> {
        if self.next()? { seed.deserialize(Name(&mut *self.reader)).map(Some) } else { Ok(None) }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value> {
        self.reader.expect(b':')?;
        seed.deserialize(&mut *self.reader)
    }
}

/// Methods that take this kind of value, or none.
macro_rules! take {
    ($kind:ident: $($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            self.$kind(visitor)
        })*
    };
}

/// A member's name. Numbers and other things in the shape of names are left to `serde_json`.
struct Name<'a, 'de>(&'a mut Reader<'de>);

impl<'de> Name<'_, 'de> {
    fn string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.0.string(visitor)
    }

    fn nothing<V: Visitor<'de>>(self, _: V) -> Result<V::Value> {
        Err(Unread)
    }
}

impl<'de> de::Deserializer<'de> for Name<'_, 'de> {
    type Error = Unread;

    take! { string: deserialize_any deserialize_str deserialize_string deserialize_identifier deserialize_ignored_any }

    take! {
        nothing: deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8
        deserialize_u16 deserialize_u32 deserialize_u64 deserialize_f32 deserialize_f64 deserialize_option
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, _: V) -> Result<V::Value> {
        Err(Unread)
    }

    fn deserialize_enum<V: Visitor<'de>>(self, _: &'static str, _: &'static [&'static str], _: V) -> Result<V::Value> {
        Err(Unread)
    }

    forward_to_deserialize_any! { char bytes byte_buf unit unit_struct seq tuple tuple_struct map struct }
}

/// A text under the name by which it was asked for.
struct Raw<'de>(Option<&'de str>);

impl<'de> MapAccess<'de> for Raw<'de> {
    type Error = Unread;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>> {
        match self.0 {
            Some(_) => seed.deserialize(BorrowedStrDeserializer::new(RAW_VALUE)).map(Some),
            None => Ok(None),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value> {
        seed.deserialize(BorrowedStrDeserializer::new(self.0.take().ok_or(Unread)?))
    }
}

impl<'de> de::Deserializer<'de> for &mut Reader<'de> {
    type Error = Unread;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.peek().ok_or(Unread)? {
            b'"' => self.string(visitor),
            b'{' => self.object(visitor),
            b'[' => self.array(visitor),
            b't' | b'f' => self.deserialize_bool(visitor),
            b'n' => self.deserialize_unit(visitor),
            _ => self.number(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        if self.peek() == Some(b't') {
            self.word("true")?;
            visitor.visit_bool(true)
        } else {
            self.word("false")?;
            visitor.visit_bool(false)
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        if self.peek() == Some(b'n') {
            self.word("null")?;
            return visitor.visit_none();
        }
        visitor.visit_some(self)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.peek();
        self.word("null")?;
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value> {
        if name == RAW_VALUE { visitor.visit_map(Raw(Some(self.raw()?))) } else { visitor.visit_newtype_struct(self) }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.array(visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value> {
        self.array(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(self, _: &'static str, _: usize, visitor: V) -> Result<V::Value> {
        self.array(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.object(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        // A struct in the shape of an array is left to `serde_json`.
        self.object(visitor)
    }

    /// Variants without content alone.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        struct Variant<V>(V);

        impl<'de, V: Visitor<'de>> Visitor<'de> for Variant<V> {
            type Value = V::Value;

            fn expecting(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
                formatter.write_str("a variant's name")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> std::result::Result<V::Value, E> {
                let name: StrDeserializer<E> = name.into_deserializer();
                self.0.visit_enum(name)
            }
        }

        self.string(Variant(visitor))
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, _: V) -> Result<V::Value> {
        Err(Unread)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, _: V) -> Result<V::Value> {
        Err(Unread)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.skip()?;
        visitor.visit_unit()
    }

    take! {
        number: deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8 deserialize_u16 deserialize_u32
        deserialize_u64 deserialize_f32 deserialize_f64
    }

    take! { string: deserialize_char deserialize_str deserialize_string deserialize_identifier }
}

impl de::Error for Unread {
    /// Nobody reads the words: `serde_json` finds its own.
    fn custom<T: std::fmt::Display>(_: T) -> Self {
        Unread
    }
}

impl std::fmt::Display for Unread {
    fn fmt(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        formatter.write_str("not read")
    }
}

impl std::error::Error for Unread {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fmt::Debug;

    use proptest::prelude::*;
    use serde_json::Value;
    use serde_json::value::RawValue;

    use super::*;

    #[derive(Debug, PartialEq, serde::Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        One,
        Two,
        Many(u8),
    }

    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Wrapped(Vec<Value>);

    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Shape {
        kind: Kind,
        wrapped: Wrapped,
        pair: (u8, Option<f64>),
        unit: (),
        text: String,
        letter: char,
        #[serde(default)]
        names: BTreeMap<String, i64>,
    }

    /// What is read is what `serde_json` reads; says whether it was.
    fn agrees<'a, T: Deserialize<'a> + PartialEq + Debug>(json: &'a str) -> bool {
        let Ok(value) = read::<T>(json) else { return false };
        assert_eq!(serde_json::from_str::<T>(json).ok(), Some(value), "{json}");
        true
    }

    /// Likewise as raw text, which is passed and not read.
    fn passes(json: &str) -> bool {
        let Ok(raw) = read::<&RawValue>(json) else { return false };
        assert_eq!(serde_json::from_str::<&RawValue>(json).ok().map(RawValue::get), Some(raw.get()), "{json}");
        true
    }

    #[test]
    fn every_kind_of_value_is_read() {
        for json in [
            "null",
            " true ",
            "false",
            "0",
            "-0",
            "-7",
            "18446744073709551615",
            "18446744073709551616",
            "-9223372036854775808",
            "0.7",
            "-0.7",
            "1.0",
            "123456789.123456789",
            "1e5",
            "1E-5",
            "1.5e+3",
            "0.1234567890123456789",
            r#""""#,
            r#""plain""#,
            r#""\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00é東😀""#,
            "[]",
            "{}",
            "[1,[2,[]],{}]",
            r#"{"a":{"b":[null,true]},"a":2,"":"\u0000"}"#,
            " { \"a\" : [ 1 , 2 ] , \"b\" : \t{ }\r\n} ",
        ] {
            assert!(agrees::<Value>(json), "{json}");
            assert!(passes(json), "{json}");
        }
        assert!(agrees::<Shape>(
            r#"{"kind":"two","wrapped":[1,"a"],"pair":[1,null],"unit":null,"text":"\u0041","letter":"é","names":{"a":-1}}"#
        ));
        assert!(agrees::<Option<Vec<Option<u8>>>>("[1,null]"));
    }

    #[test]
    fn what_is_not_json_is_not_read() {
        for json in [
            "",
            " ",
            "nul",
            "nulll",
            "truefalse",
            "01",
            "-",
            "-a",
            "1.",
            ".5",
            "1e",
            "1e+",
            "+1",
            "0x1",
            "1 2",
            "\"",
            "\"\\",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u12g4\"",
            "\"\n\"",
            "\"\u{0}\"",
            "[",
            "[1",
            "[1,",
            "[1,]",
            "[,1]",
            "[1 2]",
            "{",
            "{\"a\"",
            "{\"a\":",
            "{\"a\":1",
            "{\"a\":1,",
            "{\"a\":1,}",
            "{a:1}",
            "{\"a\" 1}",
            "{1:2}",
            "[}",
            "{]",
            "[1}",
            "{\"a\":1]",
            "]",
            "}",
            "\u{feff}1",
            "\"\\u{e9}\"",
        ] {
            assert!(!agrees::<Value>(json) && !passes(json), "{json}");
        }
        // Half a pair names no character; where nobody reads the text it does not matter.
        for json in [r#""\ud83d""#, r#""\ud83d\n""#, r#""\ud83d\u0041""#, r#""\ude00""#] {
            assert!(!agrees::<Value>(json) && passes(json), "{json}");
        }
        assert!(!agrees::<u8>("256") && !agrees::<u8>("\"1\"") && !agrees::<String>("1") && !agrees::<()>("0"));
        assert!(!agrees::<(u8, u8)>("[1]") && !agrees::<(u8, u8)>("[1,2,3]"));
    }

    #[test]
    fn what_is_left_to_serde_json_is_read_all_the_same() {
        let deep = format!("{}{}", "[".repeat(110), "]".repeat(110));
        assert!(read::<Value>(&deep).is_err() && super::super::from_str::<Value>(&deep).is_ok());
        assert!(read::<&RawValue>(&deep).is_err() && super::super::from_str::<&RawValue>(&deep).is_ok());
        assert!(read::<Kind>(r#"{"many":3}"#).is_err());
        assert_eq!(super::super::from_str::<Kind>(r#"{"many":3}"#).ok(), Some(Kind::Many(3)));
        let numbered = super::super::from_str::<BTreeMap<u8, u8>>(r#"{"1":2}"#);
        assert_eq!(numbered.ok(), Some(BTreeMap::from([(1, 2)])));
    }

    /// Documents, with white space, escapes in every spelling, and texts about as long as blocks are.
    fn document() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            8 => "[a-z é東😀/]{1,20}",
            1 => prop::sample::select(vec!["\\n", "\\\"", "\\\\", "\\/", "\\u0041", "\\u00E9", "\\ud83d\\ude00", "\\u001f"])
                .prop_map(str::to_owned),
        ];
        let string = prop::collection::vec(piece, 0..8).prop_map(|pieces| format!("\"{}\"", pieces.concat()));
        let leaf = prop_oneof![
            3 => string.clone(),
            1 => any::<i64>().prop_map(|number| number.to_string()),
            1 => any::<u64>().prop_map(|number| number.to_string()),
            1 => any::<f64>().prop_filter("JSON has no word for it", |float| float.is_finite()).prop_map(|float| format!("{float:?}")),
            1 => (0_u64..1 << 50, 0_usize..18).prop_map(|(number, places)| format!("{number}.{:0places$}1", 0)),
            1 => prop::sample::select(vec!["null", "true", "false"]).prop_map(str::to_owned),
        ];
        leaf.prop_recursive(4, 40, 6, move |item| {
            let member = (string.clone(), item.clone()).prop_map(|(name, value)| format!("{name} : {value}"));
            prop_oneof![
                prop::collection::vec(item, 0..6).prop_map(|items| format!("[{}]", items.join(", "))),
                prop::collection::vec(member, 0..6).prop_map(|members| format!("{{{}}}", members.join(",\n"))),
            ]
        })
    }

    proptest! {
        #[test]
        fn documents_are_read(json in document()) {
            prop_assert!(agrees::<Value>(&json));
            prop_assert!(passes(&json));
        }

        /// Cut anywhere, or with a byte more or another one.
        #[test]
        fn broken_documents_are_read_as_serde_json_reads_them(
            json in document(),
            at: prop::sample::Index,
            with in "[\\[\\]{}\",:\\\\0-9eE+.u tn\u{0}-]{0,2}",
            cut: bool,
            drop in 0_usize..2,
        ) {
            let mut characters: Vec<char> = json.chars().collect();
            let at = at.index(characters.len());
            let end = if cut { characters.len() } else { (at + drop).min(characters.len()) };
            characters.splice(at..end, with.chars());
            let json: String = characters.into_iter().collect();
            let read = agrees::<Value>(&json);
            prop_assert_eq!(read, serde_json::from_str::<Value>(&json).is_ok());
            prop_assert_eq!(passes(&json), serde_json::from_str::<&RawValue>(&json).is_ok());
        }

        #[test]
        fn any_text_is_read_back(text in any::<String>(), members in prop::collection::btree_map(any::<String>(), any::<String>(), 0..4)) {
            prop_assert!(agrees::<String>(&serde_json::to_string(&text).expect("JSON")));
            prop_assert!(agrees::<BTreeMap<String, String>>(&serde_json::to_string(&members).expect("JSON")));
        }
    }
}
