//! Connections whose credentials are fetched, or sign the request: what the provider sees, and what happens without one.

use portcullis_tests::{Gateway, Received, Setup, Upstream, answer, json_answer};
use serde_json::json;

const SECRET: &str = "s3cret/key+of-the-cloud";
const TOKEN: &str = "t0ken-of-the-cloud";

fn path(request: &Received) -> &str {
    request.head.split(' ').nth(1).unwrap_or_default()
}

fn header<'a>(request: &'a Received, name: &str) -> &'a str {
    let line =
        request.head.lines().find_map(|line| line.split_once(": ").filter(|(key, _)| key.eq_ignore_ascii_case(name)));
    line.map_or("", |(_, value)| value)
}

/// A provider and the service that gives out its credentials, at one address.
async fn aws() -> Upstream {
    Upstream::start(|request| match path(request) {
        "/credentials" => {
            let issued = json!({
                "AccessKeyId": "ASIAEXAMPLE", "SecretAccessKey": SECRET, "Token": TOKEN, "Expiration": "2100-01-01T00:00:00Z",
            });
            json_answer(200, "", &issued.to_string())
        }
        _ => {
            let answer = json!({
                "output": {"message": {"role": "assistant", "content": [{"text": "signed"}]}},
                "stopReason": "end_turn", "metrics": {"latencyMs": 1},
                "usage": {"inputTokens": 3, "outputTokens": 5, "totalTokens": 8},
            });
            json_answer(200, "", &answer.to_string())
        }
    })
    .await
}

/// Neither the log nor an answer holds a secret.
fn keeps_its_secrets(gateway: &Gateway) {
    let log = gateway.log();
    for secret in [SECRET, TOKEN] {
        assert!(!log.contains(secret), "{log}");
    }
}

#[tokio::test]
async fn requests_to_aws_are_signed_with_credentials_that_are_fetched_once() {
    let upstream = aws().await;
    let address = upstream.address;
    let gateway = Setup::new()
        .plugins(&["bedrock", "openai"])
        .provider(
            "aws",
            "bedrock",
            &format!("http://{address}"),
            "auth = \"aws-sigv4\"\naws = { region = \"eu-west-1\" }\n",
        )
        .environment("AWS_CONTAINER_CREDENTIALS_FULL_URI", &format!("http://{address}/credentials"))
        .environment("AWS_CONTAINER_AUTHORIZATION_TOKEN", "of the container")
        .environment("HOME", "/nonexistent")
        .start()
        .await;
    let client = gateway.client().await;
    for _ in 0..2 {
        let answer = client.chat("aws/some.model-v1:0", "hello").await.ok();
        assert_eq!(answer.json()["choices"][0]["message"]["content"], "signed");
    }
    let requests = upstream.requests();
    let (fetched, signed): (Vec<_>, Vec<_>) = requests.iter().partition(|request| path(request) == "/credentials");
    assert_eq!((fetched.len(), signed.len()), (1, 2));
    assert_eq!(header(fetched[0], "authorization"), "of the container");
    for request in signed {
        assert_eq!(path(request), "/model/some.model-v1%3A0/converse");
        let authorization = header(request, "authorization");
        assert!(authorization.starts_with("AWS4-HMAC-SHA256 Credential=ASIAEXAMPLE/"), "{authorization}");
        assert!(authorization.contains("/eu-west-1/bedrock/aws4_request, SignedHeaders="), "{authorization}");
        for name in ["host", "x-amz-date", "x-amz-security-token", "content-type"] {
            assert!(authorization.contains(name), "{name}: {authorization}");
        }
        assert_eq!(header(request, "x-amz-security-token"), TOKEN);
    }
    keeps_its_secrets(&gateway);
}

fn entra(name: &str, upstream: &Upstream) -> String {
    format!(
        "auth = \"azure-entra\"\n[providers.{name}.entra]\ntenant = \"my-tenant\"\nclient_id = \"app\"\n\
         client_secret = \"${{TEST_SECRET}}\"\nauthority = \"http://{}\"\n",
        upstream.address
    )
}

#[tokio::test]
async fn a_token_is_fetched_and_borne() {
    let upstream = Upstream::start(|request| match path(request) {
        "/my-tenant/oauth2/v2.0/token" => {
            let granted = json!({"token_type": "Bearer", "expires_in": 3600, "access_token": TOKEN});
            json_answer(200, "", &granted.to_string())
        }
        _ => answer("known"),
    })
    .await;
    let base = format!("http://{}/v1", upstream.address);
    let gateway = Setup::new()
        .plugins(&["bedrock", "openai"])
        .provider("azure", "openai", &base, &entra("azure", &upstream))
        .environment("TEST_SECRET", SECRET)
        .start()
        .await;
    let client = gateway.client().await;
    for _ in 0..2 {
        client.chat("azure/demo", "hello").await.ok();
    }
    let requests = upstream.requests();
    let (fetched, asked): (Vec<_>, Vec<_>) = requests.iter().partition(|request| path(request).contains("oauth2"));
    assert_eq!((fetched.len(), asked.len()), (1, 2));
    let form = String::from_utf8_lossy(&fetched[0].body);
    assert!(form.contains("client_secret=s3cret%2Fkey%2Bof-the-cloud"), "{form}");
    assert!(asked.iter().all(|request| header(request, "authorization") == format!("Bearer {TOKEN}")));
    keeps_its_secrets(&gateway);
}

#[tokio::test]
async fn without_a_credential_nothing_is_sent_and_nothing_is_paid() {
    let upstream = Upstream::start(|_| {
        let refused = json!({"error": "invalid_client", "error_description": SECRET, "error_codes": [7_000_215]});
        json_answer(401, "", &refused.to_string())
    })
    .await;
    let base = format!("http://{}/v1", upstream.address);
    let gateway = Setup::new()
        .plugins(&["bedrock", "openai"])
        .provider("azure", "openai", &base, &entra("azure", &upstream))
        .environment("TEST_SECRET", SECRET)
        .start()
        .await;
    let client = gateway.client().await;
    let refused = client.chat("azure/demo", "hello").await;
    assert_eq!((refused.status.as_u16(), &refused.json()["error"]["code"]), (502, &json!("upstream_credentials")));
    assert!(upstream.requests().iter().all(|request| path(request).contains("oauth2")));
    let receipt = client.receipt(&refused.id()).await;
    assert_eq!(receipt["attempts"][0]["ended"], "refunded", "{receipt}");
    gateway.logged(&["credential_unavailable", "invalid_client 7000215"]).await;
    keeps_its_secrets(&gateway);
}

#[tokio::test]
async fn a_key_may_stand_in_the_query() {
    let upstream = Upstream::start(|_| answer("known")).await;
    let base = format!("http://{}/v1", upstream.address);
    let gateway = Setup::new()
        .plugins(&["bedrock", "openai"])
        .provider("google", "openai", &base, "auth = \"query:key\"\napi_key = \"${TEST_SECRET}\"\n")
        .environment("TEST_SECRET", SECRET)
        .start()
        .await;
    gateway.client().await.chat("google/demo", "hello").await.ok();
    let requests = upstream.requests();
    assert_eq!(path(&requests[0]), "/v1/chat/completions?key=s3cret%2Fkey%2Bof-the-cloud");
    assert_eq!(header(&requests[0], "authorization"), "");
    keeps_its_secrets(&gateway);
}
