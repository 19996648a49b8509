//! What is read of a suite, and what is not: `POST /experiment/build`.

use super::*;

const SEED: &str = r#"{ "platformType": "DockerPlatform",
  "experimentCriteria": [
    { "containerIdentifier": "mongo",
      "experimentMethods": ["cpuBurn.sh", "starveRandomNumberGenerator.sh"],
      "specificContainerTargets": ["mongo-qw93ut"] } ] }"#;

async fn build(body: &str) -> (u16, Value, Option<String>) {
    let rest = Rest::new(Script::default()).await;
    let (code, answer) = rest.call("POST /experiment/build", Some(body)).await;
    let asked = rest.script.asked.lock().unwrap().pop();
    (code, answer, asked)
}

#[tokio::test]
async fn the_earlier_managers_own_document_is_read_and_answered_by_a_bare_list() {
    let (code, answer, asked) = build(SEED).await;
    assert_eq!((code, answer[0]["experimentState"].as_str()), (200, Some("CREATED")), "{answer}");
    let asked = asked.unwrap();
    for part in [r#"platform_type: "DockerPlatform""#, r#""cpuBurn.sh""#, r#"["mongo-qw93ut"]"#, "seed: None"]
    {
        assert!(asked.contains(part), "{asked}");
    }
}

#[tokio::test]
async fn targets_may_be_left_out_and_names_may_be_written_either_way() {
    let left_out = r#"{"platform_type": "P", "experimentCriteria": [{"containerIdentifier": "a"}]}"#;
    let (code, _, asked) = build(left_out).await;
    assert_eq!(code, 200);
    assert!(asked.unwrap().contains("specific_container_targets: []"));
}

#[tokio::test]
async fn what_decides_over_a_suite_is_handed_on_as_it_was_written() {
    // Empty criteria and methods, targets named twice or more of them than methods, targets of another group and
    // unknown methods: the experiments refuse them, all or nothing.
    for body in [
        r#"{"platformType": "P", "experimentCriteria": []}"#,
        r#"{"platformType": "P", "experimentCriteria": [{"containerIdentifier": "a", "experimentMethods": []}]}"#,
        r#"{"experimentCriteria": [{"specificContainerTargets": ["a", "a", "b/of/another"]}]}"#,
    ] {
        let (code, answer, asked) = build(body).await;
        assert_eq!(code, 200, "{answer}");
        let suite: v1::ExperimentSuite = serde_json::from_str(body).unwrap();
        assert!(asked.unwrap().starts_with(&format!("{suite:?}")));
    }
}

#[tokio::test]
async fn what_is_no_suite_is_refused_with_the_place_and_never_reaches_the_experiments() {
    let deep = format!(r#"{{"experimentCriteria": {}"#, "[".repeat(10_000));
    for (body, expected) in [
        (r#"{"platformtype": "P"}"#, "`platformtype`"),
        (r#"{"experimentCriteria": [{"containerId": "a"}]}"#, "`containerId`"),
        (r#"{"platformType": 5}"#, "platformType: "),
        (r#"{"experimentCriteria": {}}"#, "experimentCriteria: "),
        (r#"{"experimentCriteria": ["mongo"]}"#, "experimentCriteria[0]: "),
        (
            r#"{"experimentCriteria": [{"experimentMethods": "cpuBurn.sh"}]}"#,
            "experimentCriteria[0].experimentMethods: ",
        ),
        (r#"{"seed": -1}"#, "seed: "),
        (r#"{"seed": 18446744073709551616}"#, "seed: "),
        (r#"{"dryRun": "yes"}"#, "dryRun: "),
        (r#"{"platformType": "P", "platformType": "P"}"#, "twice"),
        (r#"{"platformType": "P", "platform_type": "P"}"#, "duplicate"),
        (r#"{"methodParameters": {"delay": {}, "delay": {}}}"#, "twice"),
        (&deep, "recursion"),
        ("[]", "invalid type"),
        ("null", "invalid type"),
        ("{", "EOF"),
        ("{}{}", "trailing"),
    ] {
        let (code, answer, asked) = build(body).await;
        assert_eq!((code, &answer["code"]), (400, &json!(63007)), "{body}: {answer}");
        assert!(answer["message"].as_str().unwrap().contains(expected), "{body}: {answer}");
        assert_eq!(asked, None, "{body}");
    }
}

#[tokio::test]
async fn bytes_that_are_no_text_too_many_bytes_and_another_media_type_are_refused() {
    let rest = Rest::new(Script::default()).await;
    let post = |media: &str, body: Vec<u8>| {
        HttpRequest::post("/experiment/build").header(CONTENT_TYPE, media).body(Body::from(body)).unwrap()
    };
    let big = format!(r#"{{"name": "{}"}}"#, "x".repeat(2 << 20));
    for (media, body, code) in [
        ("application/json", b"{\"name\": \"\xff\xfe\"}".to_vec(), 400),
        ("application/json", big.into_bytes(), 413),
        ("text/plain", SEED.as_bytes().to_vec(), 415),
        ("application/x-www-form-urlencoded", SEED.as_bytes().to_vec(), 415),
    ] {
        let (status, text) = rest.raw(post(media, body)).await;
        assert_eq!(status, code, "{media}: {text}");
    }
    assert!(rest.script.asked.lock().unwrap().is_empty());
}
