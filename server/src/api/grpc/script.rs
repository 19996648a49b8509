use chaos_kitty::{
    Problem,
    page::Page,
    v1::{ListScriptsRequest, ListScriptsResponse, Script},
};

use super::Service;

impl Service {
    pub(super) fn scripts(&self, request: ListScriptsRequest) -> ListScriptsResponse {
        let ListScriptsRequest { page_size, page_token } = request;
        let all = self.actions.scripts().all().map(|script| script.view());
        let (scripts, next_page_token) = self.page(Page::after(&page_token, all, page_size));
        ListScriptsResponse { scripts, next_page_token }
    }

    pub(super) fn script(&self, name: &str) -> Result<Script, Problem> {
        let script = self.actions.scripts().get(name)?;
        let content = String::from_utf8_lossy(&script.content).into_owned();
        Ok(Script { content, ..script.view() })
    }
}
