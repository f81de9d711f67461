//! Lines of a file, numbered and bounded: a file without line ends cannot fill memory.

use std::io::{BufRead, Result};

/// Reads lines into one buffer.
#[derive(Debug)]
pub(super) struct Lines<R> {
    reader: R,
    line: Vec<u8>,
    number: u64,
    bytes_max: usize,
}

/// A line without its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// The whole line.
    Text(&'a [u8]),
    /// It has more than this many bytes and was passed over.
    TooLong(usize),
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(reader: R, bytes_max: usize) -> Self {
        Self {
            reader,
            line: Vec::new(),
            number: 0,
            bytes_max,
        }
    }

    /// The next line and its number, from 1; none at the end of the file. A byte order mark is not part of the first.
    pub(super) fn next(&mut self) -> Result<Option<(u64, Line<'_>)>> {
        self.line.clear();
        let mut too_long = false;
        let mut any = false;
        loop {
            let available = self.reader.fill_buf()?;
            if available.is_empty() {
                break;
            }
            any = true;
            let end = available.iter().position(|byte| *byte == b'\n');
            let part = available
                .get(..end.unwrap_or(available.len()))
                .unwrap_or_default();
            too_long = too_long || self.line.len() + part.len() > self.bytes_max;
            if !too_long {
                self.line.extend_from_slice(part);
            }
            let consumed = end.map_or(available.len(), |end| end + 1);
            self.reader.consume(consumed);
            if end.is_some() {
                break;
            }
        }
        if !any {
            return Ok(None);
        }
        self.number = self.number.saturating_add(1);
        if too_long {
            return Ok(Some((self.number, Line::TooLong(self.bytes_max))));
        }
        let line = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
        let line = match self.number {
            1 => line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line),
            _ => line,
        };
        Ok(Some((self.number, Line::Text(line))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &[u8], bytes_max: usize) -> Vec<(u64, Option<Vec<u8>>)> {
        // A tiny buffer, so that lines span several fills.
        let mut lines = Lines::new(std::io::BufReader::with_capacity(3, text), bytes_max);
        let mut all = Vec::new();
        while let Some((number, line)) = lines.next().unwrap() {
            all.push(match line {
                Line::Text(text) => (number, Some(text.to_vec())),
                Line::TooLong(_) => (number, None),
            });
        }
        all
    }

    #[test]
    fn line_ends_and_the_byte_order_mark_are_no_part_of_a_line() {
        let all = lines(b"\xef\xbb\xbfab\r\n\ncd", 10);
        assert_eq!(
            all,
            [
                (1, Some(b"ab".to_vec())),
                (2, Some(b"".to_vec())),
                (3, Some(b"cd".to_vec()))
            ]
        );
    }

    #[test]
    fn a_line_that_is_too_long_is_passed_over_and_the_next_is_read() {
        let all = lines(b"abcdefghijkl\nmn\n", 4);
        assert_eq!(all, [(1, None), (2, Some(b"mn".to_vec()))]);
    }

    #[test]
    fn an_empty_file_has_no_line() {
        assert_eq!(lines(b"", 4), []);
    }
}
