//! Variables of the environment that look like settings and are none.

/// What our variables begin with.
const OURS: &str = "KITTY_";

/// Those that are no settings: what scripts are told, what the tests say to each other.
const TOLD: [&str; 4] = ["KITTY_TARGET", "KITTY_TARGET_PID", "KITTY_NAMESPACES", "KITTY_TMP"];
const OF_TESTS: &str = "KITTY_TEST_";

/// One sentence for each variable of `set` that is ours by its name and none of the `known` ones.
pub fn not_honoured(known: &[String], set: impl Iterator<Item = String>) -> Vec<String> {
    let is_strange = |name: &String| {
        name.starts_with(OURS)
            && !name.starts_with(OF_TESTS)
            && !TOLD.contains(&name.as_str())
            && !known.contains(name)
    };
    let mut strange: Vec<String> = set.filter(is_strange).collect();
    strange.sort_unstable();
    strange.iter().map(|name| sentence(name, known)).collect()
}

/// Those of this process.
pub fn of_this_process() -> impl Iterator<Item = String> {
    std::env::vars_os().filter_map(|(name, _)| name.into_string().ok())
}

fn sentence(name: &str, known: &[String]) -> String {
    let nearest = known.iter().map(|other| (distance(name, other), other)).min();
    match nearest {
        Some((distance, other)) if distance <= 2 => {
            format!("the variable {name} is not a setting of this program; did you mean {other}?")
        }
        _ => format!("the variable {name} is not a setting of this program, and has no effect"),
    }
}

/// How many letters must be put in, left out or changed (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, letter) in one.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], index + 1);
        for (column, wanted) in other.bytes().enumerate() {
            let changed = diagonal + usize::from(letter != wanted);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_has_no_effect_is_said_with_the_nearest() {
        let known = ["KITTY_SERVER", "KITTY_LOG", "KITTY_TLS_CA"].map(str::to_owned);
        let set = ["KITTY_SERVR", "KITTY_LOG", "PATH", "KITTY_TMP", "KITTY_TEST_PATIENCE", "KITTY_OUTPUT"];
        let told = not_honoured(&known, set.into_iter().map(str::to_owned));
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].contains("KITTY_OUTPUT") && told[0].contains("no effect"), "{told:?}");
        assert!(told[1].contains("KITTY_SERVR") && told[1].contains("KITTY_SERVER?"), "{told:?}");
    }

    #[test]
    fn distances_are_those_of_single_letters() {
        for (one, other, expected) in
            [("", "", 0), ("a", "", 1), ("abc", "abd", 1), ("abc", "xabc", 1), ("LOG", "GOL", 2)]
        {
            assert_eq!(distance(one, other), expected, "{one} {other}");
        }
    }
}
