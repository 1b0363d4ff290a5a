//! Signature Version 4 over the finished request
//! (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>): its path as it is sent, its headers, the
//! hash of its body.

use std::time::{Duration, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use http::Request;
use http_body_util::Full;

use super::CredentialError;
use super::aws::Keys;
use crate::config::AwsConfig;
use crate::upstream::Address;

const SERVICE: &str = "bedrock";

pub struct Signer {
    region: String,
    service: String,
}

impl Signer {
    pub fn of(config: &AwsConfig) -> Self {
        let region = config.region.clone().unwrap_or_default();
        Signer { region, service: config.service.clone().unwrap_or_else(|| SERVICE.to_owned()) }
    }

    /// Adds `x-amz-date`, `authorization` and, for temporary keys, `x-amz-security-token`.
    ///
    /// # Errors
    /// A request with headers that are no text.
    pub fn sign(
        &self,
        request: &mut Request<Full<Bytes>>,
        address: &Address,
        keys: &Keys,
        now: u64,
    ) -> Result<(), CredentialError> {
        fn unsignable(error: impl std::error::Error) -> CredentialError {
            CredentialError::Unsignable(error.to_string())
        }
        let identity = Credentials::new(&keys.id, &keys.secret, keys.token.clone(), None, "portcullis").into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(&self.service)
            .time(UNIX_EPOCH + Duration::from_millis(now))
            .settings(SigningSettings::default())
            .build()
            .map_err(unsignable)?
            .into();
        let body = request.body().clone().into_inner().unwrap_or_default();
        let authority = address.authority.to_str().map_err(unsignable)?;
        let uri = format!("{}://{authority}{}", if address.tls { "https" } else { "http" }, request.uri());
        let mut headers = Vec::with_capacity(request.headers().len());
        for (name, value) in request.headers() {
            headers.push((name.as_str(), value.to_str().map_err(unsignable)?));
        }
        let signable =
            SignableRequest::new(request.method().as_str(), uri, headers.into_iter(), SignableBody::Bytes(&body));
        let (instructions, _) = sign(signable.map_err(unsignable)?, &parameters).map_err(unsignable)?.into_parts();
        let (signed, _) = instructions.into_parts();
        for header in signed {
            let mut value = http::HeaderValue::from_str(header.value()).map_err(unsignable)?;
            value.set_sensitive(header.sensitive() || header.name() == "authorization");
            request.headers_mut().insert(header.name(), value);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// AWS's example key, from its Signature Version 4 test suite.
    const ID: &str = "AKIDEXAMPLE";
    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
    /// 2015-08-30T12:36:00Z
    const AT: u64 = 1_440_938_160_000;

    fn signed(
        method: &str,
        host: &str,
        service: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &'static str,
        token: Option<&str>,
    ) -> Request<Full<Bytes>> {
        let address = Address::parse(&format!("https://{host}")).unwrap();
        let mut request = Request::builder().method(method).uri(path).header("host", host);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Full::new(Bytes::from(body))).unwrap();
        let signer = Signer { region: "us-east-1".to_owned(), service: service.to_owned() };
        signer.sign(&mut request, &address, &Keys::new(ID, SECRET, token), AT).unwrap();
        request
    }

    fn authorization(request: &Request<Full<Bytes>>) -> &str {
        request.headers()["authorization"].to_str().unwrap()
    }

    /// `get-vanilla`, `get-vanilla-query-order-key-case` and `post-x-www-form-urlencoded` of AWS's test suite
    /// (<https://docs.aws.amazon.com/general/latest/gr/signature-v4-test-suite.html>).
    #[test]
    fn aws_own_examples() {
        let scope = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request";
        let host = "example.amazonaws.com";
        let form = ("content-type", "application/x-www-form-urlencoded");
        for (method, path, headers, body, names, signature) in [
            (
                "GET",
                "/",
                &[][..],
                "",
                "host;x-amz-date",
                "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            ),
            (
                "GET",
                "/?Param2=value2&Param1=value1",
                &[],
                "",
                "host;x-amz-date",
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
            (
                "POST",
                "/",
                &[form],
                "Param1=value1",
                "content-type;host;x-amz-date",
                "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
            ),
        ] {
            let request = signed(method, host, "service", path, headers, body, None);
            assert_eq!(authorization(&request), format!("{scope}, SignedHeaders={names}, Signature={signature}"));
            assert_eq!(request.headers()["x-amz-date"], "20150830T123600Z");
        }
    }

    /// A path that holds escapes is escaped once more for the signature. Signatures by botocore 1.44.5.
    #[test]
    fn paths_are_signed_as_they_are_sent() {
        let json = [("content-type", "application/json")];
        let host = "bedrock-runtime.us-east-1.amazonaws.com";
        let body = r#"{"messages":[]}"#;
        let path = "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse";
        let request = signed("POST", host, "bedrock", path, &json, body, Some("SESSION"));
        let expected = "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, \
            Signature=92d5efe3b087851b712234adf33070e12f2d49e0543610f150743253e9ec863c";
        assert!(authorization(&request).ends_with(expected), "{}", authorization(&request));
        assert_eq!(request.headers()["x-amz-security-token"], "SESSION");
        assert!(
            request.headers()["authorization"].is_sensitive()
                && request.headers()["x-amz-security-token"].is_sensitive()
        );
        let path = "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Ainference-profile%2Fx/converse";
        let request = signed("POST", host, "bedrock", path, &json, body, None);
        let expected = "Signature=9f0c90a5a967e22c3093b35656c73b9f107096a0c1a46e4a3ffc69cb3e988cbc";
        assert!(authorization(&request).ends_with(expected), "{}", authorization(&request));
    }

    #[test]
    fn the_body_is_part_of_what_is_signed() {
        let of = |body| authorization(&signed("POST", "h.example", "bedrock", "/", &[], body, None)).to_owned();
        assert_ne!(of("a"), of("b"));
    }
}
