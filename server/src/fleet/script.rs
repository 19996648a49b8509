//! Contents of scripts on their way to nodes: each once on a node's stream, before the first order that names it.

use std::collections::HashMap;

use bytes::Bytes;
use chaos_kitty::{
    Code, Problem,
    v1::{ScriptContent, server_message::Kind},
};

use super::{
    Fleet,
    node::{Live, Node},
};

/// Contents by their SHA-256, hexadecimal.
pub type ScriptContents = HashMap<String, Bytes>;

impl Fleet {
    /// Sends the content of that hash, unless this attachment of the node has it. The caller holds the node's lock, so
    /// that no order overtakes it.
    ///
    /// # Errors
    /// [`Code::NoSuchScript`].
    pub(super) fn hand_over(&self, node: &Node, live: &mut Live, hash: &str) -> Result<(), Problem> {
        if live.scripts.contains(hash) {
            return Ok(());
        }
        let content = self.scripts.get(hash).cloned().ok_or_else(|| {
            Problem::new(Code::NoSuchScript, format!("this server has no script of the hash {hash}"))
                .hint("it was changed since: look at the scripts again")
        })?;
        let hash = hash.to_owned();
        live.scripts.insert(hash.clone());
        node.send(Kind::Script(ScriptContent { hash, content }));
        Ok(())
    }
}
