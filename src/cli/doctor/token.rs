//! The shape of tokens and keys.
//!
//! Purpose: PostHog answers 200 to a wrong project token, so its shape is all that can be judged without looking.
//! Promises: pure; says nothing of the token but what kind it seems to be.
//! Never: sends a token anywhere.

use super::findings::Status;

/// PostHog refuses longer ones with 401.
const LONGEST: usize = 64;

/// What a project token, with which logs are sent, looks like; `path` is its setting.
pub fn project_token(path: &str, token: &str) -> (Status, String) {
    let trimmed = token.trim();
    if trimmed.starts_with("phx_") {
        let says = format!(
            "{path} is a personal API key (phx_...), which PostHog refuses for sending: put the project token (phc_...) from \
             Settings > Project there, and this key in posthog.api_key"
        );
        return (Status::Fail, says);
    }
    if trimmed != token || !trimmed.chars().all(|c| c.is_ascii_graphic()) {
        let says = format!(
            "{path} holds spaces, line breaks or characters that no token has: copy it again from Settings > Project"
        );
        return (Status::Fail, says);
    }
    if token.is_empty() || token.len() > LONGEST {
        let says = format!("{path} has {} characters; PostHog takes 1 to {LONGEST}: copy it again", token.len());
        return (Status::Fail, says);
    }
    if !token.starts_with("phc_") {
        let says = format!(
            "{path} does not begin with phc_, as PostHog's project tokens do: compare it with Settings > Project, for PostHog \
             answers 200 to a wrong one and drops the records"
        );
        return (Status::Warn, says);
    }
    (Status::Ok, "has the shape of a project token (phc_...)".into())
}

/// What a personal API key, with which logs are read, looks like.
pub fn personal_key(key: &str) -> (Status, String) {
    let key = key.trim();
    if key.starts_with("phc_") {
        let says = "is a project token (phc_...), which can only send: put a personal API key (phx_...) from Settings > \
                    Personal API keys there, and this token in exporters.posthog.token";
        return (Status::Fail, says.into());
    }
    if !key.starts_with("phx_") {
        let says =
            "does not begin with phx_, as PostHog's personal API keys do: make one under Settings > Personal API keys";
        return (Status::Warn, says.into());
    }
    (Status::Ok, "has the shape of a personal API key (phx_...)".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes() {
        let long = format!("phc_{}", "x".repeat(LONGEST));
        for (token, expected, word) in [
            ("phc_abc", Status::Ok, "phc_"),
            ("phx_abc", Status::Fail, "personal API key"),
            (" phx_abc", Status::Fail, "personal API key"),
            ("phc_abc\n", Status::Fail, "line breaks"),
            ("phc_ä", Status::Fail, "no token has"),
            ("", Status::Fail, "0 characters"),
            (&long, Status::Fail, "68 characters"),
            ("abc", Status::Warn, "does not begin with phc_"),
        ] {
            let (status, says) = project_token("t", token);
            assert_eq!(status, expected, "{token}: {says}");
            assert!(
                says.contains(word) && (token.is_empty() || token == "t" || !says.contains(token.trim())),
                "{says}"
            );
        }
        for (key, expected) in [("phx_a\n", Status::Ok), ("phc_a", Status::Fail), ("abc", Status::Warn)] {
            assert_eq!(personal_key(key).0, expected);
        }
    }
}
