//! The fields of a client's message: found by name, and refused by name where they are not known.

use std::borrow::Cow;
use std::fmt::{self, Display};

use runcast_event::{Offset, RunId};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::problem::{Code, Problem};

/// Fields that are looked at in one object: more than any message has.
const FIELDS_MAX: usize = 16;
/// The part of a stranger's name that is sent back.
const NAME_CHARS_MAX: usize = 64;

/// An object's fields, as they stand in the text.
#[derive(Debug)]
pub(super) struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;
        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Vec::new();
                while let Some((Name(name), value)) = map.next_entry()? {
                    // One more than there may be is enough to refuse the rest.
                    if fields.len() <= FIELDS_MAX {
                        fields.push((name, value));
                    }
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a field's name")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(NameVisitor)
    }
}

/// The problem of a field.
pub(super) fn refused(name: &str, detail: impl Display) -> Problem {
    let name: String = name.chars().take(NAME_CHARS_MAX).collect();
    Problem::new(Code::InvalidMessage, format!("{name} {detail}")).with("field", name)
}

impl<'a> Fields<'a> {
    /// Takes an object apart that is the value of the field `within`.
    pub(super) fn of(value: &'a RawValue, within: &str) -> Result<Self, Problem> {
        serde_json::from_str(value.get()).map_err(|_| refused(within, "must be an object"))
    }

    /// Refuses every field that is not known here, and every one that is there twice.
    pub(super) fn check(&self, within: &str, known: &[&str]) -> Result<(), Problem> {
        for (at, (name, _)) in self.0.iter().enumerate() {
            let path = format!("{within}{name}");
            if !known.contains(&&**name) {
                let detail = format!("is not known here; the fields are {}", known.join(", "));
                return Err(refused(&path, detail));
            }
            if self.0[..at].iter().any(|(other, _)| other == name) {
                return Err(refused(&path, "is there more than once"));
            }
        }
        Ok(())
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }

    pub(super) fn required(&self, name: &str) -> Result<&'a RawValue, Problem> {
        self.get(name).ok_or_else(|| refused(name, "is missing"))
    }

    /// A text; `name` is how the problem calls it.
    pub(super) fn text(&self, field: &str, name: &str) -> Result<Option<Cow<'a, str>>, Problem> {
        self.get(field).map(|value| text_of(value, name)).transpose()
    }

    pub(super) fn number(&self, field: &str, name: &str) -> Result<Option<u64>, Problem> {
        let Some(value) = self.get(field) else { return Ok(None) };
        let number = value.get().parse().ok().filter(|number| *number <= Offset::MAX.get());
        let detail = || format!("must be a whole number from 0 to {}", Offset::MAX);
        number.map(Some).ok_or_else(|| refused(name, detail()))
    }

    pub(super) fn switch(&self, field: &str) -> Result<Option<bool>, Problem> {
        match self.get(field).map(RawValue::get) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(_) => Err(refused(field, "must be true or false")),
        }
    }

    pub(super) fn run(&self) -> Result<RunId, Problem> {
        let text = self.text("run", "run")?.ok_or_else(|| refused("run", "is missing"))?;
        Ok(RunId::new(&text)?)
    }
}

/// A JSON string's text.
pub(super) fn text_of<'a>(value: &'a RawValue, name: &str) -> Result<Cow<'a, str>, Problem> {
    let Name(text) =
        serde_json::from_str(value.get()).map_err(|_| refused(name, "must be a text"))?;
    Ok(text)
}
