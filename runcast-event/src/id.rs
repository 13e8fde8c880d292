//! Names of runs and producers: short, printable, safe in a URL, a file name and a log line.

use std::fmt;
use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::limits::{PRODUCER_ID_CHARS_MAX, RUN_ID_CHARS_MAX};

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text is empty.
    #[error("must not be empty")]
    Empty,
    /// The text is longer than the limit.
    #[error("has {chars} characters, {max} are allowed")]
    TooLong {
        /// Its length in characters.
        chars: usize,
        /// The limit in characters.
        max: usize,
    },
    /// The text has a character outside of `A-Z a-z 0-9 . _ ~ : -`.
    #[error("has {character:?} at position {position}; allowed are A-Z a-z 0-9 . _ ~ : -")]
    Character {
        /// The first such character.
        character: char,
        /// Its place, counted in characters from 1.
        position: usize,
    },
    /// The text is `.` or `..`, which clients resolve away in a URL's path.
    #[error("must not be \".\" or \"..\", which a URL's path cannot carry")]
    Dots,
}

fn check(text: &str, max: usize) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    for (index, character) in text.chars().enumerate() {
        let allowed =
            character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '~' | ':' | '-');
        if !allowed {
            return Err(IdError::Character { character, position: index + 1 });
        }
    }
    if text.len() > max {
        return Err(IdError::TooLong { chars: text.len(), max });
    }
    if text == "." || text == ".." {
        return Err(IdError::Dots);
    }
    Ok(())
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident, $max:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks and takes a text.
            ///
            /// # Errors
            /// Says what is wrong with the text: empty, too long, or a character that is not allowed.
            pub fn new(text: &str) -> Result<Self, IdError> {
                check(text, $max)?;
                Ok(Self(Arc::from(text)))
            }

            /// The id's text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
                Self::new(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

id_type!(
    /// The name of a run and of its stream: the client's own, or `run_` and a UUIDv7.
    RunId,
    RUN_ID_CHARS_MAX
);
id_type!(
    /// The name of a producer: who appends, for exactly-once retries.
    ProducerId,
    PRODUCER_ID_CHARS_MAX
);

/// The name of the feed's stream. No text is taken for it.
const FEED: &str = "$feed";

impl RunId {
    /// The name of the stream of all runs' life-cycle events. It is not a run's: [`Self::new`]
    /// refuses its text, so that no request can name it.
    #[must_use]
    pub fn feed() -> Self {
        static NAME: LazyLock<Arc<str>> = LazyLock::new(|| Arc::from(FEED));
        Self(Arc::clone(&NAME))
    }

    /// Whether this is the name of the feed's stream, and not of a run.
    #[must_use]
    pub fn is_feed(&self) -> bool {
        &*self.0 == FEED
    }

    /// The name of a stream as a log has kept it: a run's id, or the feed's.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn from_stored(name: &str) -> Result<Self, IdError> {
        if name == FEED { Ok(Self::feed()) } else { Self::new(name) }
    }

    /// A new id: `run_` and a UUIDv7, so that ids sort by the time of their creation.
    #[must_use]
    pub fn random() -> Self {
        Self(Arc::from(format!("run_{}", Uuid::now_v7().simple())))
    }
}

impl ProducerId {
    /// A new id: `prd_` and a UUIDv7.
    #[must_use]
    pub fn random() -> Self {
        Self(Arc::from(format!("prd_{}", Uuid::now_v7().simple())))
    }
}

/// A new id for a command: `cmd_` and a UUIDv7.
#[must_use]
pub fn new_command_id() -> String {
    format!("cmd_{}", Uuid::now_v7().simple())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_takes_the_characters_of_the_documentation() {
        assert_eq!(RunId::new("Az09._~:-").unwrap().as_str(), "Az09._~:-");
        assert!(RunId::new(&"x".repeat(128)).is_ok());
        assert!(RunId::new(RunId::random().as_str()).is_ok());
    }

    #[test]
    fn no_text_names_the_feed() {
        let feed = RunId::feed();
        assert!(feed.is_feed() && !RunId::random().is_feed());
        assert!(RunId::new(feed.as_str()).is_err());
        assert!(serde_json::from_str::<RunId>("\"$feed\"").is_err());
        assert_eq!(RunId::from_stored(feed.as_str()), Ok(feed));
    }

    #[test]
    fn a_bad_id_is_refused_with_the_place_of_the_fault() {
        assert_eq!(RunId::new(""), Err(IdError::Empty));
        assert_eq!(RunId::new("a/b"), Err(IdError::Character { character: '/', position: 2 }));
        assert_eq!(RunId::new("é"), Err(IdError::Character { character: 'é', position: 1 }));
        assert_eq!(RunId::new(&"x".repeat(129)), Err(IdError::TooLong { chars: 129, max: 128 }));
        assert_eq!(RunId::new(".."), Err(IdError::Dots));
    }
}
