use chaos_kitty::{
    Problem,
    v1::{ListScriptsResponse, Script},
};

use super::Service;

impl Service {
    pub(super) fn scripts(&self) -> ListScriptsResponse {
        ListScriptsResponse { scripts: self.actions.scripts().all().map(|script| script.view()).collect() }
    }

    pub(super) fn script(&self, name: &str) -> Result<Script, Problem> {
        let script = self.actions.scripts().get(name)?;
        let content = String::from_utf8_lossy(&script.content).into_owned();
        Ok(Script { content, ..script.view() })
    }
}
