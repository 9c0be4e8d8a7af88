//! What is said about members and updates.

use serde::{Serialize, de::DeserializeOwned};

pub use crate::bindings::parlor::agent::types::{Content, Member, Update};

impl Content {
    /// This value as the payload.
    ///
    /// # Panics
    ///
    /// If it cannot be JSON: a map whose keys are no texts, say.
    #[must_use]
    pub fn json(payload: &impl Serialize) -> Self {
        let payload = serde_json::to_string(payload).expect("a payload can be JSON");
        Self { payload, info: None, document: None, summary: None }
    }

    /// This text as the payload: the same as what `parlor send` posts where there is no agent.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::json(&text)
    }

    /// With a line for people: "Ann voted".
    #[must_use]
    pub fn with_info(self, info: impl Into<String>) -> Self {
        Self { info: Some(info.into()), ..self }
    }

    /// With the name of the document that is worked on.
    #[must_use]
    pub fn with_document(self, document: impl Into<String>) -> Self {
        Self { document: Some(document.into()), ..self }
    }

    /// With the state of things, in a few words: "3 votes".
    #[must_use]
    pub fn with_summary(self, summary: impl Into<String>) -> Self {
        Self { summary: Some(summary.into()), ..self }
    }
}

impl Update {
    /// The payload as a value; `None` where it is not like that. Other members write payloads: expect anything.
    #[must_use]
    pub fn json<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_str(&self.content.payload).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(payload: &str) -> Update {
        let content = Content { payload: payload.to_owned(), ..Content::text("") };
        Update { serial: 1, sender: "a".to_owned(), is_own: false, content }
    }

    #[test]
    fn a_text_is_a_json_string() {
        assert_eq!(Content::text("say \"hi\"").payload, r#""say \"hi\"""#);
        assert_eq!(update(r#""say \"hi\"""#).json::<String>().as_deref(), Some("say \"hi\""));
    }

    #[test]
    fn what_is_not_like_that_is_nothing() {
        assert_eq!(update("{").json::<String>(), None);
        assert_eq!(update("7").json::<String>(), None);
    }

    #[test]
    fn the_rest_is_added() {
        let content = Content::text("x").with_info("i").with_document("d").with_summary("s");
        let said = [content.info, content.document, content.summary];
        assert_eq!(said, ["i", "d", "s"].map(|text| Some(text.to_owned())));
    }
}
