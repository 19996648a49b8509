//! What can not be read of an earlier start is set aside, and never loosens safety.

use v1::{action_state::Name as State, admin_state::Name as Admin};

use super::*;

/// A store in a file whose rows were changed by somebody else while it was closed.
async fn changed(folder: &TempDir, sql: &str) -> Store {
    let path = folder.path().join("kitty.db");
    let store = Store::open(&path).unwrap();
    let status = v1::ActionStatus {
        id: "00000001".to_owned(),
        target_id: "worker/here/a".to_owned(),
        state: State::Started.into(),
        ..Default::default()
    };
    store.put_action(&status).await.unwrap();
    store.put_value("admin_state", &v1::AdminStateResponse::default()).await.unwrap();
    drop(store);
    rusqlite::Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    Store::open(&path).unwrap()
}

#[tokio::test]
async fn a_group_under_what_can_not_be_read_waits_until_it_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let store = changed(&folder, "UPDATE action SET status = x'ffffffff'").await;
    let settings = Settings { longest_fault: Duration::from_secs(1), ..quick() };
    let server = Server::on(settings, store).await;
    let mut nodes = Vec::new();
    for id in ["a", "b", "c"] {
        nodes.push(server.worker(id, "group").await.idle());
    }
    let apart = server.worker("d", "other").await.idle();
    let refused = server.unleash("b", delay(Duration::from_millis(100))).await.unwrap_err();
    assert_eq!(refused.code, Code::Unclear, "{refused}");
    assert!(refused.message.contains(" a ") && refused.hint.contains("kittyd check"), "{refused}");
    server.unleash("d", delay(Duration::from_millis(100))).await.unwrap();
    server
        .until("the lease and the longest fault are over", async || {
            server.unleash("b", delay(Duration::from_millis(100))).await.is_ok()
        })
        .await;
    let told = server.client().await.get_status(v1::GetStatusRequest {}).await.unwrap().into_inner();
    assert_eq!(told.set_aside.len(), 1, "{told:?}");
    assert_eq!((told.set_aside[0].kind.as_str(), told.set_aside[0].key.as_str()), ("action", "00000001"));
    drop((nodes, apart));
}

#[tokio::test]
async fn an_administrative_state_that_can_not_be_read_halts() {
    let folder = tempfile::tempdir().unwrap();
    let store = changed(&folder, "UPDATE meta SET value = x'ffffffff' WHERE key = 'admin_state'").await;
    let server = Server::on(quick(), store).await;
    let service = server.app.service();
    assert!(service.admin.get().halted);
    service.gate.resume().unwrap();
    assert_eq!(service.admin.get().state(), Admin::Paused);
}

#[tokio::test]
async fn a_schedule_that_can_not_be_read_is_off() {
    let folder = tempfile::tempdir().unwrap();
    let sql = "INSERT INTO meta (key, value) VALUES ('schedule', x'ffffffff')";
    let server = Server::on(quick(), changed(&folder, sql).await).await;
    assert!(!server.app.service().schedule.get().await.automated);
    assert_eq!(server.app.service().store.all_set_aside()[0].key, "schedule");
}
