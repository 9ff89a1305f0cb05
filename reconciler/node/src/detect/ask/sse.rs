//! Server-sent events as far as a probe needs them: the data of each complete event (WHATWG HTML,
//! section "Server-sent events"). Each byte is looked at once, however slowly they come.

/// Reads a stream piece by piece.
#[derive(Debug, Default)]
pub(super) struct Events {
    line: Vec<u8>,
    data: Option<String>,
    after_cr: bool,
}

impl Events {
    /// Data of the events that these bytes complete, in order.
    pub fn read(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut complete = Vec::new();
        for byte in bytes {
            // A line ends with CR, LF or both.
            let ends = matches!(byte, b'\r' | b'\n');
            let second_half = *byte == b'\n' && self.after_cr;
            self.after_cr = *byte == b'\r';
            if !ends {
                self.line.push(*byte);
            } else if !second_half {
                complete.extend(self.end_line());
            }
        }
        complete
    }

    /// An empty line completes an event; one without data is none.
    fn end_line(&mut self) -> Option<String> {
        let line = std::mem::take(&mut self.line);
        let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line);
        if line.is_empty() {
            return self.data.take();
        }
        let value = match line.strip_prefix(b"data") {
            Some([]) => &[],
            Some([b':', b' ', value @ ..] | [b':', value @ ..]) => value,
            _ => return None,
        };
        let value = String::from_utf8_lossy(value);
        match &mut self.data {
            Some(data) => {
                data.push('\n');
                data.push_str(&value);
            }
            None => self.data = Some(value.into_owned()),
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] =
        b"\xef\xbb\xbf: hello\n\nid: 1\nevent: message\ndata: {\"a\":\ndata:1}\n\n\
                            database: x\n\ndata: two\r\n\r\ndata\r\rdata: \xff\n\ndata: not yet";

    #[test]
    fn complete_events_give_their_data_whatever_ends_their_lines() {
        let expected = ["{\"a\":\n1}", "two", "", "\u{fffd}"];
        assert_eq!(Events::default().read(STREAM), expected);
        let mut slow = Events::default();
        let bytes = STREAM.chunks(1).flat_map(|byte| slow.read(byte));
        assert_eq!(bytes.collect::<Vec<_>>(), expected);
    }
}
