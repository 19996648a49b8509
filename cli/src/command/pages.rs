//! Lists that come page by page.

use chaos_kitty::Problem;

/// Most lines asked for at a time.
const PAGE: usize = 500;

/// The first lines of a list, up to a limit, and the token of what follows them. `fetch` asks for a page of at most
/// so many lines after a token.
///
/// # Errors
/// Those of `fetch`.
pub(super) async fn first<T>(
    limit: usize,
    fetch: impl AsyncFn(u32, String) -> Result<(Vec<T>, String), Problem>,
) -> Result<(Vec<T>, String), Problem> {
    let mut whole = Vec::new();
    let mut token = String::new();
    loop {
        let wanted = (limit - whole.len()).min(PAGE);
        let (page, next) = fetch(u32::try_from(wanted).unwrap_or(u32::MAX), token).await?;
        whole.extend(page);
        whole.truncate(limit);
        if next.is_empty() || whole.len() == limit {
            return Ok((whole, next));
        }
        token = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A list of 1200 numbers, in pages.
    async fn numbers(size: u32, token: String) -> Result<(Vec<u32>, String), Problem> {
        let begin: u32 = token.parse().unwrap_or(0);
        let end = (begin + size).min(1200);
        Ok(((begin..end).collect(), if end < 1200 { end.to_string() } else { String::new() }))
    }

    #[tokio::test]
    async fn pages_are_asked_for_until_there_is_enough_or_no_more() {
        for (limit, length, token) in [(1, 1, "1"), (700, 700, "700"), (1200, 1200, ""), (5000, 1200, "")] {
            let (whole, next) = first(limit, numbers).await.unwrap();
            assert_eq!(whole, (0..length).collect::<Vec<_>>());
            assert_eq!(next, token);
        }
    }
}
