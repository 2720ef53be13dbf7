//! An error and what caused it, as one sentence.

/// Joins an error's chain with colons. Many errors repeat their source's text in their own; once is enough.
pub fn explain(error: &anyhow::Error) -> String {
    let mut sentence = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        if sentence.is_empty() {
            sentence = text;
        } else if !sentence.contains(&text) {
            sentence.push_str(": ");
            sentence.push_str(&text);
        }
    }
    sentence
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{Context, anyhow};

    #[test]
    fn a_cause_is_told_once() {
        let error = anyhow!("refused").context("connect: refused");
        assert_eq!(explain(&Err::<(), _>(error).context("start").unwrap_err()), "start: connect: refused");
    }
}
