//! One top-level field of a JSON object, without parsing the rest.
//!
//! The sender's id of a message is read from every payload of a stream, so this must cost far less than a JSON parser:
//! one pass, no allocation, no recursion, ended as soon as the field is found. It checks no more than it needs; text that
//! is no JSON has no field.

/// The text or number at field `name` of object `json`, as written: of a text what is between the quotes, with its escape
/// sequences as they are. None when there is no such field, it is empty, or is neither text nor number.
pub(crate) fn top_level_field<'a>(json: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut scan = Scan { rest: json };
    scan.expect(b'{')?;
    loop {
        scan.expect(b'"')?;
        let key = scan.string()?;
        scan.expect(b':')?;
        let value = scan.value()?;
        if key == name.as_bytes() {
            return value.filter(|value| !value.is_empty());
        }
        scan.expect(b',')?;
    }
}

/// What is left to look at.
struct Scan<'a> {
    rest: &'a [u8],
}

impl<'a> Scan<'a> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_ascii_start();
    }

    fn expect(&mut self, wanted: u8) -> Option<()> {
        self.skip_space();
        (self.next()? == wanted).then_some(())
    }

    /// What is left up to `end`, which is what is left after it.
    fn until(from: &'a [u8], end: &'a [u8]) -> &'a [u8] {
        from.get(..from.len().saturating_sub(end.len()))
            .unwrap_or_default()
    }

    /// The text up to the closing quote; the opening one is taken already.
    fn string(&mut self) -> Option<&'a [u8]> {
        let from = self.rest;
        loop {
            let end = self.rest;
            match self.next()? {
                b'"' => return Some(Self::until(from, end)),
                b'\\' => {
                    self.next()?;
                }
                _ => {}
            }
        }
    }

    /// Passes over one value; the inner option is it, where it is text or number.
    fn value(&mut self) -> Option<Option<&'a [u8]>> {
        self.skip_space();
        let from = self.rest;
        match self.next()? {
            b'"' => self.string().map(Some),
            b'{' | b'[' => self.nested().map(|()| None),
            b'-' | b'0'..=b'9' => {
                self.scalar();
                Some(Some(Self::until(from, self.rest)))
            }
            b't' | b'f' | b'n' => {
                self.scalar();
                Some(None)
            }
            _ => None,
        }
    }

    fn scalar(&mut self) {
        let end = self
            .rest
            .iter()
            .position(|byte| !byte.is_ascii_alphanumeric() && !b"+-.".contains(byte));
        self.rest = self
            .rest
            .get(end.unwrap_or(self.rest.len())..)
            .unwrap_or_default();
    }

    /// Passes over an object or array whose opening bracket is taken already.
    fn nested(&mut self) -> Option<()> {
        let mut depth = 1_usize;
        while depth > 0 {
            match self.next()? {
                b'"' => {
                    self.string()?;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn field(json: &str) -> Option<&str> {
        top_level_field(json.as_bytes(), "id").map(|value| std::str::from_utf8(value).unwrap())
    }

    #[test]
    fn text_and_numbers_are_found_as_written() {
        for (json, expected) in [
            (r#"{"id":"a-1"}"#, "a-1"),
            (r#" { "x" : [1,{"id":2},"]"] , "id" : 17 }"#, "17"),
            (r#"{"t":"}\"","n":null,"b":true,"id":-1.5e+3}"#, "-1.5e+3"),
            (r#"{"id":"a\"b"}"#, r#"a\"b"#),
            (r#"{"id":"first","id":"second"}"#, "first"),
        ] {
            assert_eq!(field(json), Some(expected), "{json}");
        }
    }

    #[test]
    fn anything_else_has_no_field() {
        for json in [
            "",
            "[]",
            "{}",
            "{\"id\"",
            "{\"id\":",
            "{\"id\":\"a",
            r#"{"id":""}"#,
            r#"{"id":null}"#,
            r#"{"id":true}"#,
            r#"{"id":{"id":1}}"#,
            r#"{"x":{"id":1}}"#,
            r#"{"x":"id"}"#,
            r#"{"x":?,"id":1}"#,
            r#"{"x":1 "id":1}"#,
        ] {
            assert_eq!(field(json), None, "{json}");
        }
    }

    proptest! {
        #[test]
        fn no_payload_makes_it_panic(payload: Vec<u8>, json in "[{}\\[\\]\",:id\\\\0-9 tfn.]{0,60}") {
            top_level_field(&payload, "id");
            top_level_field(json.as_bytes(), "id");
        }
    }
}
