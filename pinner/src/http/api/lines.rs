//! Cuts a body of any length into lines of a bounded one.

use bytes::{Buf, Bytes, BytesMut};

/// A line, without its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// It is whole.
    Whole(Bytes),
    /// It has more bytes than are taken; they are gone.
    TooLong,
}

/// What was fed and is not taken yet: never more than a line and a chunk.
#[derive(Debug)]
pub(super) struct Lines {
    max: usize,
    buffer: BytesMut,
    /// Whether the line that the buffer begins with has lost its beginning already.
    beheaded: bool,
}

impl Lines {
    /// Takes lines of up to `max` bytes.
    pub(super) fn new(max: usize) -> Self {
        Self { max, buffer: BytesMut::new(), beheaded: false }
    }

    /// Adds what came.
    pub(super) fn feed(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
    }

    /// The next line whose end has come.
    pub(super) fn next(&mut self) -> Option<Line> {
        let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') else {
            if self.buffer.len() > self.max {
                self.buffer.clear();
                self.beheaded = true;
            }
            return None;
        };
        let line = self.buffer.split_to(end).freeze();
        self.buffer.advance(1);
        let too_long = std::mem::take(&mut self.beheaded) || line.len() > self.max;
        Some(if too_long { Line::TooLong } else { Line::Whole(line) })
    }

    /// The line that ends with the body, if it does not end in a line's end. Only for a body that came whole.
    pub(super) fn last(&mut self) -> Option<Line> {
        let line = self.buffer.split().freeze();
        let too_long = std::mem::take(&mut self.beheaded) || line.len() > self.max;
        match (too_long, line.is_empty()) {
            (true, _) => Some(Line::TooLong),
            (false, true) => None,
            (false, false) => Some(Line::Whole(line)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(chunks: &[&str], max: usize) -> Vec<Option<String>> {
        let mut lines = Lines::new(max);
        let mut cut = Vec::new();
        let text = |line| match line {
            Line::Whole(bytes) => Some(String::from_utf8(bytes.to_vec()).unwrap()),
            Line::TooLong => None,
        };
        for chunk in chunks {
            lines.feed(chunk.as_bytes());
            while let Some(line) = lines.next() {
                cut.push(text(line));
            }
            assert!(lines.buffer.len() <= max, "what is kept is bounded");
        }
        cut.extend(lines.last().map(text));
        cut
    }

    fn some(lines: &[&str]) -> Vec<Option<String>> {
        lines.iter().map(|line| Some((*line).to_owned())).collect()
    }

    #[test]
    fn lines_are_the_same_wherever_the_body_is_cut() {
        for chunks in [&["ab\ncd\n\nef"][..], &["a", "b", "\n", "cd", "\n\ne", "f"], &["ab\n", "cd\n", "\n", "ef"]] {
            assert_eq!(cut(chunks, 10), some(&["ab", "cd", "", "ef"]));
        }
        assert_eq!(cut(&["ab\n"], 10), some(&["ab"]));
        assert_eq!(cut(&[], 10), some(&[]));
    }

    #[test]
    fn a_line_that_is_too_long_is_one_line_and_the_next_is_whole() {
        assert_eq!(cut(&["abc\nabcd\nx"], 3), [Some("abc".into()), None, Some("x".into())]);
        assert_eq!(cut(&["ab", "cd", "ef", "g\nx\n"], 3), [None, Some("x".into())]);
        assert_eq!(cut(&["abcd", ""], 3), [None]);
    }
}
