//! Names that operators and authors give to modules, streams, brokers, drivers and gateways.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

/// A name: 1 to 64 of `a-z`, `0-9` and `-`. Safe in a file name, a topic, a log line and a page.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

/// Longest name, in bytes.
const LENGTH_MAX: usize = 64;

impl Name {
    /// Checks `text`.
    ///
    /// # Errors
    /// When it is empty, longer than 64 bytes or has another character than `a-z`, `0-9` and `-`.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if text.is_empty() || text.len() > LENGTH_MAX {
            return Err(NameError::Length(text.len()));
        }
        match text
            .chars()
            .find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-'))
        {
            Some(character) => Err(NameError::Character(character)),
            None => Ok(Self(text.into())),
        }
    }

    /// What the gateway calls itself where a module's name is expected: no module has it.
    pub fn host() -> Self {
        Self("tidegate".into())
    }

    /// The stream of the gateway's own alarms: no module has it.
    pub fn host_alarms() -> Self {
        Self("tidegate-alarms".into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name, shared.
    pub fn shared(&self) -> Arc<str> {
        self.0.clone()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for Name {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl<C> minicbor::Encode<C> for Name {
    fn encode<W: minicbor::encode::Write>(
        &self,
        encoder: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        encoder.str(&self.0)?.ok()
    }
}

impl<'b, C> minicbor::Decode<'b, C> for Name {
    fn decode(
        decoder: &mut minicbor::Decoder<'b>,
        _: &mut C,
    ) -> Result<Self, minicbor::decode::Error> {
        Self::new(decoder.str()?)
            .map_err(|error| minicbor::decode::Error::message(error.to_string()))
    }
}

/// Why a text is not a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NameError {
    /// Empty or too long.
    #[error("a name has 1 to 64 characters, this has {0}")]
    Length(usize),
    /// Has a character that is not allowed.
    #[error("a name has only a-z, 0-9 and '-', this has {0:?}")]
    Character(char),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lower_case_letters_digits_and_dashes() {
        assert!(Name::new("press-7").is_ok());
        assert_eq!(Name::new(""), Err(NameError::Length(0)));
        assert_eq!(Name::new(&"a".repeat(65)), Err(NameError::Length(65)));
        for (bad, character) in [
            ("../etc", '.'),
            ("Press", 'P'),
            ("a/b", '/'),
            ("a\0", '\0'),
            ("ü", 'ü'),
        ] {
            assert_eq!(Name::new(bad), Err(NameError::Character(character)));
        }
    }
}
