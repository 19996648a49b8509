//! The paths of the earlier experiment manager.

use super::*;

async fn text(rest: &Rest, line: &str) -> (u16, String) {
    let (method, path) = line.split_once(' ').unwrap();
    let request = HttpRequest::builder().method(method).uri(path).body(Body::empty()).unwrap();
    let (code, text) = rest.raw(request).await;
    (code.as_u16(), text)
}

fn entry(seconds: i64, nanos: i32, name: &str) -> v1::HistoryEntry {
    let suite =
        v1::ExperimentSuite { platform_type: "P".to_owned(), name: name.to_owned(), ..Default::default() };
    v1::HistoryEntry {
        at: Some(chaos_kitty::Timestamp { seconds, nanos }),
        suite: Some(suite),
        ..Default::default()
    }
}

#[tokio::test]
async fn each_path_calls_what_it_names() {
    let rest = Rest::new(Script::default()).await;
    for (line, asked) in [
        ("POST /experiment/start", "StartExperimentRequest { target: \"\" }"),
        ("POST /experiment/start/process%2Fweb-1%2Fnginx:1", "target: \"process/web-1/nginx:1\""),
        ("POST /experiment/start/process/web-1/nginx:1", "target: \"process/web-1/nginx:1\""),
        ("POST /experiment/start/1216008725", "target: \"1216008725\""),
        ("DELETE /experiment/abc", "StopExperimentRequest { id: \"abc\" }"),
        ("POST /experiment/automated", "automated: Some(true), backoff: None"),
        ("DELETE /experiment/automated", "automated: Some(false), backoff: None"),
        ("PATCH /experiment/backoff?backoffDuration=PT1H15M45S", "seconds: 4545"),
        ("POST /admin/state?state=PAUSED", "state: Paused"),
        ("POST /admin/state?state=ABORT&source=bob", "source: \"bob\""),
        ("GET /experiment/method?platformType=P", "platform_type: \"P\""),
        ("GET /script", "ListScriptsRequest"),
        ("GET /script/cpuBurn.sh", "name: \"cpuBurn.sh\""),
        ("GET /experiment/history/2019-08-29T12:55:31.139495Z", "nanos: 139495000"),
    ] {
        let (code, answer) = rest.call(line, None).await;
        assert_eq!(code, 200, "{line}: {answer}");
        let seen = rest.asked();
        assert!(seen.contains(asked), "{line} asked {seen}");
    }
}

#[tokio::test]
async fn words_are_bare_or_quoted_as_they_were() {
    let rest = Rest::new(Script::default()).await;
    for (line, answer) in [
        ("GET /experiment/automated", "true"),
        ("POST /experiment/automated", "ok"),
        ("DELETE /experiment/automated", "ok"),
        ("PATCH /experiment/backoff?backoffDuration=15m", ""),
        ("GET /admin/state", "\"DRAIN\""),
        ("POST /admin/state?state=DRAIN", ""),
        ("GET /health", "\"OK\""),
        ("POST /platform/refresh", ""),
        ("POST /refresh", "[]"),
        ("POST /refresh/all", "false"),
        ("POST /logging", "ok"),
        ("POST /logging/PT5M", "ok"),
        ("DELETE /logging", "ok"),
        ("GET /platform", "[]"),
        ("GET /platform/health", r#"{"OVERALL":"OK"}"#),
        ("GET /experiment/stats/groupbystate", r#"{"STARTED":["a","b"]}"#),
        (
            "GET /experiment/stats/countbystate",
            r#"{"CREATED":0,"FAILED":0,"FINALIZING":0,"FINISHED":0,"SELF_HEALING":0,"STARTED":2,"STARTING":0}"#,
        ),
    ] {
        assert_eq!(text(&rest, line).await, (200, answer.to_owned()), "{line}");
    }
}

#[tokio::test]
async fn a_form_is_read_like_a_query() {
    let rest = Rest::new(Script::default()).await;
    for (method, path, form, asked) in [
        ("PATCH", "/experiment/backoff", "backoffDuration=PT90S", "seconds: 90"),
        ("POST", "/admin/state", "state=STARTED&source=a+b", "source: \"a b\""),
    ] {
        let request = HttpRequest::builder().method(method).uri(path);
        let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let (code, text) = rest.raw(request.body(Body::from(form)).unwrap()).await;
        assert_eq!(code, 200, "{text}");
        assert!(rest.asked().contains(asked));
    }
}

#[tokio::test]
async fn experiments_are_a_bare_list_over_all_pages() {
    let rest = Rest::new(Script::default()).await;
    let ids = |answer: &Value| {
        let list = answer.as_array().unwrap().iter();
        list.map(|experiment| experiment["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&rest.call("GET /experiment", None).await.1), ["b", "a"]);
    assert_eq!(ids(&rest.call("GET /experiment?all=true", None).await.1), ["b", "a", "c"]);
    assert_eq!(rest.call("POST /experiment/start", None).await, (200, json!([])));
}

#[tokio::test]
async fn the_history_is_one_map_newest_first_whose_keys_differ_and_whose_values_can_be_built() {
    let history = vec![
        Ok(entry(1_567_083_331, 139_495_000, "newest")),
        Ok(entry(1_567_083_331, 139_495_700, "of the same microsecond")),
        Ok(entry(1_567_083_331, 139_495_000, "and another")),
        Ok(entry(1_567_083_330, 0, "")),
        Ok(entry(1, 0, "")),
    ];
    let rest = Rest::new(Script { history, ..Script::default() }).await;
    let (code, body) = text(&rest, "GET /experiment/history").await;
    assert_eq!(code, 200);
    let keys: Vec<_> = body.split('"').filter(|part| part.ends_with('Z') && part.contains('T')).collect();
    assert_eq!(
        keys,
        [
            "2019-08-29T12:55:31.139495Z",
            "2019-08-29T12:55:31.139494Z",
            "2019-08-29T12:55:31.139493Z",
            "2019-08-29T12:55:30.000000Z",
            "1970-01-01T00:00:01.000000Z"
        ]
    );
    let map: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(map[keys[1]]["name"], "of the same microsecond");
    assert_eq!(map[keys[3]], json!({"platformType": "P", "experimentCriteria": []}));
    let again = map[keys[0]].to_string();
    assert_eq!(rest.call("POST /experiment/build", Some(&again)).await.0, 200);
}

#[tokio::test]
async fn an_empty_history_is_an_empty_map_and_one_that_can_not_be_read_a_problem() {
    let rest = Rest::new(Script::default()).await;
    assert_eq!(rest.call("GET /experiment/history", None).await, (200, json!({})));
    let history = vec![Err(Problem::new(Code::StoreUnavailable, "gone").into())];
    let rest = Rest::new(Script { history, ..Script::default() }).await;
    assert_eq!(rest.call("GET /experiment/history", None).await.0, 503);
}

#[tokio::test]
async fn a_history_that_breaks_off_is_never_taken_for_a_whole_one() {
    let broken = Problem::new(Code::StoreUnavailable, "gone");
    let history = vec![Ok(entry(3, 0, "")), Ok(entry(2, 0, "")), Err(broken.into())];
    let rest = Rest::new(Script { history, ..Script::default() }).await;
    let request = HttpRequest::get("/experiment/history").body(Body::empty()).unwrap();
    let answer = rest.router.clone().oneshot(request).await.unwrap();
    assert!(answer.into_body().collect().await.is_err());
}

#[tokio::test]
async fn what_is_wrong_is_said_with_what_to_write() {
    let rest = Rest::new(Script::default()).await;
    for (line, code, number, expected) in [
        ("GET /experiment/none", 404, 63015, "none"),
        ("POST /admin/state?state=BOGUS", 400, 63001, "BOGUS"),
        ("POST /admin/state?state=paused", 400, 63001, "paused"),
        ("POST /admin/state", 400, 63001, "state"),
        ("PATCH /experiment/backoff?backoffDuration=soon", 400, 63001, "PT5S"),
        ("PATCH /experiment/backoff", 400, 63001, "backoffDuration"),
        ("GET /experiment/backoff", 405, 63011, "GET"),
        ("GET /experiment/history/yesterday", 400, 63001, "timestamp"),
        ("GET /experiment?page=2", 400, 63001, "`page`"),
        ("POST /logging/PT25H", 400, 63001, "24 hours"),
        ("POST /logging/soon", 400, 63001, "PT5S"),
        ("POST /login", 410, 63017, "sessions"),
        ("POST /logout", 410, 63017, "sessions"),
    ] {
        let (status, answer) = rest.call(line, None).await;
        assert_eq!((status, &answer["code"]), (code, &json!(number)), "{line}: {answer}");
        assert!(answer["message"].as_str().unwrap().contains(expected), "{line}: {answer}");
    }
    let request = HttpRequest::post("/admin/state").header(CONTENT_TYPE, "application/json");
    assert_eq!(rest.raw(request.body(Body::from("{}")).unwrap()).await.0, 415);
}
