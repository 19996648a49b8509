//! The number by which users of the earlier experiment manager name a target.

use chaos_kitty::v1::Target;

const SEPARATOR: &str = "$$$$$";

/// CRC-32 of what identifies this life of the target: 32 bits, so two of many thousands may share one.
pub fn identity(target: &Target) -> u32 {
    let label = |name: &str| target.labels.get(name).map_or("", String::as_str);
    let owner = [label("namespace"), label("owner-kind"), label("owner")];
    let place = if owner.iter().all(|owner| owner.is_empty()) { target.host.as_str() } else { "" };
    let fields = [target.incarnation.as_str(), &target.name, owner[0], owner[1], owner[2], place];
    let fields: Vec<_> = fields.into_iter().filter(|field| !field.is_empty()).collect();
    crc32fast::hash(fields.join(SEPARATOR).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_that_of_the_earlier_manager() {
        let labels = [("namespace", "default"), ("owner-kind", "REPLICA_SET"), ("owner", "nginx")];
        let pod = Target {
            incarnation: "uid-1".to_owned(),
            name: "nginx-abc".to_owned(),
            host: "node-1".to_owned(),
            labels: labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            ..Target::default()
        };
        assert_eq!(identity(&pod), 1_216_008_725);
    }

    #[test]
    fn another_life_and_another_host_have_other_numbers() {
        let here = Target {
            incarnation: "4711:1".into(),
            name: "nginx:4711".into(),
            host: "a".into(),
            ..Target::default()
        };
        let there = Target { host: "b".into(), ..here.clone() };
        let reborn = Target { incarnation: "4711:2".into(), ..here.clone() };
        assert_ne!(identity(&here), identity(&there));
        assert_ne!(identity(&here), identity(&reborn));
    }
}
