//! `~/.aws/credentials` and `~/.aws/config`
//! (<https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html>): the keys of one profile.

use super::CredentialError;
use super::aws::Keys;

/// The value of a key within a section, both as written.
fn value<'a>(text: &'a str, section: &str, key: &str) -> Option<&'a str> {
    let mut within = false;
    let mut found = None;
    for line in text.lines() {
        let trimmed = line.trim();
        if let Some(header) = trimmed.strip_prefix('[') {
            let name = header.split(']').next().unwrap_or_default();
            within = name.split_whitespace().eq(section.split_whitespace());
        } else if within
            // An indented line belongs to the key above it.
            && !line.starts_with([' ', '\t'])
            && !trimmed.starts_with(['#', ';'])
            && let Some((name, value)) = trimmed.split_once('=')
            && name.trim().eq_ignore_ascii_case(key)
        {
            let value = value.trim();
            // A comment after a value stands after a space.
            found = Some(value.split([' ', '\t']).next().unwrap_or(value)).filter(|value| !value.is_empty());
        }
    }
    found
}

/// The keys of a profile; `None` where neither file has it. The credentials file goes before the configuration file.
///
/// # Errors
/// A profile whose credentials come from somewhere that the gateway does not ask.
pub fn keys(profile: &str, credentials: &str, config: &str) -> Result<Option<Keys>, CredentialError> {
    let in_config = if profile == "default" { profile.to_owned() } else { format!("profile {profile}") };
    let of = |key: &str| value(credentials, profile, key).or_else(|| value(config, &in_config, key));
    if let (Some(id), Some(secret)) = (of("aws_access_key_id"), of("aws_secret_access_key")) {
        return Ok(Some(Keys::new(id, secret, of("aws_session_token"))));
    }
    for key in
        ["sso_session", "sso_start_url", "credential_process", "web_identity_token_file", "role_arn", "login_session"]
    {
        if of(key).is_some() {
            return Err(CredentialError::Absent(format!(
                "the profile `{profile}` takes its credentials from `{key}`, which the gateway does not support; have it hold keys"
            )));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREDENTIALS: &str = "\
# a comment
[default]
aws_access_key_id = AKID1
aws_secret_access_key=wJalr/K7=MDENG+x   # another
[ other ]
  aws_access_key_id = NOT
aws_access_key_id = AKID2
aws_secret_access_key = s2
aws_session_token = t2
[half]
aws_access_key_id = AKID3
";
    const CONFIG: &str = "\
[profile half]
aws_secret_access_key = s3
[profile federated]
sso_session = corp
[default]
region = us-east-1
";

    #[test]
    fn profiles_hold_keys() {
        let read = |profile: &str| keys(profile, CREDENTIALS, CONFIG).unwrap();
        assert_eq!(read("default"), Some(Keys::new("AKID1", "wJalr/K7=MDENG+x", None)));
        assert_eq!(read("other"), Some(Keys::new("AKID2", "s2", Some("t2"))));
        assert_eq!(read("half"), Some(Keys::new("AKID3", "s3", None)));
        assert_eq!(read("absent"), None);
    }

    #[test]
    fn what_is_not_supported_is_said() {
        let error = keys("federated", CREDENTIALS, CONFIG).unwrap_err().to_string();
        assert!(error.contains("sso_session") && error.contains("federated"), "{error}");
    }
}
