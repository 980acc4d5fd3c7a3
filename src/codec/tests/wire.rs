//! A notation for bytes on the wire.

/// Bytes from text: hexadecimal digits stand for themselves, `'text'` for its bytes, `<text>` for its length in two
/// bytes and its bytes, `[ ... ]` for the length of what it encloses as a variable byte integer and what it encloses.
pub(super) fn wire(text: &str) -> Vec<u8> {
    let mut open: Vec<Vec<u8>> = vec![Vec::new()];
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let innermost = open.last_mut().expect("brackets are balanced");
        let taken = match first {
            ' ' => 1,
            '\'' | '<' => {
                let end = if first == '<' { '>' } else { '\'' };
                let len = rest[1..].find(end).expect("the text ends");
                if first == '<' {
                    innermost.extend_from_slice(&(len as u16).to_be_bytes());
                }
                innermost.extend_from_slice(&rest.as_bytes()[1..=len]);
                len + 2
            }
            '[' => {
                open.push(Vec::new());
                1
            }
            ']' => {
                let inner = open.pop().expect("brackets are balanced");
                let outer = open.last_mut().expect("brackets are balanced");
                push_variable_byte_integer(inner.len(), outer);
                outer.extend_from_slice(&inner);
                1
            }
            _ => {
                innermost.push(u8::from_str_radix(&rest[..2], 16).expect("two hexadecimal digits"));
                2
            }
        };
        rest = &rest[taken..];
    }
    assert_eq!(open.len(), 1, "brackets are balanced in {text}");
    open.remove(0)
}

fn push_variable_byte_integer(mut value: usize, out: &mut Vec<u8>) {
    while value > 127 {
        out.push((value % 128) as u8 + 128);
        value /= 128;
    }
    out.push(value as u8);
}

#[test]
fn notation() {
    assert_eq!(wire("0A ff 'a b' <xy> 0102"), b"\x0A\xFFa b\x00\x02xy\x01\x02");
    assert_eq!(wire("30 [00 [01 02] []]"), [0x30, 5, 0, 2, 1, 2, 0]);
    assert_eq!(wire(&format!("[{}]", "00".repeat(200)))[..3], [0xC8, 0x01, 0]);
}
