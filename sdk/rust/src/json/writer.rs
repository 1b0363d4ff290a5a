//! Writes compact JSON by appending, which for a plugin's output is two to three times faster than a serialiser over a tree.

use std::fmt::Write as _;

use super::block::append_escaped;

/// Appends JSON to a string. Commas are its business, nesting the caller's: each `begin_…` needs its `end_…`.
#[derive(Debug, Default)]
pub struct Writer {
    out: String,
}

impl Writer {
    pub fn new() -> Self {
        Self::default()
    }

    /// With room for so many bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        Writer { out: String::with_capacity(bytes) }
    }

    pub fn finish(self) -> String {
        self.out
    }

    pub fn begin_object(&mut self) {
        self.separate();
        self.out.push('{');
    }

    pub fn end_object(&mut self) {
        self.out.push('}');
    }

    pub fn begin_array(&mut self) {
        self.separate();
        self.out.push('[');
    }

    pub fn end_array(&mut self) {
        self.out.push(']');
    }

    /// A member's name; its value comes next.
    pub fn key(&mut self, name: &str) {
        self.string(name);
        self.out.push(':');
    }

    pub fn string(&mut self, text: &str) {
        self.separate();
        self.out.push('"');
        self.escape(text);
        self.out.push('"');
    }

    /// A JSON text as it stands. The caller vouches for it.
    pub fn raw(&mut self, json: &str) {
        self.separate();
        self.out.push_str(json);
    }

    pub fn null(&mut self) {
        self.raw("null");
    }

    pub fn bool(&mut self, value: bool) {
        self.raw(if value { "true" } else { "false" });
    }

    pub fn number(&mut self, value: impl Into<i128>) {
        self.separate();
        let value = value.into();
        // Counts and limits; `write!` takes ten times as long.
        let Ok(mut rest) = u64::try_from(value) else {
            let _ = write!(self.out, "{value}");
            return;
        };
        let mut digits = [0; 20];
        let mut first = digits.len();
        loop {
            first -= 1;
            digits[first] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.out.extend(digits[first..].iter().map(|&digit| char::from(digit)));
    }

    /// A float; null where JSON has no word for it.
    pub fn float(&mut self, value: f64) {
        self.separate();
        if value.is_finite() {
            let _ = write!(self.out, "{value}");
        } else {
            self.out.push_str("null");
        }
    }

    pub fn member_string(&mut self, name: &str, text: &str) {
        self.key(name);
        self.string(text);
    }

    pub fn member_raw(&mut self, name: &str, json: &str) {
        self.key(name);
        self.raw(json);
    }

    pub fn member_bool(&mut self, name: &str, value: bool) {
        self.key(name);
        self.bool(value);
    }

    pub fn member_number(&mut self, name: &str, value: impl Into<i128>) {
        self.key(name);
        self.number(value);
    }

    pub fn member_float(&mut self, name: &str, value: f64) {
        self.key(name);
        self.float(value);
    }

    /// The text as the inside of a JSON string, without quotes and without a separator before it.
    pub fn escape(&mut self, text: &str) {
        // SAFETY: the text with some of its ASCII bytes replaced by others is UTF-8 as it was.
        append_escaped(unsafe { self.out.as_mut_vec() }, text.as_bytes());
    }

    /// A comma unless this is the first thing after an opening bracket or a name.
    fn separate(&mut self) {
        if !matches!(self.out.as_bytes().last(), None | Some(b'{' | b'[' | b':')) {
            self.out.push(',');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn separates_members_and_items() {
        let mut writer = Writer::new();
        writer.begin_object();
        writer.member_string("a", "x\"\n");
        writer.key("b");
        writer.begin_array();
        writer.number(1);
        writer.begin_object();
        writer.end_object();
        writer.float(0.5);
        writer.end_array();
        writer.member_bool("c", true);
        writer.end_object();
        assert_eq!(writer.finish(), r#"{"a":"x\"\n","b":[1,{},0.5],"c":true}"#);
    }

    proptest! {
        #[test]
        fn numbers_are_written_in_full(unsigned: u64, signed: i64, small in 0_u32..12) {
            for number in [i128::from(unsigned), i128::from(signed), i128::from(small)] {
                let mut writer = Writer::new();
                writer.number(number);
                prop_assert_eq!(writer.finish(), number.to_string());
            }
        }

        #[test]
        fn strings_read_back(text in "([a-z é東]{0,18}[\u{0}-\u{1f}\"\\\\]{0,2}){0,6}|[\u{0}-\u{1f}\"a]{0,300}|.{0,40}") {
            let quoted = super::super::quote(&text);
            prop_assert_eq!(&quoted, &serde_json::to_string(&text).unwrap());
            prop_assert_eq!(serde_json::from_str::<String>(&quoted).unwrap(), text);
        }
    }
}
