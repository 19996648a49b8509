//! Reading /proc (proc(5)): names of processes and paths in it may hold any byte, so that none of it is read as text.

/// The value of the line `NAME: VALUE` of a file such as `/proc/PID/status`.
pub fn field<'a>(text: &'a [u8], name: &str) -> Option<&'a str> {
    let values = lines(text).filter_map(|line| line.strip_prefix(name.as_bytes())?.strip_prefix(b":"));
    values.filter_map(|value| str::from_utf8(value).ok()).map(str::trim).next()
}

/// The same for a value in kB, in bytes.
pub fn kilobytes(text: &[u8], name: &str) -> Option<u64> {
    let value = field(text, name)?.strip_suffix("kB")?.trim_end();
    value.parse::<u64>().ok()?.checked_mul(1024)
}

/// The lines of a file, without their ends.
pub fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

/// What `/proc/PID/stat` says: the name of the process, which may hold parentheses and line ends, and the fields after
/// it, beginning with the state.
pub fn stat(text: &[u8]) -> Option<(&[u8], impl Iterator<Item = &str>)> {
    let open = text.iter().position(|byte| *byte == b'(')?;
    let close = text.iter().rposition(|byte| *byte == b')')?;
    let name = text.get(open + 1..close)?;
    Some((name, str::from_utf8(&text[close + 1..]).ok()?.split_ascii_whitespace()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_any_byte_hides_no_field() {
        for byte in 0x01..=0xff {
            let name = [b'a', byte, b')', b' ', byte];
            let mut text = b"5 (".to_vec();
            text.extend(name);
            text.extend(b") S 1 2 3\n");
            let (seen, fields) = stat(&text).unwrap();
            assert_eq!(
                (seen, fields.collect::<Vec<_>>()),
                (&name[..], vec!["S", "1", "2", "3"]),
                "{byte:#x}"
            );
        }
        assert!(stat(b"5 (cut").is_none());
        let status = b"Name:\t\xc4\nUid:\t0\t33\t0\t0\nVmSize:\t    12 kB\n";
        assert_eq!(field(status, "Uid"), Some("0\t33\t0\t0"));
        assert_eq!(kilobytes(status, "VmSize"), Some(12 << 10));
        assert_eq!((field(status, "Name"), field(status, "Gid")), (None, None));
    }
}
