use serde_json::json;

use super::{found, guard, masked};

/// Each text, whatever stands beside it, gives just this value of this kind.
#[track_caller]
fn finds(kind: &str, values: &[&str]) {
    let guard = guard(json!({"ip": "mask"}));
    for value in values {
        for (before, after) in
            [("", ""), ("see ", " there"), ("(", ")"), ("\"", "\","), ("日本", "語"), ("=", "."), ("\\n", "\\n")]
        {
            let text = format!("{before}{value}{after}");
            assert_eq!(found(&guard, &text), [(kind.to_owned(), *value)], "{text}");
        }
    }
}

#[track_caller]
fn passes(texts: &[&str]) {
    let guard = guard(json!({"ip": "mask"}));
    for text in texts {
        assert_eq!(found(&guard, text), [], "{text}");
    }
}

#[test]
fn emails() {
    finds(
        "email",
        &[
            "ada@example.org",
            "ada.lovelace+notes@mail.example.co.uk",
            "a_b-c%d@x-y.io",
            "42@example.com",
            "jürgen@müller.de",
            "ада@почта.рф",
            "root@xn--bcher-kva.example",
            "postmaster@xn--p1ai.xn--p1ai",
        ],
    );
    passes(&[
        "@mention",
        "a @ b.c",
        "icon@2x.png",
        "pkg@1.2.3",
        "ada@localhost",
        "ada@example.c",
        "ada@.com",
        "@example.com",
        "decorate with @app.route",
        "a@b@c",
    ]);
    let guard = guard(json!({}));
    assert_eq!(masked(&guard, "mail ada@example.org. Then"), "mail [EMAIL]. Then");
    assert_eq!(masked(&guard, "...ada@example.org--"), "...[EMAIL]--");
    assert_eq!(masked(&guard, "https://user:secret@example.org/x"), "https://user:[EMAIL]/x");
    assert_eq!(masked(&guard, "请联系ada@example.org谢谢"), "请联系[EMAIL]谢谢");
    let long = "x".repeat(65) + "@example.org";
    assert_eq!(masked(&guard, &long), long, "no local part has 65 bytes");
}

#[test]
fn cards() {
    finds(
        "card",
        &[
            "4111111111111111",
            "4111 1111 1111 1111",
            "4111-1111-1111-1111",
            "4111.1111.1111.1111",
            "4111\u{a0}1111\u{a0}1111\u{a0}1111",
            "5555 5555 5555 4444",
            "2223003122003222",
            "3782 822463 10005",
            "378282246310005",
            "6011111111111117",
            "30569309025904",
            "3530111333300000",
            "6205500000000000004",
            "4222222222222",
        ],
    );
    passes(&[
        "4111111111111112",
        "41111111111111111",
        "x4111111111111111",
        "4111111111111111x",
        "0.4111111111111111",
        "4111111111111111.5",
        "1234567890123452",
        "4111 1111-1111 1111",
        "4 111111111111111",
        "550e8400-e29b-41d4-a716-446655440000",
        "1700000000000",
        "41-4111-1111-1111-1111",
    ]);
    let guard = guard(json!({}));
    assert_eq!(masked(&guard, "4111 1111 1111 1111 12/27, 3 times"), "[CARD] 12/27, 3 times");
    assert_eq!(masked(&guard, "4242424242424242,4111111111111111"), "[CARD],[CARD]");
    assert_eq!(masked(&guard, "in 2024 4111 1111 1111 1111"), "in 2024 [CARD]");
}

#[test]
fn social_security_numbers() {
    finds("ssn", &["123-45-6789", "123 45 6789", "899.99.9999", "123\u{2011}45\u{2011}6789"]);
    passes(&[
        "000-45-6789",
        "666-45-6789",
        "900-45-6789",
        "123-00-6789",
        "123-45-0000",
        "123-45 6789",
        "1-123-45-6789",
        "123-45-6789-1",
        "123-45-67890",
        "123456789",
        "order 123456789",
    ]);
    let guard = guard(json!({}));
    assert_eq!(masked(&guard, "SSN: 123456789"), "SSN: [SSN]");
    assert_eq!(masked(&guard, "my social security number is 123456789."), "my social security number is [SSN].");
    assert_eq!(masked(&guard, "{\"ssn\": \"123456789\"}"), "{\"ssn\": \"[SSN]\"}");
}

#[test]
fn ibans() {
    finds(
        "iban",
        &[
            "DE89370400440532013000",
            "DE89 3704 0044 0532 0130 00",
            "de89370400440532013000",
            "GB29NWBK60161331926819",
            "GB29 NWBK 6016 1331 9268 19",
            "NO9386011117947",
            "FR14 2004 1010 0505 0001 3M02 606",
            "MT84MALT011000012345MTLCAST001S",
        ],
    );
    passes(&[
        "DE89370400440532013001",
        "DE8937040044053201300",
        "DE893704004405320130000",
        "XX89370400440532013000",
        "aDE89370400440532013000",
        "DE89 37040044053201 3000",
    ]);
}

#[test]
fn addresses() {
    finds(
        "ip",
        &[
            "192.168.1.10",
            "8.8.8.8",
            "2001:db8::1",
            "fe80::1ff:fe23:4567:890a",
            "2001:0db8:0000:0000:0000:ff00:0042:8329",
        ],
    );
    passes(&[
        "1.2.3",
        "1.2.3.4.5",
        "256.1.1.1",
        "1.2.3.04",
        "v1.2.3.4",
        "1.2.3.4-rc1",
        "lib-1.2.3.4",
        "12:30:45",
        "std::vec::Vec",
        "a::b",
        "00:1a:2b:3c:4d:5e",
        "::",
        "dead::beef::1",
        "1:2:3",
    ]);
    let guard = guard(json!({"ip": "mask"}));
    assert_eq!(masked(&guard, "http://10.0.0.1:8080/ and 10.0.0.0/8"), "http://[IP]:8080/ and [IP]/8");
    assert_eq!(masked(&guard, "10.0.0.1-10.0.0.9"), "[IP]-[IP]");
    assert_eq!(masked(&guard, "at:2001:db8::1: up"), "at:[IP]: up");
}

#[test]
fn phones() {
    finds(
        "phone",
        &[
            "+1 415 555 2671",
            "+14155552671",
            "+1 (415) 555-2671",
            "+44 20 7946 0958",
            "+49 (0) 30 123456",
            "+49 1512 3456789",
            "+33 1 23 45 67 89",
            "+1\u{2011}415\u{2011}555\u{2011}2671",
            "(415) 555-2671",
            "(415)555-2671",
            "415-555-2671",
            "415.555.2671",
            "415 555 2671",
            "1-800-555-2671",
            "1 (415) 555-2671",
            "020 7946 0958",
            "07911 123456",
            "01 23 45 67 89",
            "030/1234567",
            "(030) 1234567",
            "03-1234-5678",
            "090-1234-5678",
            "0412 345 678",
        ],
    );
    passes(&[
        "4155552671",
        "115-555-2671",
        "415-155-2671",
        "911-555-2671",
        "415-555-267",
        "415-555-26711",
        "1700000000",
        "2024-01-15 10:30:00",
        "01.02.2024 12:30",
        "01/02/2024",
        "2024-01-15-10-30-00",
        "01 02 03 04 05",
        "0-306-40615-2",
        "+1700000000",
        "+20240101",
        "+3.14159265358",
        "5 + 12345",
        "555-2671",
        "12-415-555-2671",
        "0.123456789",
        "3.14159",
        "gpt-4o-2024-08-06",
        "claude-3-5-sonnet-20241022",
        "000 123 456 789",
    ]);
    let guard = guard(json!({}));
    assert_eq!(masked(&guard, "+1 415 555 2671 10 times"), "[PHONE] 10 times");
    assert_eq!(masked(&guard, "tel:+14155552671,x"), "tel:[PHONE],x");
}

#[test]
fn keys_and_tokens() {
    let long = "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8S9t0".repeat(2);
    let values = [
        format!("sk-{}", &long[..48]),
        format!("sk-ant-api03-{long}-x_AA"),
        format!("sk-proj-{long}"),
        format!("pc_prod_{}", &long[..32]),
        format!("pc_dev_{}", &long[..32]),
        "AKIAIOSFODNN7EXAMPLE".to_owned(),
        "ASIAIOSFODNNXEXAMPLE".to_owned(),
        format!("ghp_{}", &long[..36]),
        format!("gho_{}", &long[..36]),
        format!("github_pat_{}_{}", &long[..22], &long[..59]),
        "xoxb-123456789012-abcdefGHIJ".to_owned(),
        "xoxp-123456789012-abcdefGHIJ".to_owned(),
        format!("glpat-{}", &long[..20]),
        format!("AIza{}", &long[..35]),
        format!("hf_{}", "a".repeat(34)),
        format!("gsk_{}", &long[..52]),
        format!("sk_live_{}", &long[..24]),
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl-_x".to_owned(),
    ];
    finds("api-key", &values.iter().map(String::as_str).collect::<Vec<_>>());
    passes(&[
        "sk-learn-compatible-estimators-of-course",
        "sk-short1",
        "task-A1b2C3d4E5f6G7h8I9j0K1l2M3n4",
        "AKIAIOSFODNN7EXAMPLEX",
        "aAKIAIOSFODNN7EXAMPLE",
        "ghp_short",
        "bearer of bad news, in 2024",
        "Bearer authentication",
        "eyJhbGciOiJIUzI1NiJ9",
        "chatcmpl-A1b2C3d4E5f6G7h8I9j0",
        "toolu_01A09q90qw90lq917835lq9",
        "call_abc123def456",
    ]);
    let guard = guard(json!({}));
    assert_eq!(masked(&guard, "Authorization: Bearer abc.DEF-123~456+789/0=="), "Authorization: Bearer [API_KEY]");
    assert_eq!(masked(&guard, &format!("?key=AIza{}&x=1", &long[..35])), "?key=[API_KEY]&x=1");
    assert_eq!(masked(&guard, &format!("is Bearer {}.", &long)), "is Bearer [API_KEY].");
}

#[test]
fn private_keys() {
    let guard = guard(json!({}));
    let body = "MIIEowIBAAKCAQEA7\n".repeat(200);
    for label in ["PRIVATE KEY", "RSA PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "OPENSSH PRIVATE KEY"] {
        let key = format!("-----BEGIN {label}-----\nProc-Type: 4,ENCRYPTED\n\n{body}-----END {label}-----");
        assert_eq!(masked(&guard, &format!("key:\n{key}\nend")), "key:\n[API_KEY]\nend");
        let quoted = key.replace('\n', "\\n");
        assert_eq!(masked(&guard, &format!("{{\"k\":\"{quoted}\\n\"}}")), "{\"k\":\"[API_KEY]\\n\"}");
    }
    assert_eq!(masked(&guard, "-----BEGIN PRIVATE KEY-----\nMIIE..."), "[API_KEY]...");
    let public = format!("-----BEGIN PUBLIC KEY-----\n{body}-----END PUBLIC KEY-----");
    assert_eq!(masked(&guard, &public), public);
    assert_eq!(masked(&guard, "----------------"), "----------------");
}

#[test]
fn data_is_left_alone_but_for_a_key_at_its_head() {
    let guard = guard(json!({"ip": "mask"}));
    // Every pair of base64 bytes occurs, digits in plenty.
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let data: String =
        (0..60_000_u32).map(|i| alphabet[(i.wrapping_mul(2_654_435_761) >> 26) as usize] as char).collect();
    let image = format!("data:image/png;base64,{data}==");
    assert_eq!(masked(&guard, &image), image);
    assert_eq!(masked(&guard, &format!("Bearer {data}")), "Bearer [API_KEY]");
    assert_eq!(masked(&guard, &format!("{image} ada@example.org")), format!("{image} [EMAIL]"));
}
