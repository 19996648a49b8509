//! The counters that a HotSpot virtual machine shares in `/tmp/hsperfdata_USER/PID` (`jstat` reads them there).
//!
//! A header of 32 bytes, then entries: lengths and offsets in the machine's byte order, which is ours.

/// `0xcafec0c0`, big-endian whatever the byte order of the rest.
const MAGIC: [u8; 4] = [0xca, 0xfe, 0xc0, 0xc0];

/// A number of 64 bits, as its JNI type letter.
const LONG: u8 = b'J';

/// Collections since the machine's start, summed over all collectors. `None`: it does not say.
pub(super) fn collections(file: &[u8]) -> Option<u64> {
    let counts = longs(file)?.into_iter().filter_map(|(name, value)| {
        let collector = name.strip_prefix("sun.gc.collector.")?;
        collector.ends_with(".invocations").then_some(value)
    });
    counts.reduce(u64::saturating_add)
}

/// Every counter of one number.
fn longs(file: &[u8]) -> Option<Vec<(&str, u64)>> {
    if file.get(..4)? != MAGIC {
        return None;
    }
    let word = |at: usize| {
        let bytes = file.get(at..at.checked_add(4)?)?.try_into().ok()?;
        usize::try_from(u32::from_ne_bytes(bytes)).ok()
    };
    let (mut entry, count) = (word(24)?, word(28)?);
    let mut found = Vec::new();
    for _ in 0..count {
        let (length, name, vector, data) =
            (word(entry)?, word(entry + 4)?, word(entry + 8)?, word(entry + 16)?);
        if length == 0 {
            break;
        }
        if *file.get(entry + 12)? == LONG && vector == 0 {
            let name = file.get(entry.checked_add(name)?..)?.split(|byte| *byte == 0).next()?;
            let at = entry.checked_add(data)?;
            let value = file.get(at..at.checked_add(8)?)?.try_into().ok()?;
            found.push((std::str::from_utf8(name).ok()?, u64::from_ne_bytes(value)));
        }
        entry = entry.checked_add(length)?;
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(name: &str, kind: u8, value: u64) -> Vec<u8> {
        let name_bytes = name.len() + 1;
        let data = (20 + name_bytes).next_multiple_of(8);
        let words = |words: [usize; 3]| words.into_iter().flat_map(|word| (word as u32).to_ne_bytes());
        let mut bytes: Vec<u8> = words([data + 8, 20, 0]).collect();
        bytes.extend([kind, 0, 0, 0]);
        bytes.extend((data as u32).to_ne_bytes());
        bytes.extend(name.bytes());
        bytes.resize(data, 0);
        bytes.extend(value.to_ne_bytes());
        bytes
    }

    fn file(entries: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.resize(24, 0);
        bytes.extend(32u32.to_ne_bytes());
        bytes.extend((entries.len() as u32).to_ne_bytes());
        bytes.extend(entries.concat());
        bytes
    }

    #[test]
    fn collections_are_summed_over_all_collectors() {
        let file = file(&[
            entry("sun.gc.collector.0.invocations", LONG, 3),
            entry("sun.gc.collector.0.name", b'B', 9),
            entry("sun.gc.collector.1.invocations", LONG, 2),
            entry("java.threads.live", LONG, 7),
        ]);
        assert_eq!(collections(&file), Some(5));
        assert_eq!(collections(b""), None);
    }

    proptest! {
        #[test]
        fn whatever_the_file_holds_it_is_read_without_panic(
            entries in prop::collection::vec(any::<u64>(), 0..6), cut in any::<prop::sample::Index>(),
            at in any::<prop::sample::Index>(), byte in any::<u8>(),
        ) {
            let entries: Vec<_> = entries.iter().map(|value| entry("sun.gc.collector.0.invocations", LONG, *value)).collect();
            let mut bytes = file(&entries);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes.truncate(cut.index(bytes.len() + 1));
            let _ = collections(&bytes);
        }
    }
}
