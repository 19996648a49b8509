//! Lists that come page by page.

use chaos_kitty::{
    Problem,
    page::{self, Entry},
};

/// The first entries of a list, up to a limit, and the token of what follows them. `fetch` asks for a page of at most
/// so many entries after a token; a page may be shorter, or empty, though more follow.
///
/// # Errors
/// Those of `fetch`.
pub(super) async fn first<T: Entry>(
    limit: usize,
    fetch: impl AsyncFn(u32, String) -> Result<(Vec<T>, String), Problem>,
) -> Result<(Vec<T>, String), Problem> {
    let mut whole = Vec::new();
    let mut token = String::new();
    loop {
        let wanted = u32::try_from(limit - whole.len()).unwrap_or(u32::MAX);
        let (entries, next) = fetch(wanted, token.clone()).await?;
        // One that a form of output cannot express must not make the others vanish.
        whole.extend(entries.into_iter().map(|entry| page::shown(entry).0));
        whole.truncate(limit);
        if next.is_empty() || next == token || whole.len() == limit {
            return Ok((whole, next));
        }
        token = next;
    }
}

/// All entries of a list.
///
/// # Errors
/// Those of `fetch`.
pub(super) async fn all<T: Entry>(
    fetch: impl AsyncFn(u32, String) -> Result<(Vec<T>, String), Problem>,
) -> Result<Vec<T>, Problem> {
    first(usize::MAX, fetch).await.map(|(whole, _)| whole)
}

#[cfg(test)]
mod tests {
    use chaos_kitty::v1::{Script, Target};

    use super::*;

    fn script(number: u32) -> Script {
        Script { name: number.to_string(), ..Script::default() }
    }

    /// A list of 1200, in pages of 500 at the most, the second one empty.
    async fn scripts(size: u32, token: String) -> Result<(Vec<Script>, String), Problem> {
        let begin: u32 = token.trim_end_matches('+').parse().unwrap_or(0);
        if begin == 500 && !token.ends_with('+') {
            return Ok((Vec::new(), "500+".to_owned()));
        }
        let end = (begin + size.min(500)).min(1200);
        Ok(((begin..end).map(script).collect(), if end < 1200 { end.to_string() } else { String::new() }))
    }

    #[tokio::test]
    async fn pages_are_asked_for_until_there_is_enough_or_no_more() {
        for (limit, length, token) in [(1, 1, "1"), (700, 700, "700"), (1200, 1200, ""), (5000, 1200, "")] {
            let (whole, next) = first(limit, scripts).await.unwrap();
            assert_eq!(whole, (0..length).map(script).collect::<Vec<_>>());
            assert_eq!(next, token);
        }
        assert_eq!(all(scripts).await.unwrap().len(), 1200);
    }

    #[tokio::test]
    async fn an_entry_that_json_cannot_express_does_not_hide_the_others() {
        let unclear = Target { id: "a".to_owned(), health: 99, ..Target::default() };
        let clear = Target { id: "b".to_owned(), ..Target::default() };
        let list = [unclear, clear];
        let targets = all(async |_, _| Ok((list.to_vec(), String::new()))).await.unwrap();
        let json = serde_json::to_value(&targets).unwrap();
        assert_eq!((json[0]["id"].as_str(), json[1]["id"].as_str()), (Some("a"), Some("b")));
        assert!(json[0]["problem"]["message"].is_string(), "{json}");
    }
}
