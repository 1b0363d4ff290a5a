//! What proves where reasoning comes from, in a form that survives clients of other protocols.
//!
//! Two directions. Towards other clients, an item's `encrypted_content` is the internal representation's signature (or, without
//! text, its redacted data); as most protocols have one place for a signature and none for an item's id, and OpenAI refuses
//! encrypted reasoning without its id (`dotnet/extensions` issue 7628), the id stands in front: [`seal`] and [`open`]. Towards Responses
//! clients, another provider's signature travels as `encrypted_content` with its format in front: [`wrap`] and [`unwrap`].
//! Invariant: each pair gives back what it was given.

/// Of what kind the text of a sealed item is.
const TEXT: &str = "text:";

/// In front of another format's proof. Encrypted content is base64 or an identifier, which have no colon.
pub const MARK: &str = "portcullis:";

/// A sealed item taken apart.
#[derive(Debug, PartialEq, Eq)]
pub struct Sealed<'a> {
    pub id: Option<&'a str>,
    /// The text is the reasoning itself (`content`), and no summary of it.
    pub is_text: bool,
    pub encrypted: Option<&'a str>,
}

/// An item's id and encrypted content as one signature; nothing where there is neither.
pub fn seal(id: Option<&str>, is_text: bool, encrypted: Option<&str>) -> Option<String> {
    if id.is_none() && encrypted.is_none() {
        return None;
    }
    // An id with a colon could not be told from what follows it.
    let id = id.filter(|id| !id.contains(':')).unwrap_or_default();
    let kind = if is_text { TEXT } else { "" };
    Some(format!("{id}:{kind}{}", encrypted.unwrap_or_default()))
}

/// Encrypted content that was not sealed here is what it is.
pub fn open(proof: &str) -> Sealed<'_> {
    let Some((id, rest)) = proof.split_once(':') else {
        return Sealed { id: None, is_text: false, encrypted: some(proof) };
    };
    let (is_text, encrypted) = rest.strip_prefix(TEXT).map_or((false, rest), |encrypted| (true, encrypted));
    Sealed { id: some(id), is_text, encrypted: some(encrypted) }
}

fn some(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// Another format's signature or redacted data as `encrypted_content`.
pub fn wrap(format: &str, signature: Option<&str>, redacted: Option<&str>) -> String {
    match (signature, redacted) {
        (_, Some(data)) => format!("{MARK}{format}:redacted:{data}"),
        (Some(signature), None) => format!("{MARK}{format}:signed:{signature}"),
        (None, None) => format!("{MARK}{format}:plain:"),
    }
}

/// Another format's reasoning, as a Responses client returns it.
#[derive(Debug, PartialEq, Eq)]
pub struct Foreign<'a> {
    pub format: &'a str,
    pub signature: Option<&'a str>,
    pub redacted: Option<&'a str>,
}

pub fn unwrap(encrypted: &str) -> Option<Foreign<'_>> {
    let (format, rest) = encrypted.strip_prefix(MARK)?.split_once(':')?;
    let (kind, data) = rest.split_once(':')?;
    let (signature, redacted) = match kind {
        "redacted" => (None, Some(data)),
        "signed" => (Some(data), None),
        "plain" => (None, None),
        _ => return None,
    };
    Some(Foreign { format, signature, redacted })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_sealed_opens(id in proptest::option::of("[a-z0-9_-]{1,20}"), is_text: bool, encrypted in proptest::option::of("[A-Za-z0-9+/=_-]{1,40}")) {
            match seal(id.as_deref(), is_text, encrypted.as_deref()) {
                Some(proof) => prop_assert_eq!(open(&proof), Sealed { id: id.as_deref(), is_text, encrypted: encrypted.as_deref() }),
                None => prop_assert!(id.is_none() && encrypted.is_none()),
            }
        }

        #[test]
        fn what_is_wrapped_unwraps(format in "[a-z][a-z-]{0,20}", data in any::<String>(), signed: bool) {
            let (signature, redacted) = if signed { (Some(data.as_str()), None) } else { (None, Some(data.as_str())) };
            let wrapped = wrap(&format, signature, redacted);
            prop_assert_eq!(unwrap(&wrapped), Some(Foreign { format: &format, signature, redacted }));
        }
    }

    #[test]
    fn what_was_not_sealed_is_encrypted_content() {
        assert_eq!(open("gAAAA=="), Sealed { id: None, is_text: false, encrypted: Some("gAAAA==") });
        assert_eq!(unwrap("gAAAA=="), None);
        assert_eq!(
            unwrap(&wrap("openai-chat", None, None)),
            Some(Foreign { format: "openai-chat", signature: None, redacted: None })
        );
    }
}
