//! Where notifications go: tables of the file.

use std::{borrow::Cow, fs, path::PathBuf};

use chaos_kitty::{settings::Entry, text, v1::event::level::Name as Level};
use serde::Deserialize;

use crate::event::notify::{Format, Patience, Webhook};

/// The key of the file's tables, one for each receiver.
pub(super) const WEBHOOK: &str = "webhook";

/// One receiver.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct WebhookTable {
    url: String,
    #[serde(default)]
    format: Format,
    /// All, where it is left out.
    levels: Option<Vec<String>>,
    /// A file with the key of the signature; white space around it does not count.
    secret_file: Option<PathBuf>,
    tls_ca: Option<PathBuf>,
}

/// Reads a table, and the secret that it names.
///
/// # Errors
/// A value that can not be used, with its place.
pub(super) fn read(table: Entry<WebhookTable>) -> Result<Webhook, String> {
    let Entry { place, value: table } = table;
    webhook(table).map_err(|what| format!("{place}: {what}"))
}

fn webhook(table: WebhookTable) -> Result<Webhook, String> {
    let url = table.url.parse().map_err(|error| format!("url: {error}"))?;
    let levels = match table.levels {
        None => vec![Level::Good, Level::Warn, Level::Error],
        Some(levels) => levels.iter().map(|name| level(name)).collect::<Result<_, _>>()?,
    };
    let secret = match &table.secret_file {
        None => String::new(),
        Some(path) => {
            let bytes = fs::read(path).map_err(|error| error.to_string());
            let text = bytes.and_then(|bytes| text::decode(&bytes).map(Cow::into_owned));
            let text = text.map_err(|error| format!("secret-file: {}: {error}", path.display()))?;
            Some(text.trim().to_owned())
                .filter(|secret| !secret.is_empty())
                .ok_or_else(|| format!("secret-file: {} is empty", path.display()))?
        }
    };
    let (format, tls_ca) = (table.format, table.tls_ca);
    Ok(Webhook { url, format, levels, secret, tls_ca, patience: Patience::default() })
}

fn level(name: &str) -> Result<Level, String> {
    let level = Level::from_str_name(name).filter(|level| *level != Level::Unspecified);
    level.ok_or_else(|| format!("levels: {name:?} is none; there are GOOD, WARN and ERROR"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_toml(text: &str) -> Result<Webhook, String> {
        read(Entry {
            place: "kittyd.toml:3".to_owned(),
            value: toml::from_str(text).map_err(|error| error.to_string())?,
        })
    }

    #[test]
    fn an_address_is_enough_and_the_secret_is_in_a_file() {
        let plain = read_toml(r#"url = "https://kitty.example/hook""#).unwrap();
        assert_eq!((plain.levels.len(), plain.secret.as_str(), plain.format), (3, "", Format::Json));
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("secret");
        fs::write(&secret, "nine lives\n").unwrap();
        let text = format!(
            "url = \"http://a/b\"\nformat = \"slack\"\nlevels = [\"ERROR\"]\nsecret-file = \"{}\"",
            secret.display()
        );
        let full = read_toml(&text).unwrap();
        assert_eq!(
            (full.secret.as_str(), full.format, full.levels),
            ("nine lives", Format::Slack, vec![Level::Error])
        );
        fs::write(&secret, "\n").unwrap();
        assert!(read_toml(&text).unwrap_err().contains("is empty"));
    }

    #[test]
    fn what_can_not_be_used_is_refused_with_its_place() {
        for (text, expected) in [
            (r#"url = "http://a b""#, "kittyd.toml:3: url: "),
            ("url = \"http://a\"\nlevels = [\"BAD\"]", "BAD"),
            ("url = \"http://a\"\nlevels = [\"UNSPECIFIED\"]", "UNSPECIFIED"),
            ("url = \"http://a\"\nsecret-file = \"/nowhere/at/all\"", "/nowhere/at/all"),
            ("url = \"http://a\"\nsecret = \"x\"", "unknown field"),
            ("url = \"http://a\"\nformat = \"xml\"", "xml"),
        ] {
            let refused = read_toml(text).unwrap_err();
            assert!(refused.contains(expected), "{refused}");
        }
    }
}
