//! Usage and the audit trail as files.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn usage_is_a_file_in_each_format() {
    let world = world().await;
    let within = format!("organisation={}&by=organisation,user", world.organisations[0]);
    let csv = world.get(&format!("/usage/export?{within}")).await;
    assert_eq!(csv.headers["content-disposition"], "attachment; filename=\"usage.csv\"");
    assert!(csv.headers["content-type"].to_str().unwrap().starts_with("text/csv"));
    let mut lines = csv.text.lines();
    assert!(lines.next().unwrap().starts_with("organisation,user,requests,failed,input_tokens"), "{}", csv.text);
    assert!(lines.next().unwrap().starts_with(&format!("{},u-1,1,0,10", world.organisations[0])), "{}", csv.text);
    assert_eq!(lines.next(), None);
    let jsonl = world.get(&format!("/usage/export?{within}&format=jsonl")).await;
    let row: Value = serde_json::from_str(jsonl.text.trim()).unwrap();
    assert_eq!((&row["user"], &row["output_tokens"]), (&json!("u-1"), &json!(5)));
    assert_eq!(world.get("/usage/export?format=xml").await.code(), "invalid_parameter");
    assert_eq!(world.get("/usage/export?by=colour").await.code(), "invalid_parameter");
    let token = format!("Bearer {}", world.superadmin);
    let stream = TcpStream::connect(world.server.address()).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("/admin/v1/usage/export?format=parquet").header("host", "gateway");
    let request = request.header("authorization", token).body(Full::new(Bytes::new())).unwrap();
    let parquet = sender.send_request(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
    assert!(parquet.starts_with(b"PAR1") && parquet.ends_with(b"PAR1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_trail_is_a_file_of_however_many_events() {
    let world = world().await;
    let event = |at: u64| {
        let mut event = portcullis_store::NewEvent::new(&Actor::cli("ada"), at, None, "test.event", at);
        event.after = Some(json!({"at": at}));
        event
    };
    let events: Vec<_> = (0..2_500).map(event).collect();
    world.store.backend().append_events(&events).await.unwrap();
    let file = world.get("/audit-events/export?action=test.").await;
    let targets: Vec<String> = file
        .text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["target"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(targets, (0..2_500).map(|at: u64| at.to_string()).collect::<Vec<_>>());
    let csv = world.get("/audit-events/export?action=test.&format=csv&since_ms=10&until_ms=12").await;
    assert_eq!(csv.text.lines().count(), 3, "{}", csv.text);
    let own = world.token(Role::Auditor, Scope::Organisation(world.organisations[1])).await;
    let theirs = world.call("GET", "/audit-events/export?format=csv", &own, None).await;
    assert!(!theirs.text.contains(&world.organisations[0].to_string()), "{}", theirs.text);
    assert!(theirs.text.contains("organisation.create"), "{}", theirs.text);
}
